"""Joules and seconds a token on a device that is not here: the arithmetic of `step_cost`, with the interval that
the calibration's uncertainty and the scatter of rows it had not seen give.

    log value ~ Normal(log f(mean), J covariance J^T + scatter^2)        J by finite differences
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from lightbulb.core.errors import UserError
from lightbulb.core.figures import Figure, Scope
from lightbulb.predicting.coefficients import NAMES, Calibrated, by_name, calibrated
from lightbulb.predicting.devices import Device
from lightbulb.predicting.shapes import ModelShape
from lightbulb.predicting.step_cost import (
    RUNTIMES,
    RuntimeClass,
    Setting,
    bytes_needed,
    cost,
    decode_work,
    launch_seconds,
    prefill_work,
)

CONFIDENCE = 0.9
Z = 1.645  # of that confidence, two-sided
GUESSED_SHAPE = 0.15  # scatter added where layers and width were guessed from the number of parameters
ALIKE = {
    "datacenter-gpu": "gpu",
    "desktop-gpu": "gpu",
    "laptop-gpu": "gpu",
    "server-cpu": "cpu",
    "desktop-cpu": "cpu",
    "laptop-cpu": "cpu",
}
UNSEEN_KIND = 0.35  # ...and where no row of the calibration is of such a device (phones, microcontrollers, ...)
STEP = 0.02  # of the logarithm, for finite differences


@dataclass(frozen=True)
class Point:
    """One way through the arithmetic, all devices together.

    Attributes:
        output_joules: per decoded token
        output_seconds: of a step that gives every sequence a token
        prompt_joules: per prompt token
        prompt_seconds: likewise
        wall_output_joules: per decoded token, with the rest of the machine
        wall_prompt_joules: per prompt token, likewise
        bound_by: what takes the longest in decoding
    """

    output_joules: float
    output_seconds: float
    prompt_joules: float
    prompt_seconds: float
    wall_output_joules: float
    wall_prompt_joules: float
    bound_by: str


@dataclass(frozen=True)
class Prediction:
    """What a token would cost. Figures have 90% intervals.

    Attributes:
        device: that it would run on
        setting: how
        joules_per_output_token: J, within `scope`, the boundary in which the device's power is known
        joules_per_prompt_token: likewise
        wall_joules_per_output_token: with the rest of the machine; None where it is not known
        tokens_per_second: written, of all sequences together
        prompt_tokens_per_second: read, likewise
        bytes_needed: of memory, on all devices
        fits: whether they have it
        bound_by: what takes the longest
        notes: what a reader must know
    """

    device: Device
    setting: Setting
    joules_per_output_token: Figure
    joules_per_prompt_token: Figure
    wall_joules_per_output_token: Figure
    tokens_per_second: Figure
    prompt_tokens_per_second: Figure
    bytes_needed: float
    fits: bool
    bound_by: str
    notes: tuple[str, ...] = field(default_factory=tuple)


def default_runtime(device: Device) -> RuntimeClass:
    """What is usual on the device."""
    return "vllm" if device.kind == "datacenter-gpu" else "llama.cpp"


def point(shape: ModelShape, device: Device, setting: Setting, c: Mapping[str, float]) -> Point:
    """Decode and prefill at one set of coefficients."""
    decode, prefill = decode_work(shape, setting), prefill_work(shape, setting)
    step, chunk = cost(decode, shape, device, setting, c), cost(prefill, shape, device, setting, c)
    rest = setting.devices * (device.rest_watts or 0.0)
    return Point(
        output_joules=step.joules / setting.batch,
        output_seconds=step.seconds,
        prompt_joules=chunk.joules / prefill.tokens,
        prompt_seconds=chunk.seconds / prefill.tokens,
        wall_output_joules=(step.joules + rest * step.seconds) / setting.batch,
        wall_prompt_joules=(chunk.joules + rest * chunk.seconds) / prefill.tokens,
        bound_by=step.bound_by,
    )


def predict_cost(shape: ModelShape, device: Device, setting: Setting, found: Calibrated | None = None) -> Prediction:
    """What one token costs.

    Args:
        shape: of the model
        device: one of the catalogue or of a file
        setting: how it runs
        found: coefficients; None: those that ship

    Raises:
        UserError: a setting that cannot be
    """
    check_setting(setting, device)
    found = found or calibrated()
    central = point(shape, device, setting, found.values)

    def figure(value: Callable[[Point], float], scatter: float, unit: str, scope: Scope | None) -> Figure:
        spread = spread_of(lambda c: value(point(shape, device, setting, c)), found)
        sigma = math.hypot(spread, scatter, unseen(shape, device, found))
        middle = value(central)
        return Figure(
            value=middle,
            low=middle * math.exp(-Z * sigma),
            high=middle * math.exp(Z * sigma),
            unit=unit,
            source="estimated",
            scope=scope,
            method=f"roofline and power model, calibrated on {found.rows} published rows; 90% interval",
        )

    joules, seconds = found.joules_scatter, found.seconds_scatter
    wall = (
        Figure(value=None, unit="J/token", method="what the rest of the machine draws is not known")
        if device.rest_watts is None
        else figure(lambda p: p.wall_output_joules, joules, "J/token", "wall")
    )
    needed = bytes_needed(shape, setting)
    return Prediction(
        device=device,
        setting=setting,
        joules_per_output_token=figure(lambda p: p.output_joules, joules, "J/token", device.scope),
        joules_per_prompt_token=figure(lambda p: p.prompt_joules, joules, "J/token", device.scope),
        wall_joules_per_output_token=wall,
        tokens_per_second=figure(lambda p: setting.batch / p.output_seconds, seconds, "tokens/s", None),
        prompt_tokens_per_second=figure(lambda p: 1 / p.prompt_seconds, seconds, "tokens/s", None),
        bytes_needed=needed,
        fits=needed <= device.memory_gb * 1e9 * setting.devices,
        bound_by=central.bound_by,
        notes=tuple(_notes(shape, device, setting, found)),
    )


def alike(kind: str) -> str:
    """Kinds of devices that the same physics covers: one row of them vouches for the others."""
    return ALIKE.get(kind, kind)


def unseen(shape: ModelShape, device: Device, found: Calibrated) -> float:
    """Scatter beyond that of the calibration's rows, for what it has not seen."""
    return math.hypot(
        GUESSED_SHAPE if shape.guessed else 0.0, 0.0 if alike(device.kind) in found.kinds else UNSEEN_KIND
    )


def spread_of(value: Callable[[Mapping[str, float]], float], found: Calibrated) -> float:
    """Standard deviation of log `value` that the coefficients' covariance gives, to first order."""
    slopes = slopes_of(lambda log_c: math.log(value(by_name(log_c))), found.log_mean)
    return math.sqrt(max(0.0, float(slopes @ found.covariance @ slopes)))


def slopes_of(function: Callable[[np.ndarray], float], at: np.ndarray) -> np.ndarray:
    """Central differences of `function` in each coefficient's logarithm. [coefficients]"""
    steps = np.eye(len(NAMES)) * STEP
    return np.array([(function(at + s) - function(at - s)) / (2 * STEP) for s in steps])


def check_setting(setting: Setting, device: Device) -> None:
    """Refuses what cannot be.

    Raises:
        UserError: numbers out of range, or a runtime that does not run on the device
    """
    for name, value in (("batch", setting.batch), ("context", setting.context), ("count", setting.devices)):
        if value < 1:
            raise UserError(f"{name} {value}", where=f"`{name}`", hint="a whole number, 1 or more")
    if setting.runtime not in RUNTIMES:
        raise UserError(f"no runtime {setting.runtime!r}", where="`runtime`", hint=f"one of {', '.join(RUNTIMES)}")
    if setting.runtime == "filament" and not device.is_cpu:
        raise UserError(f"filament runs on CPUs, {device.label} is none", where="`runtime`", hint="`runtime=llama.cpp`")


def _notes(shape: ModelShape, device: Device, setting: Setting, found: Calibrated) -> list[str]:
    c, notes = found.values, []
    if shape.stored:
        notes.append(f"weights as the configuration says: {shape.stored}")
    if shape.routed_share < 1:
        active = shape.layers * shape.active_layer_parameters + shape.vocabulary * shape.width
        notes.append(f"experts: a token sees {active / 1e9:.3g} of {shape.parameters / 1e9:.3g} billion weights")
    if shape.guessed:
        notes.append("layers and width guessed from the number of parameters: name the model for a better figure")
    if alike(device.kind) not in found.kinds:
        notes.append(f"no published row of a {device.kind} was at hand to calibrate on: hence the wider interval")
    if launch_seconds(shape, device, setting, c) > 0.5 * point(shape, device, setting, c).output_seconds:
        notes.append("most of a step is launching work, not doing it: a larger batch costs little more")
    if device.bandwidth_gbs * 1e9 * 0.02 > bytes_needed(shape, setting) and device.is_cpu:
        notes.append("a model this small may fit the processor's cache, which is faster than its memory")
    return notes
