"""Summaries over trials: medians with bootstrap intervals, and ratios with an interval for other invocations too."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lightbulb.core.figures import Figure, Scope, Source, bootstrap

# Standard deviation of a log ratio between invocations that no trial within one of them can show: neighbours on the
# host and clocks drift more slowly than an invocation lasts. Seen by benchmarks/repeatability.py on a virtual machine:
# 0 for prefill, 3% for an answer, 5% for decoding, which waits for memory that others use too (docs/lab-notes.md).
RATIO_FLOOR = 0.05
Z95 = 1.959964


def cases(figure: Figure) -> np.ndarray | None:
    """A figure in the middle and at both ends of its model of watts. The value stands in for an end that is not there.
    Everything that is done to joules here is linear, so it is done to the three cases alike.

    Returns:
        [value, low, high]; None for a figure without a value.
    """
    if figure.value is None:
        return None
    ends = (figure.value if end is None else end for end in (figure.low, figure.high))
    return np.array([figure.value, *ends])


def median_figure(
    trials: Sequence[float] | np.ndarray,
    unit: str,
    method: str,
    *,
    source: Source = "measured",
    scope: Scope | None = None,
) -> Figure:
    """The median over trials with its 95% bootstrap interval.

    Args:
        trials: [trials], or [trials, 3] with the cases of each; then the interval spans the intervals of all three
        unit: of the figure
        method: in words
        source: of the trials
        scope: likewise
    """
    table = np.asarray(trials, dtype=float)
    table = table.reshape(len(table), -1)
    value = float(np.median(table[:, 0]))
    ends = [bootstrap([column.tolist()], lambda x: np.median(x, axis=-1)) for column in table.T]
    low, high = min(value, *(e[0] for e in ends)), max(value, *(e[1] for e in ends))
    return Figure(value=value, low=low, high=high, unit=unit, source=source, scope=scope, method=method)


def paired_ratio(
    numerator: Sequence[float] | np.ndarray, denominator: Sequence[float] | np.ndarray, method: str, *, block: int = 1
) -> Figure:
    """Geometric mean of the ratios trial by trial, with a 95% interval that speaks of other invocations too.

    Every `block` neighbouring trials, made with models opened once, are one observation: what all trials of a block
    share (where the pages lie, which core a thread got) would make trials look more certain than they are. On the
    logarithms m of the blocks' means,

        half width = sqrt((t[n-1, 0.975] s(m))^2 / n + (1.96 RATIO_FLOOR)^2)

    with Student's t (1908), the spread s(m) of the n blocks, and RATIO_FLOOR for what no invocation can see of itself.

    Args:
        numerator: [trials]
        denominator: [trials]
        method: in words
        block: neighbouring trials that share an invocation

    Returns:
        Without a value where a cost is not above 0, or where there are fewer than two blocks.
    """
    ours, theirs = np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)
    blocks = -(-len(ours) // block)
    how = f"{method}; geometric mean over {blocks} blocks of {block}, 95% t interval with a floor of {RATIO_FLOOR:.0%}"
    if blocks < 2 or len(ours) != len(theirs) or not (np.all(ours > 0) and np.all(theirs > 0)):
        why = "; too few trials, or a cost that vanishes in the noise"
        return Figure(value=None, unit="ratio", source="derived", method=method + why)
    logs = _block_means(np.log(ours / theirs), block)
    half = math.hypot(_t_half(logs), Z95 * RATIO_FLOOR)
    low, middle, high = (math.exp(logs.mean() + shift) for shift in (-half, 0.0, half))
    return Figure(value=middle, low=low, high=high, unit="ratio", source="derived", method=how)


def paired_difference(before: Sequence[float], after: Sequence[float], unit: str, *, block: int = 1) -> Figure:
    """Mean of before - after trial by trial, in `unit`, with the 95% interval that `paired_ratio` would give it: t over
    blocks, and a floor of RATIO_FLOOR of `before`. Without a value where there are fewer than two blocks."""
    method = f"before - after, paired; mean over blocks of {block}, 95% t interval with a floor of {RATIO_FLOOR:.0%}"
    if len(before) <= block or len(before) != len(after):
        return Figure(value=None, unit=unit, source="derived", method=f"{method}; too few trials")
    means = _block_means(np.subtract(before, after), block)
    middle, half = float(means.mean()), math.hypot(_t_half(means), Z95 * RATIO_FLOOR * float(np.mean(before)))
    return Figure(value=middle, low=middle - half, high=middle + half, unit=unit, source="derived", method=method)


def _block_means(values: np.ndarray, block: int) -> np.ndarray:
    return np.array([values[start : start + block].mean() for start in range(0, len(values), block)])


def _t_half(means: np.ndarray) -> float:
    """Half of the 95% interval of Student's t around the mean of `means`."""
    from scipy.special import stdtrit

    standard_error = means.std(ddof=1) / math.sqrt(len(means))
    return float(stdtrit(len(means) - 1, 0.975)) * standard_error


def within_noise(figure: Figure) -> bool:
    """Whether a ratio's interval includes 1. A ratio without a value tells nothing, so it is noise too."""
    return figure.low is None or figure.high is None or figure.low <= 1 <= figure.high
