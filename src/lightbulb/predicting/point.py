"""One way through the arithmetic, and how sure it is: joules and seconds of a token at one set of coefficients, their
slopes in each of them, and the spread that follows.

    log value ~ Normal(log f(mean), J covariance J^T + scatter^2)        J by finite differences
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lightbulb.core.errors import UserError
from lightbulb.predicting.coefficients import NAMES, Calibrated, by_name
from lightbulb.predicting.devices import Device, DeviceScope
from lightbulb.predicting.scopes import watts_at
from lightbulb.predicting.setting import Setting
from lightbulb.predicting.shapes import ModelShape
from lightbulb.predicting.step_cost import cost, decode_work, prefill_work

GUESSED_SHAPE = 0.15  # scatter added where layers and width were guessed from the number of parameters
ALIKE = {
    "datacenter-gpu": "gpu",
    "desktop-gpu": "gpu",
    "laptop-gpu": "gpu",
    "server-cpu": "cpu",
    "desktop-cpu": "cpu",
    "laptop-cpu": "cpu",
}
STEP = 0.02  # of the logarithm, for finite differences


@dataclass(frozen=True)
class Point:
    """One way through the arithmetic, all devices together.

    Attributes:
        output_joules: per decoded token, with its share of the prompts' reading
        output_seconds: of a step that gives every sequence a token, likewise
        prompt_joules: per prompt token
        prompt_seconds: likewise
        bound_by: what takes the longest in decoding
    """

    output_joules: float
    output_seconds: float
    prompt_joules: float
    prompt_seconds: float
    bound_by: str


def point(
    shape: ModelShape, device: Device, setting: Setting, c: Mapping[str, float], scope: DeviceScope | None = None
) -> Point:
    """Decode and prefill at one set of coefficients.

    Args:
        shape: of the model
        device: that it runs on
        setting: how
        c: the coefficients by name
        scope: of the joules; None: the device's own

    Raises:
        UserError: what the rest of the machine draws is not known
    """
    decode, prefill = decode_work(shape, setting), prefill_work(shape, setting)
    step, chunk = cost(decode, shape, device, setting, c), cost(prefill, shape, device, setting, c)

    def joules(inside: float, seconds: float) -> float:
        watts = watts_at(scope or device.scope, inside / seconds, device, setting.devices, c)
        if watts is None:
            raise UserError(
                f"what the machine around {device.label} draws is not known",
                where="`scope`",
                hint=f"`scope={device.scope}`, or a device of your own (.toml) with rest_watts",
            )
        return watts * seconds

    read_joules, read_seconds = joules(chunk.joules, chunk.seconds) / prefill.tokens, chunk.seconds / prefill.tokens
    return Point(
        output_joules=joules(step.joules, step.seconds) / setting.batch + setting.prompt_share * read_joules,
        output_seconds=step.seconds + setting.batch * setting.prompt_share * read_seconds,
        prompt_joules=read_joules,
        prompt_seconds=read_seconds,
        bound_by=step.bound_by,
    )


def alike(kind: str) -> str:
    """Kinds of devices that the same physics covers: one row of them vouches for the others."""
    return ALIKE.get(kind, kind)


def spread_of(value: Callable[[Mapping[str, float]], float], found: Calibrated) -> float:
    """Standard deviation of log `value` that the coefficients' covariance gives, to first order."""
    slopes = slopes_of(lambda log_c: math.log(value(by_name(log_c))), found.log_mean)
    return math.sqrt(max(0.0, float(slopes @ found.covariance @ slopes)))


def slopes_of(function: Callable[[np.ndarray], float], at: np.ndarray) -> np.ndarray:
    """Central differences of `function` in each coefficient's logarithm. [coefficients]"""
    steps = np.eye(len(NAMES)) * STEP
    return np.array([(function(at + s) - function(at - s)) / (2 * STEP) for s in steps])
