"""Calibrating the coefficients of `predict` on published rows, and judging them on sources and kinds left out.

Maximum a posteriori in logarithms: each row's error over its scatter and each coefficient's move over its spread, least
squares with a soft loss for rows that are far off (Huber). The covariance is that of Gauss and Newton, (J^T J)^-1.

What an interval adds to that covariance is not the fit's: it is what the errors of rows tell whose whole source, or all
rows of their kind, were left out (`scatter`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lightbulb.predicting.coefficients import NAMES, PRIORS, Calibrated, by_name, priors
from lightbulb.predicting.devices import Device, DeviceScope
from lightbulb.predicting.point import GUESSED_SHAPE, point, spread_of
from lightbulb.predicting.scatter import LEAST_SCATTER, SAME_SOURCE, LeftOut, Scatter, Z, kind_of, scatter_of
from lightbulb.predicting.setting import Setting
from lightbulb.predicting.shapes import ModelShape


@dataclass(frozen=True)
class PublishedRow:
    """One published measurement.

    Attributes:
        source: who published it
        name: of the row
        shape: of the model
        device: it ran on
        setting: how it ran; its prompt_share where the published joules include the prompts' reading
        scope: what the joules include
        joules: per output token, all devices; None where they were not published
        tokens_per_second: written, all sequences together; None where it was not published
        table: where the row stands
    """

    source: str
    name: str
    shape: ModelShape
    device: Device
    setting: Setting
    scope: DeviceScope
    joules: float | None
    tokens_per_second: float | None
    table: str = ""

    @property
    def kind(self) -> str:
        """What sort of measurement it is."""
        return kind_of(self.device, self.setting, self.scope)

    @property
    def speed_kind(self) -> str:
        """Likewise of its speed, which does not depend on what the joules include."""
        return kind_of(self.device, self.setting, self.device.scope)


def as_published(row: PublishedRow, log_c: np.ndarray) -> tuple[float, float]:
    """(joules an output token, tokens a second) as the source would have counted them."""
    p = point(row.shape, row.device, row.setting, by_name(log_c), row.scope)
    return p.output_joules, row.setting.batch / p.output_seconds


def calibrate(rows: Sequence[PublishedRow], joules_scatter: float = 0.3, seconds_scatter: float = 0.25) -> Calibrated:
    """The coefficients that the rows and what was known before agree on.

    Args:
        rows: published measurements
        joules_scatter: standard deviation of log joules from source to source
        seconds_scatter: likewise, of log seconds
    """
    from scipy.optimize import least_squares

    start = priors()
    spread = np.array([c.spread for c in PRIORS])
    free = spread > 0
    counts = {source: sum(r.source == source for r in rows) for source in {r.source for r in rows}}

    def whole(moved: np.ndarray) -> np.ndarray:
        log_c = start.log_mean.copy()
        log_c[free] = moved
        return log_c

    def errors(moved: np.ndarray) -> np.ndarray:
        found = []
        for row in rows:
            weight = min(1.0, math.sqrt(SAME_SOURCE / counts[row.source]))
            joules, speed = as_published(row, whole(moved))
            if row.joules:
                found.append(weight * math.log(joules / row.joules) / joules_scatter)
            if row.tokens_per_second:
                found.append(weight * math.log(speed / row.tokens_per_second) / seconds_scatter)
        return np.array([*found, *((moved - start.log_mean[free]) / spread[free])])

    best = least_squares(errors, start.log_mean[free], loss="huber", f_scale=2.0, diff_step=1e-3)
    covariance = np.zeros_like(start.covariance)
    covariance[np.ix_(free, free)] = np.linalg.inv(best.jac.T @ best.jac)
    return Calibrated(whole(best.x), covariance, joules_scatter, seconds_scatter, len(rows))


@dataclass(frozen=True)
class Residual:
    """A row beside what was predicted without it: logarithm of predicted over published, and what the coefficients'
    uncertainty explains of it.

    Attributes:
        row: as published
        joules: predicted
        joules_error: logarithm of predicted / published; None where no joules were published
        joules_spread: standard deviation that the coefficients explain
        joules_scatter: what the interval adds
        speed: predicted tokens a second
        speed_error: as `joules_error`
        speed_spread: as `joules_spread`
        speed_scatter: as `joules_scatter`
    """

    row: PublishedRow
    joules: float
    joules_error: float | None
    joules_spread: float
    speed: float
    speed_error: float | None
    speed_spread: float
    joules_scatter: float = 0.0
    speed_scatter: float = 0.0

    def beside(self, joules: Scatter, seconds: Scatter) -> Residual:
        """With an interval of that scatter."""
        return replace(self, joules_scatter=joules.of(self.row.kind), speed_scatter=seconds.of(self.row.speed_kind))

    @property
    def joules_width(self) -> float:
        """Half width of the 90% interval, in the logarithm."""
        return Z * math.hypot(self.joules_spread, self.joules_scatter)

    @property
    def speed_width(self) -> float:
        """Likewise."""
        return Z * math.hypot(self.speed_spread, self.speed_scatter)

    @property
    def joules_inside(self) -> bool | None:
        """Whether the interval holds what was published; None where nothing was."""
        return None if self.joules_error is None else abs(self.joules_error) <= self.joules_width

    @property
    def speed_inside(self) -> bool | None:
        """Likewise."""
        return None if self.speed_error is None else abs(self.speed_error) <= self.speed_width


def residual(row: PublishedRow, found: Calibrated) -> Residual:
    """A row beside what a calibration says of it."""
    joules, speed = as_published(row, found.log_mean)

    def spread(which: int) -> float:
        explained = spread_of(lambda c: as_published(row, np.log([c[n] for n in NAMES]))[which], found)
        return math.hypot(explained, GUESSED_SHAPE if row.shape.guessed else 0.0)

    return Residual(
        row=row,
        joules=joules,
        joules_error=math.log(joules / row.joules) if row.joules else None,
        joules_spread=spread(0),
        speed=speed,
        speed_error=math.log(speed / row.tokens_per_second) if row.tokens_per_second else None,
        speed_spread=spread(1),
    )


def source(row: PublishedRow) -> str:
    """What is left out together: all that one source published."""
    return row.source


def kind(row: PublishedRow) -> str:
    """...or all rows of a kind."""
    return row.kind


WAYS = {"source": source, "kind": kind}


def both_ways(rows: Sequence[PublishedRow]) -> dict[str, list[Residual]]:
    """`left_out` in each of WAYS."""
    return {way: left_out(rows, group) for way, group in WAYS.items()}


def left_out(rows: Sequence[PublishedRow], group: Callable[[PublishedRow], str]) -> list[Residual]:
    """Each row beside a calibration that has seen no row of its group. In the order of the rows; no scatter yet."""
    without = {g: calibrate([r for r in rows if group(r) != g]) for g in dict.fromkeys(map(group, rows))}
    return [residual(row, without[group(row)]) for row in rows]


def judged(by: Mapping[str, Sequence[Residual]], way: str) -> list[Residual]:
    """The rows that were left out in one way, with the scatter that the errors of all other groups tell: no row widens
    its own interval.

    Args:
        by: residuals of the same rows, left out in each of WAYS
        way: which of these
    """
    group = WAYS[way]
    found: list[Residual] = []
    cache: dict[str, tuple[Scatter, Scatter]] = {}
    for one in by[way]:
        name = group(one.row)
        if name not in cache:
            cache[name] = scatters({w: [r for r in rs if group(r.row) != name] for w, rs in by.items()})
        joules, seconds = cache[name]
        found.append(one.beside(joules, seconds))
    return found


def nested(rows: Sequence[PublishedRow], way: str) -> list[Residual]:
    """As `judged`, but no calibration behind the errors of the other groups has seen the group either."""
    group = WAYS[way]
    found: list[Residual] = []
    for name in dict.fromkeys(map(group, rows)):
        others = [r for r in rows if group(r) != name]
        calibrated, (joules, seconds) = calibrate(others), scatters(both_ways(others))
        found += [residual(r, calibrated).beside(joules, seconds) for r in rows if group(r) == name]
    return found


def scatters(by: Mapping[str, Sequence[Residual]]) -> tuple[Scatter, Scatter]:
    """What intervals add to the coefficients' spread: (joules, seconds). `by` as `judged` takes it."""
    joules: list[LeftOut] = []
    seconds: list[LeftOut] = []
    for way, residuals in by.items():
        for r in residuals:
            if r.joules_error is not None:
                joules.append(LeftOut(r.row.kind, r.row.source, r.joules_error, r.joules_spread, way == "kind"))
            if r.speed_error is not None:
                seconds.append(LeftOut(r.row.speed_kind, r.row.source, r.speed_error, r.speed_spread, way == "kind"))
    return scatter_of(joules), scatter_of(seconds)


def within(residuals: Sequence[Residual]) -> tuple[float, float]:
    """How far rows of one source on one device are from one another, (log joules, log seconds): what is left of an
    error once another row of the same machine is known."""

    def pooled(pick: Callable[[Residual], float | None]) -> float:
        groups: dict[tuple[str, str], list[float]] = {}
        for r in residuals:
            error = pick(r)
            if error is not None:
                groups.setdefault((r.row.source, r.row.device.name), []).append(error)
        several = [errors for errors in groups.values() if len(errors) > 1]
        variances = [float(np.var(errors, ddof=1)) for errors in several]
        return max(LEAST_SCATTER, math.sqrt(float(np.mean(variances)))) if variances else LEAST_SCATTER

    return pooled(lambda r: r.joules_error), pooled(lambda r: r.speed_error)


def shipped(rows: Sequence[PublishedRow], by: Mapping[str, Sequence[Residual]]) -> Calibrated:
    """What is calibrated on all rows, with the scatter that left-out ones show.

    Args:
        rows: all
        by: residuals of them, as `judged` takes them
    """
    joules, seconds = scatters(by)
    joules_within, seconds_within = within(by["source"])
    return replace(
        calibrate(rows), joules=joules, seconds=seconds, joules_scatter=joules_within, seconds_scatter=seconds_within
    )
