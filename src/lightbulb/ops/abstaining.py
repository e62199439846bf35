"""When to give no answer: what thresholds of the probability do to precision and coverage (selective classification,
El-Yaniv and Wiener 2010)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

Z = 1.959964  # of 95% intervals
CANDIDATES = 512  # thresholds of a cascade that are looked at: quantiles of its stages' probabilities


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


@dataclass(frozen=True, eq=False)
class Stages:
    """How sure each of S stages of a cascade is of every question, as in `Sureness`. What would be left out is handed
    on instead: only the last stage leaves out.

    Attributes:
        inside_SN: probabilities of the answers to questions that have one, float32
        right_SN: whether these answers are right
        outside_SM: probabilities of the answers to questions that none fits, float32
        thresholds: of all stages but the last, below which they hand on in any case [S - 1]
        share: of all questions, that the latter stand for
    """

    inside_SN: np.ndarray
    right_SN: np.ndarray
    outside_SM: np.ndarray
    thresholds: tuple[float, ...]
    share: float = 0.0

    def raised(self, threshold: float) -> tuple[float, ...]:
        """The thresholds of all stages but the last where answers below `threshold` are left out."""
        return tuple(float(np.float32(max(own, threshold))) for own in self.thresholds)

    def at(self, threshold: float) -> Sureness:
        """Of the answers there: of each question by the first stage that is sure enough, else by the last."""
        inside, outside = (_answering(p, self.raised(threshold)) for p in (self.inside_SN, self.outside_SM))
        n, m = np.arange(len(inside)), np.arange(len(outside))
        return Sureness(self.inside_SN[inside, n], self.right_SN[inside, n], self.outside_SM[outside, m], self.share)

    def candidates(self) -> np.ndarray:
        """Thresholds to look at, rising from 0."""
        every = np.concatenate([self.inside_SN.ravel(), self.outside_SM.ravel()])
        return np.unique(np.append(np.quantile(every, np.linspace(0, 1, CANDIDATES)), 0)).astype(np.float32)

    def shares(self, threshold: float) -> list[float]:
        """Of questions that have an answer the share that each stage answers there, or leaves out."""
        stage_N = _answering(self.inside_SN, self.raised(threshold))
        return [float((stage_N == number).mean()) for number in range(len(self.inside_SN))]


def _answering(probabilities_SN: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """The stage that answers each question [N]."""
    least_S = np.append(np.array(thresholds, np.float32), -np.inf)
    return (probabilities_SN >= least_S[:, None]).argmax(axis=0)


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


def threshold_for_precision(sure: Sureness | Stages, asked: float) -> float:
    """The lowest threshold at which surely (the low end of the interval) the share `asked` of what is answered is
    right; the one that comes nearest where none does."""
    if isinstance(sure, Stages):
        thresholds = sure.candidates()
        low = np.array([precisions(sure.at(float(t)), np.array([t]))[1][0] for t in thresholds])
    else:
        thresholds = np.unique(np.concatenate([[0.0], sure.inside_N, sure.outside_M])).astype(np.float32)
        low = precisions(sure, thresholds)[1]
    low = np.nan_to_num(low, nan=-1.0)
    enough = np.flatnonzero(low >= asked)
    return float(thresholds[enough[0] if len(enough) else low.argmax()])


def threshold_for_coverage(sure: Sureness | Stages, asked: float) -> float:
    """The highest threshold at which surely the share `asked` of questions that have an answer gets one; 0, which
    answers all, where none does."""
    if isinstance(sure, Stages):
        thresholds = sure.candidates()
        given = np.array([(sure.at(float(t)).inside_N >= t).sum() for t in thresholds])
        items = sure.inside_SN.shape[1]
    else:
        thresholds = np.unique(np.concatenate([[0.0], sure.inside_N])).astype(np.float32)
        items = len(sure.inside_N)
        given = items - np.searchsorted(np.sort(sure.inside_N), thresholds)
    low, _ = wilson(given / items, float(items))
    enough = np.flatnonzero(low >= asked)
    return float(thresholds[enough[-1] if len(enough) else 0])
