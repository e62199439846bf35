"""Calibrating the coefficients of `predict` on published rows, and judging them on sources that were left out.

Maximum a posteriori in logarithms: each row's error over its scatter and each coefficient's move over its spread, least
squares with a soft loss for rows that are far off (Huber). The covariance is that of Gauss and Newton, (J^T J)^-1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightbulb.predicting.coefficients import NAMES, PRIORS, Calibrated, by_name, priors
from lightbulb.predicting.devices import Device
from lightbulb.predicting.prediction import Z, alike, point, spread_of, unseen
from lightbulb.predicting.shapes import ModelShape
from lightbulb.predicting.step_cost import Setting

SAME_SOURCE = 3.0  # rows of one source err together: many of them say about as much as this many


@dataclass(frozen=True)
class PublishedRow:
    """One published measurement.

    Attributes:
        source: who published it
        name: of the row
        shape: of the model
        device: it ran on
        setting: how it ran
        prompt_share: prompt tokens read for each output token, whose cost the published joules include
        wall: whether the rest of the machine is inside
        joules: per output token, all devices
        tokens_per_second: written, all sequences together; None where it was not published
    """

    source: str
    name: str
    shape: ModelShape
    device: Device
    setting: Setting
    prompt_share: float
    wall: bool
    joules: float
    tokens_per_second: float | None


def as_published(row: PublishedRow, log_c: np.ndarray) -> tuple[float, float]:
    """(joules an output token, tokens a second) as the source would have counted them."""
    p = point(row.shape, row.device, row.setting, by_name(log_c))
    output, prompt = (p.wall_output_joules, p.wall_prompt_joules) if row.wall else (p.output_joules, p.prompt_joules)
    step = p.output_seconds + row.setting.batch * row.prompt_share * p.prompt_seconds
    return output + row.prompt_share * prompt, row.setting.batch / step


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
    counts = {source: sum(r.source == source for r in rows) for source in {r.source for r in rows}}

    def errors(log_c: np.ndarray) -> np.ndarray:
        found = []
        for row in rows:
            weight = min(1.0, math.sqrt(SAME_SOURCE / counts[row.source]))
            joules, speed = as_published(row, log_c)
            found.append(weight * math.log(joules / row.joules) / joules_scatter)
            if row.tokens_per_second:
                found.append(weight * math.log(speed / row.tokens_per_second) / seconds_scatter)
        return np.array([*found, *((log_c - start.log_mean) / spread)])

    best = least_squares(errors, start.log_mean, loss="huber", f_scale=2.0, diff_step=1e-3)
    covariance = np.linalg.inv(best.jac.T @ best.jac)
    kinds = frozenset(alike(r.device.kind) for r in rows)
    return Calibrated(best.x, covariance, joules_scatter, seconds_scatter, len(rows), kinds)


@dataclass(frozen=True)
class Residual:
    """A row beside what was predicted without its source: logarithm of predicted over published, and the half width of
    the 90% interval, in the same logarithm.

    Attributes:
        row: as published
        joules: predicted
        joules_error: logarithm of predicted / published
        joules_width: half width of its interval
        speed: predicted tokens a second
        speed_error: as `joules_error`; None where no speed was published
        speed_width: as `joules_width`
    """

    row: PublishedRow
    joules: float
    joules_error: float
    joules_width: float
    speed: float
    speed_error: float | None
    speed_width: float

    @property
    def joules_inside(self) -> bool:
        """Whether the interval holds what was published."""
        return abs(self.joules_error) <= self.joules_width

    @property
    def speed_inside(self) -> bool | None:
        """Likewise; None where no speed was published."""
        return None if self.speed_error is None else abs(self.speed_error) <= self.speed_width


def residual(row: PublishedRow, found: Calibrated) -> Residual:
    """A row judged by a calibration."""
    joules, speed = as_published(row, found.log_mean)

    def width(which: int, scatter: float) -> float:
        spread = spread_of(lambda c: as_published(row, np.log([c[n] for n in NAMES]))[which], found)
        return Z * math.hypot(spread, scatter, unseen(row.shape, row.device, found))

    return Residual(
        row=row,
        joules=joules,
        joules_error=math.log(joules / row.joules),
        joules_width=width(0, found.joules_scatter),
        speed=speed,
        speed_error=math.log(speed / row.tokens_per_second) if row.tokens_per_second else None,
        speed_width=width(1, found.seconds_scatter),
    )


def leave_one_source_out(rows: Sequence[PublishedRow]) -> list[Residual]:
    """Each row judged by a calibration that has seen no row of its source. In the order of the rows."""
    without = {s: calibrate([r for r in rows if r.source != s]) for s in dict.fromkeys(r.source for r in rows)}
    return [residual(row, without[row.source]) for row in rows]
