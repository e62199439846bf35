"""A number that knows where it comes from.

`source` is "measured" (a counter read it), "derived" (arithmetic on measured figures) or "estimated" (a model; always
with an interval). What was not measured is None, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

Source = Literal["measured", "derived", "estimated"]
Scope = Literal["process", "chip", "board", "machine", "wall"]


class Figure(BaseModel):
    """A number that says how sure it is and where it comes from.

    Attributes:
        value: in `unit`; None where it was not measured, never 0
        low: the lower end of its interval; None where it has none
        high: the upper end
        unit: such as "s", "J", "share"
        source: "measured" (a counter or a clock read it), "derived" (arithmetic on measured), "estimated" (a model;
            always with an interval)
        scope: what was measured: a process, a chip, a board, a machine, or the wall
        method: how, in words
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float | None
    low: float | None = None
    high: float | None = None
    unit: str
    source: Source = "measured"
    scope: Scope | None = None
    method: str = ""

    @model_validator(mode="after")
    def _interval_holds_value(self) -> Figure:
        if self.value is not None and self.source == "estimated" and (self.low is None or self.high is None):
            raise ValueError("an estimated figure needs an interval")
        if self.value is not None and self.low is not None and self.high is not None:
            slack = 1e-9 * max(abs(self.value), 1e-12)
            if not (self.low - slack <= self.value <= self.high + slack):
                raise ValueError(f"interval [{self.low}, {self.high}] does not hold {self.value}")
        return self

    def scaled(self, factor: float, unit: str, method: str = "") -> Figure:
        """This figure times an exact, non-negative `factor`."""

        def times(x: float | None) -> float | None:
            return None if x is None else x * factor

        source: Source = "estimated" if self.source == "estimated" else "derived"
        return Figure(
            value=times(self.value),
            low=times(self.low),
            high=times(self.high),
            unit=unit,
            source=source,
            scope=self.scope,
            method=method or self.method,
        )

    def inverse(self) -> Figure:
        """1 / this, which must be above 0; an end that is not has none."""

        def over(x: float | None) -> float | None:
            return 1 / x if x else None

        ends = {"value": over(self.value), "low": over(self.high), "high": over(self.low)}
        return self.model_copy(update=ends)

    def __str__(self) -> str:
        if self.value is None:
            return "not measured"
        text = f"{human(self.value)} {self.unit}".strip()
        if self.low is not None and self.high is not None:
            text += f" [{human(self.low)}, {human(self.high)}]"
        return text


def human(x: float) -> str:
    """Three significant digits, without an exponent where one can be avoided."""
    if x == 0 or not math.isfinite(x):
        return f"{x:g}"
    digits = 2 - math.floor(math.log10(abs(x)))
    return f"{round(x, digits):,.{max(0, min(digits, 9))}f}"


def total(figures: Sequence[Figure], unit: str, method: str = "sum") -> Figure:
    """Sum of figures of one unit. Intervals add end to end: their errors share causes (the same watt model), so they
    are not treated as independent. None when any part was not measured."""
    if any(f.value is None for f in figures):
        return Figure(value=None, unit=unit, source="derived", method=f"{method}; a part was not measured")
    source: Source = "estimated" if any(f.source == "estimated" for f in figures) else "derived"
    scopes = {f.scope for f in figures}

    def end(f: Figure, side: str) -> float:
        bound = getattr(f, side)
        return float(f.value if bound is None else bound)  # type: ignore[arg-type]

    exact = all(f.low is None and f.high is None for f in figures)  # counters without an error of their own
    low, high = (None, None) if exact else (sum(end(f, side) for f in figures) for side in ("low", "high"))
    return Figure(
        value=sum(f.value for f in figures if f.value is not None),
        low=low,
        high=high,
        unit=unit,
        source=source,
        scope=scopes.pop() if len(scopes) == 1 else None,
        method=method,
    )


def bounds(figure: Figure) -> tuple[float, float] | None:
    """The ends of the interval, the value itself where there is none; None where nothing was measured."""
    if figure.value is None:
        return None
    low, high = figure.low, figure.high
    return figure.value if low is None else low, figure.value if high is None else high


def product(factors: Sequence[Figure], unit: str, method: str) -> Figure:
    """Product of independent figures. Its interval spans what any choice within theirs gives (interval ends multiply):
    the widest that is possible. None when a factor is; no interval when no factor has one."""
    scopes = {f.scope for f in factors if f.scope is not None}
    scope = scopes.pop() if len(scopes) == 1 else None
    source: Source = "estimated" if any(f.source == "estimated" for f in factors) else "derived"
    value = low = high = 1.0
    for factor in factors:
        ends = bounds(factor)
        if factor.value is None or ends is None:
            return Figure(value=None, unit=unit, source="derived", scope=scope, method=method)
        corners = [side * end for side in (low, high) for end in ends]
        value, low, high = value * factor.value, min(corners), max(corners)
    exact = all(f.low is None and f.high is None for f in factors)
    return Figure(
        value=value,
        low=None if exact else low,
        high=None if exact else high,
        unit=unit,
        source=source,
        scope=scope,
        method=method,
    )


def bootstrap(
    per_item: Sequence[Any],
    statistic: Callable[..., np.ndarray],
    *,
    seed: int = 0,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval (Efron 1979) over items, by scipy.

    Args:
        per_item: columns of equal length n, resampled together (paired)
        statistic: receives, for each column, an array [resamples, n] and returns [resamples]
        seed: of the draws
        resamples: how many
        confidence: of the interval, 0 to 1

    Returns:
        Its ends. One item shows no spread: then both are its own statistic.
    """
    from scipy import stats

    columns = [np.asarray(c, dtype=float) for c in per_item]
    if len(columns[0]) == 1:
        only = float(statistic(*[c[None, :] for c in columns])[0])
        return only, only
    interval = stats.bootstrap(
        columns,
        lambda *resampled, axis: statistic(*resampled),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=resamples,
        batch=200,  # 2000 x 100k items at once would not fit in memory
        confidence_level=confidence,
        rng=seed,
    ).confidence_interval
    return float(interval.low), float(interval.high)


def standard_error(score: Figure) -> float:
    """Of a score whose interval is of 95%; 0 without one."""
    if score.low is None or score.high is None:
        return 0.0
    return (score.high - score.low) / (2 * 1.96)
