"""Readings of the user's own: from a TOML file into a device that predictions are corrected by.

[[reading]]
model = "smollm2-135m"          # or parameters = 8.03e9; bits = "q4_k_m" where the model does not say it
scope = "wall"                  # what the watts or joules include
watts = 320
tokens_per_second = 128         # written, all sequences together
batch = 1                       # this and the rest: as for a prediction, with its defaults
"""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lightbulb.core.errors import UserError
from lightbulb.core.figures import Figure
from lightbulb.core.files import write_text
from lightbulb.predicting.devices import Device, DeviceScope, Reading
from lightbulb.predicting.prediction import check_setting, default_runtime, predict_cost
from lightbulb.predicting.setting import RuntimeClass, usual_share
from lightbulb.predicting.shapes import ModelShape, from_model, from_parameters, parse_bits


class _Given(BaseModel):
    """One [[reading]] as it is written."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    parameters: float | None = None
    bits: str | float | None = None
    scope: DeviceScope | None = None
    joules_per_token: float | None = Field(None, gt=0, allow_inf_nan=False)
    watts: float | None = Field(None, gt=0, allow_inf_nan=False)
    tokens_per_second: float | None = Field(None, gt=0, allow_inf_nan=False)
    batch: int = 1
    context: int = 512
    count: int = 1
    runtime: RuntimeClass | None = None
    prompt_share: float | None = Field(None, ge=0, le=1000)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reading: list[_Given] = Field(min_length=1)


@dataclass(frozen=True)
class Corrected:
    """A reading beside what was predicted of it without it and is predicted now; None where it was not measured.

    Attributes:
        reading: as measured
        joules_before: per output token
        joules_after: likewise, with the interval that remains
        speed_before: tokens a second
        speed_after: likewise
    """

    reading: Reading
    joules_before: Figure
    joules_after: Figure
    speed_before: Figure
    speed_after: Figure


def read_readings(path: Path, device: Device) -> tuple[Reading, ...]:
    """The readings of a file.

    Raises:
        UserError: a file that cannot be read or does not say what was measured, of what, within which scope
        ModelError: a model that cannot be read
    """
    try:
        found = _File(**tomllib.loads(path.read_text(encoding="utf-8"))).reading
    except OSError as e:
        raise UserError(f"cannot read the readings: {e.strerror}", where=str(path), hint=_HINT) from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise UserError(f"not TOML: {e}", where=str(path), hint=_HINT) from e
    except ValidationError as e:
        fault = e.errors()[0]
        what = f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].removeprefix('Value error, ')}"
        raise UserError(what, where=str(path), hint=_HINT) from e
    return tuple(_reading(given, device, f"{path}, reading {n}") for n, given in enumerate(found, start=1))


_HINT = '[[reading]] with model = "..." or parameters = 8e9, scope = "wall", watts = 320, tokens_per_second = 128'


def _reading(given: _Given, device: Device, where: str) -> Reading:
    joules, speed = given.joules_per_token, given.tokens_per_second
    if given.watts is not None:
        if joules is not None or speed is None:
            raise UserError("watts need tokens_per_second, and no joules_per_token", where=where, hint=_HINT)
        joules = given.watts / speed
    if joules is None and speed is None:
        raise UserError("nothing was measured", where=where, hint=_HINT)
    if joules is not None and given.scope is None:
        raise UserError(
            "what the joules include is not said", where=where, hint='scope = "chip", "board", "machine" or "wall"'
        )
    runtime = given.runtime or default_runtime(device)
    share = usual_share(runtime, given.batch) if given.prompt_share is None else given.prompt_share
    shape = _shape(given, where)
    try:
        reading = Reading(
            of=given.model or f"{given.parameters:.4g} parameters",
            shape=shape,
            runtime=runtime,
            batch=given.batch,
            context=given.context,
            devices=given.count,
            prompt_share=share,
            scope=given.scope or device.scope,
            joules_per_output_token=joules,
            tokens_per_second=speed,
        )
        check_setting(reading.setting, device)
    except UserError as e:
        raise UserError(e.what, where=where, hint=e.hint) from e
    return reading


def _shape(given: _Given, where: str) -> ModelShape:
    if (given.model is None) == (given.parameters is None):
        raise UserError("a reading is of either a model or a number of parameters", where=where, hint=_HINT)
    if given.model is not None:
        shape = from_model(given.model, bits=given.bits is None)
    else:
        shape = from_parameters(given.parameters or 0.0)
    return shape if given.bits is None else shape.at_bits(parse_bits(str(given.bits)))


def with_readings(device: Device, readings: tuple[Reading, ...]) -> tuple[Device, list[Corrected]]:
    """The device that knows them beside those it knew, and what changes.

    Raises:
        UserError: a scope that is not known of the device
    """
    after = replace(device, readings=device.readings + readings)
    found = []
    for r in readings:
        old, new = (predict_cost(r.shape, d, r.setting, scope=r.scope) for d in (device, after))
        found.append(
            Corrected(
                r,
                old.joules_per_output_token,
                new.joules_per_output_token,
                old.tokens_per_second,
                new.tokens_per_second,
            )
        )
    return after, found


def write_device(device: Device, path: Path) -> None:
    """As TOML that `read_device` reads: whole or not at all."""
    import tomli_w

    head = "# Written by lightbulb: a device and what was measured on it. More [[readings]] may be added.\n"
    write_text(path, head + tomli_w.dumps(_plain(device)))


def _plain(value: Any) -> dict[str, Any]:
    """A dataclass without what is not known or as usual, its readings likewise."""
    usual = {f.name: f.default for f in fields(value)}
    found: dict[str, Any] = {}
    for name in usual:
        entry = getattr(value, name)
        if entry is None or (entry == usual[name] and name != "scope"):
            continue
        if name == "readings":
            found[name] = [_plain(r) for r in entry]
        elif name == "shape":
            found[name] = {k: v for k, v in asdict(entry).items() if v is not None and v != ""}
        else:
            found[name] = list(entry) if isinstance(entry, tuple) else entry
    return found
