"""Joules and seconds a token on a device that is not here, as figures: the arithmetic of `step_cost` with the interval
that the calibration's uncertainty and the scatter of rows it had not seen give (`point`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from lightbulb.core.errors import UserError
from lightbulb.core.figures import Figure
from lightbulb.predicting.answers import AnswerCost, AnswerTokens, answer_cost
from lightbulb.predicting.coefficients import Calibrated, calibrated
from lightbulb.predicting.correction import corrected
from lightbulb.predicting.devices import Device, DeviceScope
from lightbulb.predicting.nearest import MeasuredRow, nearest_rows
from lightbulb.predicting.point import GUESSED_SHAPE, Point, point, spread_of
from lightbulb.predicting.scatter import Z, kind_of
from lightbulb.predicting.scopes import SCOPES
from lightbulb.predicting.setting import RUNTIMES, RuntimeClass, Setting
from lightbulb.predicting.shapes import ModelShape
from lightbulb.predicting.step_cost import bytes_needed, decode_work, host_seconds, kernel_seconds


@dataclass(frozen=True)
class Prediction:
    """What a token would cost. Figures have 90% intervals.

    Attributes:
        device: that it would run on
        setting: how
        scope: what the joules include
        joules_per_output_token: J, within `scope`
        joules_per_prompt_token: likewise
        wall_joules_per_output_token: with the rest of the machine; None where it is not known
        tokens_per_second: written, of all sequences together
        prompt_tokens_per_second: read, likewise
        bytes_needed: of memory, on all devices
        fits: whether they have it
        bound_by: what takes the longest
        notes: what a reader must know
        nearest: measured rows nearest to this, and what was predicted of them without their source
        answer: what an answer costs, where its tokens were given
    """

    device: Device
    setting: Setting
    scope: DeviceScope
    joules_per_output_token: Figure
    joules_per_prompt_token: Figure
    wall_joules_per_output_token: Figure
    tokens_per_second: Figure
    prompt_tokens_per_second: Figure
    bytes_needed: float
    fits: bool
    bound_by: str
    notes: tuple[str, ...] = ()
    nearest: tuple[MeasuredRow, ...] = ()
    answer: AnswerCost | None = None


def default_runtime(device: Device) -> RuntimeClass:
    """What is usual on the device."""
    return "vllm" if device.kind == "datacenter-gpu" else "llama.cpp"


def predict_cost(
    shape: ModelShape,
    device: Device,
    setting: Setting,
    found: Calibrated | None = None,
    scope: DeviceScope | None = None,
    answer: AnswerTokens | None = None,
) -> Prediction:
    """What one token costs.

    Args:
        shape: of the model
        device: one of the catalogue or of a file; readings of it correct the coefficients
        setting: how it runs
        found: coefficients; None: those that ship
        scope: what the joules shall include; None: what the device's power does
        answer: what an answer is made of, where its cost is asked for

    Raises:
        UserError: a setting that cannot be, or a scope that is not known of the device
    """
    check_setting(setting, device)
    scope = check_scope(scope, device)
    case = _Case(shape, device, setting, found or calibrated())
    own = case.known(device.scope)
    needed = bytes_needed(shape, setting)
    return Prediction(
        device=device,
        setting=setting,
        scope=scope,
        joules_per_output_token=case.joules(lambda p: p.output_joules, "J/token", scope),
        joules_per_prompt_token=case.joules(lambda p: p.prompt_joules, "J/token", scope),
        wall_joules_per_output_token=case.wall(),
        tokens_per_second=case.speed(lambda p: setting.batch / p.output_seconds),
        prompt_tokens_per_second=case.speed(lambda p: 1 / p.prompt_seconds),
        bytes_needed=needed,
        fits=needed <= device.memory_gb * 1e9 * setting.devices,
        bound_by=point(shape, device, setting, own.values).bound_by,
        notes=tuple(_notes(shape, device, setting, scope, own)),
        nearest=nearest_rows(shape, device, setting, scope),
        answer=None if answer is None else answer_cost(answer, case.answer(answer, scope)),
    )


@dataclass(frozen=True)
class _Case:
    """What is predicted, as figures with intervals."""

    shape: ModelShape
    device: Device
    setting: Setting
    found: Calibrated

    def known(self, scope: DeviceScope) -> Calibrated:
        """What is known of such measurements, this device's readings included."""
        return corrected(self.found.of_kind(kind_of(self.device, self.setting, scope)), self.device)

    def figure(
        self,
        value: Callable[[Point], float],
        found: Calibrated,
        scatter: float,
        unit: str,
        scope: DeviceScope | None = None,
    ) -> Figure:
        """One figure of a point, with its 90% interval."""

        def at(c: Mapping[str, float]) -> float:
            return value(point(self.shape, self.device, self.setting, c, scope))

        sigma = math.hypot(spread_of(at, found), scatter, GUESSED_SHAPE if self.shape.guessed else 0.0)
        middle, rows, own = at(found.values), found.rows, len(self.device.readings)
        readings = f" and {own} readings of this device" if own else ""
        return Figure(
            value=middle,
            low=middle * math.exp(-Z * sigma),
            high=middle * math.exp(Z * sigma),
            unit=unit,
            source="estimated",
            scope=scope,
            method=f"roofline and power model, calibrated on {rows} published rows{readings}; 90% interval",
        )

    def joules(self, value: Callable[[Point], float], unit: str, scope: DeviceScope) -> Figure:
        found = self.known(scope)
        return self.figure(value, found, found.joules_scatter, unit, scope)

    def speed(self, value: Callable[[Point], float]) -> Figure:
        found = self.known(self.device.scope)
        return self.figure(value, found, found.seconds_scatter, "tokens/s")

    def wall(self) -> Figure:
        if self.device.rest_watts is None and self.device.scope not in ("machine", "wall"):
            return Figure(value=None, unit="J/token", method="what the rest of the machine draws is not known")
        return self.joules(lambda p: p.output_joules, "J/token", "wall")

    def answer(self, tokens: AnswerTokens, scope: DeviceScope) -> Figure:
        """An answer pays for its own prompt: others' are left out."""
        alone = replace(self, setting=replace(self.setting, prompt_share=0.0))
        return alone.joules(
            lambda p: tokens.prompt * p.prompt_joules + tokens.written * p.output_joules, "J/answer", scope
        )


def check_scope(scope: str | None, device: Device) -> DeviceScope:
    """A scope by its name; None: that of the device's power.

    Raises:
        UserError: there is none of that name
    """
    if scope is None:
        return device.scope
    for known in SCOPES:
        if scope == known:
            return known
    raise UserError(f"no scope {scope!r}", where="`scope`", hint=f"one of {', '.join(SCOPES)}")


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


def _notes(shape: ModelShape, device: Device, setting: Setting, scope: DeviceScope, found: Calibrated) -> list[str]:
    c, notes = found.values, []
    if shape.stored:
        notes.append(f"weights as the configuration says: {shape.stored}")
    if shape.routed_share < 1:
        active = shape.layers * shape.active_layer_parameters + shape.vocabulary * shape.width
        notes.append(f"experts: a token sees {active / 1e9:.3g} of {shape.parameters / 1e9:.3g} billion weights")
    if shape.state_bytes:
        notes.append(f"layers that are no attention keep {shape.state_bytes / 1e6:.3g} MB for each sequence")
    if shape.guessed:
        notes.append("layers and width guessed from the number of parameters: name the model for a better figure")
    if kind_of(device, setting, scope) not in found.joules.kinds and not device.readings:
        notes.append(f"no published joules of a {device.kind} so measured are known: hence the wider interval")
    beside = kernel_seconds(shape, device, setting, c) + host_seconds(
        decode_work(shape, setting), shape, device, setting, c
    )
    if beside > 0.5 * point(shape, device, setting, c).output_seconds:
        notes.append("most of a step is launching and scheduling work, not doing it: a larger batch costs little more")
    if device.bandwidth_gbs * 1e9 * 0.02 > bytes_needed(shape, setting) and device.is_cpu:
        notes.append("a model this small may fit the processor's cache, which is faster than its memory")
    return notes
