"""The devices that `lightbulb predict` knows: data sheet facts of `data/devices.csv`, each row with its sources, and
devices that a user describes in TOML by the same keys.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from lightbulb.core.errors import UserError
from lightbulb.energy.tables import read_table
from lightbulb.predicting.setting import RuntimeClass, Setting
from lightbulb.predicting.shapes import ModelShape

DeviceKind = Literal[
    "datacenter-gpu",
    "desktop-gpu",
    "laptop-gpu",
    "apple",
    "server-cpu",
    "desktop-cpu",
    "laptop-cpu",
    "jetson",
    "board",
    "phone",
    "microcontroller",
    "fpga",
]
DeviceScope = Literal["chip", "board", "machine", "wall"]
KINDS: tuple[DeviceKind, ...] = get_args(DeviceKind)
CPU_KINDS = frozenset({"server-cpu", "desktop-cpu", "laptop-cpu", "board", "phone"})
CARD_KINDS = frozenset({"datacenter-gpu", "desktop-gpu", "laptop-gpu"})  # beside a processor, with memory of their own

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Share = Annotated[float, Field(gt=0, le=1, strict=True)]
Whole = Annotated[int, Field(gt=0, strict=True)]
Word = Annotated[str, Field(min_length=1, strict=True)]

_TABLE = "devices"
_LISTS = {"aliases", "sources"}
_TEXTS = {"name", "kind", "scope", "label", "note"}
_WHOLE = {"year", "threads"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a user measured on a device.

    Attributes:
        of: the model, in words
        shape: of it
        runtime: class of runtimes
        batch: sequences side by side
        context: tokens of each
        devices: that shared the weights
        prompt_share: prompt tokens read for each token written, where the joules hold both
        scope: what the joules include
        joules_per_output_token: all devices
        tokens_per_second: written, all sequences together
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    of: str = ""
    shape: ModelShape
    runtime: RuntimeClass
    batch: Whole = 1
    context: Whole = 512
    devices: Whole = 1
    prompt_share: NotNegative = 0.0
    scope: DeviceScope
    joules_per_output_token: Positive | None = None
    tokens_per_second: Positive | None = None

    def __post_init__(self) -> None:
        if self.joules_per_output_token is None and self.tokens_per_second is None:
            raise ValueError("a reading has joules_per_output_token, tokens_per_second or both")
        sizes = (self.shape.layers, self.shape.width, self.shape.kv_width, self.shape.layer_parameters, self.shape.bits)
        if min(*sizes, self.shape.vocabulary, self.shape.head_bits) <= 0:
            raise ValueError("the shape of a reading has sizes above 0")

    @property
    def setting(self) -> Setting:
        """How it ran."""
        return Setting(self.batch, self.context, self.devices, self.runtime, self.prompt_share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device; what is not known is None.

    Attributes:
        name: to find it by
        kind: of device
        memory_gb: as its maker counts it
        bandwidth_gbs: the peak in 1e9 bytes a second
        fp32_tflops: dense peak in 1e12 operations a second
        power_watts: the limit, within `scope`
        idle_watts: ready but waiting, likewise
        scope: what the watts include
        label: for showing
        aliases: other names to find it by
        year: that it came out
        bandwidth_efficiency: the share of the peak that decoding reaches, where that is known
        fp16_tflops: as `fp32_tflops`
        int8_tops: likewise
        rest_watts: what the machine around it adds at the wall for each device
        link_gbs: to other devices, one direction, 1e9 bytes a second
        threads: the hardware cores of a CPU
        sources: of these numbers
        note: what a reader must know
        readings: what a user measured on one: predictions for it are corrected by them
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: Word
    kind: DeviceKind
    memory_gb: Positive
    bandwidth_gbs: Positive
    fp32_tflops: Positive
    power_watts: Positive
    idle_watts: Positive
    scope: DeviceScope
    label: str = ""
    aliases: tuple[Word, ...] = ()
    year: int | None = None
    bandwidth_efficiency: Share | None = None
    fp16_tflops: Positive | None = None
    int8_tops: Positive | None = None
    rest_watts: NotNegative | None = None
    link_gbs: Positive | None = None
    threads: Annotated[int, Field(gt=0, strict=True)] | None = None
    sources: tuple[Word, ...] = ()
    note: str = ""
    readings: tuple[Reading, ...] = ()

    def __post_init__(self) -> None:
        if self.idle_watts >= self.power_watts:
            raise ValueError(f"idle_watts {self.idle_watts:g} must be less than power_watts {self.power_watts:g}")

    @property
    def is_cpu(self) -> bool:
        """Whether the general-purpose cores do the work."""
        return self.kind in CPU_KINDS


@cache
def devices() -> tuple[Device, ...]:
    """All devices of the shipped table, in its order."""
    return tuple(_device(_typed(row)) for row in read_table(_TABLE))


def find_device(text: str) -> Device:
    """The device of a name, label or alias, blind to case, spaces and dashes; a remark in parentheses at the end, "A40
    (48 GB)", is left aside where the whole is not known.

    Raises:
        UserError: there is none; names the nearest ones
    """
    by_word = _by_word()
    for attempt in (text, re.sub(r"\s*\([^()]*\)\s*$", "", text)):
        if device := by_word.get(_plain(attempt)):
            return device
    near = difflib.get_close_matches(_plain(text), by_word, n=8, cutoff=0.6)
    named = list(dict.fromkeys(by_word[word].name for word in near))[:5]
    hint = f"did you mean {', '.join(named)}? " if named else ""
    raise UserError(f"no device {text!r}", where="`device`", hint=f"{hint}`lightbulb predict --devices` lists all")


def read_device(path: Path) -> Device:
    """A device that a TOML file describes by the keys of `Device`.

    Raises:
        UserError: a file that cannot be read, an unknown or missing key, or a value of the wrong type or out of range
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise UserError(f"cannot read the device: {e.strerror}", where=str(path), hint="name a TOML file") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise UserError(f"not TOML: {e}", where=str(path), hint="lines such as  bandwidth_gbs = 936") from e
    try:
        return _device({"label": found.get("name", ""), "sources": (str(path),), **found})
    except ValidationError as e:
        raise UserError(_what(e), where=str(path), hint=_keys()) from e


def _what(error: ValidationError) -> str:
    """The first fault in one line; keys that there are not before others, for they are often slips of the pen."""
    faults = sorted(error.errors(), key=lambda fault: fault["type"] != "unexpected_keyword_argument")
    key = ".".join(map(str, faults[0]["loc"]))
    if faults[0]["type"] == "unexpected_keyword_argument":
        return f"{key}: no such key"
    message = faults[0]["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" if key else message


def _keys() -> str:
    needed = [f.name for f in fields(Device) if f.default is MISSING]
    others = [f.name for f in fields(Device) if f.default is not MISSING]
    return f"needed: {', '.join(needed)}; if known: {', '.join(others)}"


@cache
def _adapter() -> TypeAdapter[Device]:
    return TypeAdapter(Device)


def _device(values: Mapping[str, object]) -> Device:
    return _adapter().validate_python(dict(values))


def _typed(row: Mapping[str, str]) -> dict[str, object]:
    """A row's cells as the types of their fields; empty ones left out."""
    found: dict[str, object] = {}
    for key, cell in row.items():
        if not cell:
            continue
        if key in _LISTS:
            found[key] = tuple(part.strip() for part in cell.split(";"))
        elif key in _TEXTS:
            found[key] = cell
        else:
            found[key] = int(cell) if key in _WHOLE else float(cell)
    return found


def _plain(text: str) -> str:
    return re.sub(r"[\s_-]", "", text).casefold()


@cache
def _by_word() -> dict[str, Device]:
    return {_plain(word): device for device in devices() for word in (device.name, device.label, *device.aliases)}
