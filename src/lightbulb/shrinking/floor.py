"""What a candidate must reach: a share of the best reference that was trained, a score of its own, or both."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from lightbulb.core.figures import Figure, standard_error
from lightbulb.shrinking.goal import Goal
from lightbulb.tasks.metrics import BITS_PER_BYTE, METRICS, higher_is_better


@dataclass(frozen=True)
class Floor:
    """What a score must reach; where both bounds are there both hold.

    Attributes:
        keep: least share of the reference's score (its score / keep where lower is better)
        at_least: a score in the metric's own unit, an upper bound where lower is better
    """

    metric: str
    keep: float | None = None
    at_least: float | None = None

    @staticmethod
    def of(goal: Goal, metric: str) -> Floor:
        return Floor(metric, goal.keep, goal.at_least)

    @property
    def sign(self) -> int:
        return 1 if higher_is_better(self.metric) else -1

    def score(self, reference: float | None) -> float:
        """The worst score that still does, where the best reference scores `reference`."""
        parts = [] if self.at_least is None else [self.at_least]
        if self.keep is not None and reference is not None:
            parts.append(reference * self.keep if self.sign > 0 else reference / self.keep)
        return self.sign * max((self.sign * part for part in parts), default=-math.inf)

    def holds(self, score: float | None, reference: float | None) -> bool:
        """Whether `score` does; a score that is not known does not."""
        return score is not None and self.sign * (score - self.score(reference)) >= 0

    def best(self, scores: Iterable[float | None]) -> float | None:
        """The best of the scores that are known: what `keep` is a share of."""
        known = [score for score in scores if score is not None]
        return max(known, key=lambda score: self.sign * score, default=None)

    @property
    def text(self) -> str:
        """ "97%", "at least 0.92 accuracy", or both."""
        name = "bits per byte" if self.metric == BITS_PER_BYTE else self.metric
        parts = [] if self.keep is None else [f"{100 * self.keep:.4g}%"]
        if self.at_least is not None:
            parts.append(f"{'at least' if self.sign > 0 else 'at most'} {self.at_least:.4g} {name}")
        return " and ".join(parts)


def may_hold(floor: Floor, scores: Iterable[Figure]) -> bool:
    """Whether one of the scores may be the share asked for of any reference, the perfect one included, by the upper end
    of its interval. Of metrics that are known to end at 1."""
    if floor.keep is None or floor.metric not in METRICS or floor.sign < 0:
        return False
    ends = (score.high if score.high is not None else score.value for score in scores)
    return any(end is not None and end >= floor.keep for end in ends)


def holds_with_margin(floor: Floor, score: Figure, needed: float, errors: float = 0.5) -> bool:
    """Whether a score on validation is better than `needed` by half a standard error: validation is a sample, and the
    best of several tries flatters itself."""
    if score.value is None:
        return False
    return floor.sign * (score.value - needed) - errors * standard_error(score) >= 0
