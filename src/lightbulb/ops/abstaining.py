"""When to give no answer: what thresholds of the probability do to precision and coverage (selective classification,
El-Yaniv and Wiener 2010)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

Z = 1.959964  # of 95% intervals


class Share(NamedTuple):
    """A share and its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Sureness:
    """How sure a model is of its answers to questions that have one (N) and to questions that none fits (M).

    Attributes:
        inside_N: probability of the answer to each of the former, float32
        right_N: whether that answer is right
        outside_M: probability of the answer to each of the latter, float32
        share: of all questions, that the latter stand for, below 1: they count that much, however many there are
    """

    inside_N: np.ndarray
    right_N: np.ndarray
    outside_M: np.ndarray
    share: float = 0.0

    @property
    def weight(self) -> float:
        """Of a question that none fits, where one that has an answer counts 1."""
        if not len(self.outside_M):
            return 0.0
        return self.share / (1 - self.share) * len(self.inside_N) / len(self.outside_M)


def wilson(share: np.ndarray | float, n: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the 95% score interval (Wilson 1927) of a share of `n` > 0, which may be no whole number."""
    centre, spread = share + Z**2 / (2 * n), Z * np.sqrt(share * (1 - share) / n + (Z / (2 * n)) ** 2)
    whole = 1 + Z**2 / n
    return np.maximum(0.0, (centre - spread) / whole), np.minimum(1.0, (centre + spread) / whole)


def precisions(sure: Sureness, thresholds_T: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the answers that are given at each threshold the share that is right, and the ends of its interval: [T] each,
    NaN where none is given. Weighted answers count as so many as say as much (Kish 1965)."""
    right, inside, outside = (
        len(p) - np.searchsorted(np.sort(p), thresholds_T)
        for p in (sure.inside_N[sure.right_N], sure.inside_N, sure.outside_M)
    )
    given, squares = inside + sure.weight * outside, inside + sure.weight**2 * outside
    with np.errstate(invalid="ignore", divide="ignore"):
        share = right / given
        low, high = wilson(share, given**2 / squares)
    return share, low, high


def precision_at(sure: Sureness, threshold: float) -> Share | None:
    """Of the answers that are given, the share that is right; None where none is given."""
    found = [float(part[0]) for part in precisions(sure, np.array([threshold], np.float32))]
    return None if np.isnan(found[0]) else Share(*found)


def share_given(probabilities: np.ndarray, threshold: float) -> Share | None:
    """Of questions the share that gets an answer; None where there are no questions."""
    if not len(probabilities):
        return None
    share = float((probabilities >= np.float32(threshold)).mean())
    low, high = wilson(share, len(probabilities))
    return Share(share, float(low), float(high))


def threshold_for_precision(sure: Sureness, asked: float) -> float:
    """The lowest threshold at which surely (the low end of the interval) the share `asked` of what is answered is
    right; the one that comes nearest where none does."""
    thresholds = np.unique(np.concatenate([[0.0], sure.inside_N, sure.outside_M])).astype(np.float32)
    low = np.nan_to_num(precisions(sure, thresholds)[1], nan=-1.0)
    enough = np.flatnonzero(low >= asked)
    return float(thresholds[enough[0] if len(enough) else low.argmax()])


def threshold_for_coverage(sure: Sureness, asked: float) -> float:
    """The highest threshold at which surely the share `asked` of questions that have an answer gets one; 0, which
    answers all, where none does."""
    thresholds = np.unique(np.concatenate([[0.0], sure.inside_N])).astype(np.float32)
    given = len(sure.inside_N) - np.searchsorted(np.sort(sure.inside_N), thresholds)
    low, _ = wilson(given / len(sure.inside_N), float(len(sure.inside_N)))
    enough = np.flatnonzero(low >= asked)
    return float(thresholds[enough[-1] if len(enough) else 0])
