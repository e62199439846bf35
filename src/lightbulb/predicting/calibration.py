"""Calibrating the coefficients of `predict` on published rows, and judging them on sources and kinds left out.

Maximum a posteriori in logarithms: each row's error over its scatter and each coefficient's move over its spread, least
squares with a soft loss for rows that are far off (Huber). The covariance is that of Gauss and Newton, (J^T J)^-1.

What an interval adds to that covariance is not the fit's: it is the scatter with which 90% of the rows lie inside when
their whole source, or all rows of their kind, were left out (split conformal prediction, Vovk et al. 2005).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lightbulb.predicting.coefficients import DEVICE, NAMES, PRIORS, Calibrated, by_name, priors
from lightbulb.predicting.devices import Device, DeviceScope
from lightbulb.predicting.point import CONFIDENCE, Z, alike, point, spread_of, unseen
from lightbulb.predicting.setting import Setting
from lightbulb.predicting.shapes import ModelShape
from lightbulb.predicting.step_cost import GPU_KINDS

SAME_SOURCE = 3.0  # rows of one source err together: many of them say about as much as this many
KNOWN_BY = 2  # sources: a kind of devices that only one has measured is as good as not measured
LEAST_SCATTER = 0.1  # of a logarithm: nobody measures joules of the same thing closer than this twice


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
        """What sort of measurement it is: the first of these that it is."""
        if self.setting.devices > 1:
            return "several devices"
        if self.setting.batch > 1:
            return "batches"
        if self.scope == "chip":
            return "chips"
        if self.setting.runtime == "eager":
            return "eager, one at a time"
        if self.device.kind in GPU_KINDS:
            return "desktops" if self.device.kind != "apple" else "Apple machines"
        return "boards" if self.device.kind == "board" else "CPUs"


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
    sources: dict[str, set[str]] = {}
    for row in rows:
        sources.setdefault(alike(row.device.kind), set()).add(row.source)
    kinds = frozenset(kind for kind, who in sources.items() if len(who) >= KNOWN_BY)
    return Calibrated(whole(best.x), covariance, joules_scatter, seconds_scatter, len(rows), kinds)


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
        return math.hypot(explained, unseen(row.shape, row.device, found))

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


def left_out(rows: Sequence[PublishedRow], group: Callable[[PublishedRow], str]) -> list[Residual]:
    """Each row beside a calibration that has seen no row of its group. In the order of the rows; no scatter yet."""
    without = {g: calibrate([r for r in rows if group(r) != g]) for g in dict.fromkeys(map(group, rows))}
    return [residual(row, without[group(row)]) for row in rows]


def judged(
    residuals: Sequence[Residual], others: Sequence[Residual], group: Callable[[PublishedRow], str]
) -> list[Residual]:
    """The same with the scatter that the errors of all other groups tell: no row widens its own interval.

    Args:
        residuals: of rows that were left out by `group`
        others: of the same rows left out by something else, whose errors count as well
        group: what was left out together
    """
    found = []
    cache: dict[str, tuple[float, float]] = {}
    for one in residuals:
        name = group(one.row)
        if name not in cache:
            cache[name] = scatters([r for r in (*residuals, *others) if group(r.row) != name])
        joules, speed = cache[name]
        found.append(replace(one, joules_scatter=joules, speed_scatter=speed))
    return found


def scatters(residuals: Sequence[Residual]) -> tuple[float, float]:
    """What intervals must add to the coefficients' spread for 90% to lie inside, (log joules, log seconds): of rows,
    and of rows where all of one source count as at most SAME_SOURCE."""
    counts = {s: sum(r.row.source == s for r in residuals) for s in {r.row.source for r in residuals}}
    joules, speed = 0.0, 0.0
    for weights in ([1.0] * len(residuals), [min(1.0, SAME_SOURCE / counts[r.row.source]) for r in residuals]):
        weighed = list(zip(residuals, weights, strict=True))
        joules = max(joules, _scatter([(r.joules_error, r.joules_spread, w) for r, w in weighed]))
        speed = max(speed, _scatter([(r.speed_error, r.speed_spread, w) for r, w in weighed]))
    return joules, speed


def _scatter(errors: Sequence[tuple[float | None, float, float]]) -> float:
    """errors: (error, explained spread, weight). The least scatter at which the weighted share inside is enough."""
    needed = sorted(
        (math.sqrt(max(0.0, (error / Z) ** 2 - spread**2)), weight)
        for error, spread, weight in errors
        if error is not None
    )
    total, below = sum(weight for _, weight in needed), 0.0
    for scatter, weight in needed:
        below += weight
        if below >= CONFIDENCE * total:
            return max(LEAST_SCATTER, scatter)
    return LEAST_SCATTER


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


def shipped(rows: Sequence[PublishedRow], residuals: Sequence[Residual]) -> Calibrated:
    """What is calibrated on all rows, with the scatter that left-out ones show: of it, what rows of one device share is
    put into the device's own coefficients, which readings of a user can tell.

    Args:
        rows: all
        residuals: of them, by source and by kind
    """
    found = calibrate(rows)
    (joules, seconds), (joules_within, seconds_within) = scatters(residuals), within(residuals)
    joules_within, seconds_within = min(joules_within, joules), min(seconds_within, seconds)
    time = seconds**2 - seconds_within**2
    power = max(0.0, joules**2 - joules_within**2 - time)
    time = min(time, joules**2 - joules_within**2)
    covariance = found.covariance.copy()
    for name, variance in zip(DEVICE, (power, time), strict=True):
        covariance[NAMES.index(name), NAMES.index(name)] = variance
    return replace(found, covariance=covariance, joules_scatter=joules_within, seconds_scatter=seconds_within)
