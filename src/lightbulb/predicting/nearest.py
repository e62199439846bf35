"""The measured rows nearest to what is asked: how far a calibration that had not seen their source was off on them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, get_type_hints

from lightbulb.energy.tables import read_table
from lightbulb.predicting.devices import Device, find_device
from lightbulb.predicting.point import alike
from lightbulb.predicting.setting import Setting
from lightbulb.predicting.shapes import ModelShape

_TABLE = "published_rows"  # written by benchmarks/predict.py
SHOWN = 3


@dataclass(frozen=True, slots=True)
class MeasuredRow:
    """One published row, and what was predicted of it without its source.

    Attributes:
        source: who published it
        name: model, device and batch, in words
        kind: what sort of measurement it is
        device: its name in the catalogue
        devices: how many
        batch: sequences side by side
        runtime: class of runtimes
        scope: what the joules include
        read_gb: weights that a token of one sequence reads
        joules: measured, per written token
        predicted: without its source
        low: of the 90% interval
        high: likewise
    """

    source: str
    name: str
    kind: str
    device: str
    devices: int
    batch: int
    runtime: str
    scope: str
    read_gb: float
    joules: float
    predicted: float
    low: float
    high: float

    @property
    def off(self) -> float:
        """Predicted / measured - 1."""
        return self.predicted / self.joules - 1


@cache
def measured_rows() -> tuple[MeasuredRow, ...]:
    """All that ship."""
    return tuple(_row(cells) for cells in read_table(_TABLE))


def _row(cells: dict[str, str]) -> MeasuredRow:
    types = get_type_hints(MeasuredRow)
    values: dict[str, Any] = {field.name: types[field.name](cells[field.name]) for field in fields(MeasuredRow)}
    return MeasuredRow(**values)


def nearest_rows(shape: ModelShape, device: Device, setting: Setting, scope: str) -> tuple[MeasuredRow, ...]:
    """The nearest few: the same device before its like, then bytes, batch, number of devices, runtime and scope."""

    def distance(row: MeasuredRow) -> float:
        read = shape.bytes_read / 1e9 / row.read_gb
        steps = 0.5 * abs(math.log(read)) + 0.4 * abs(math.log(setting.batch / row.batch))
        steps += 0.7 * abs(math.log(setting.devices / row.devices))
        steps += (row.runtime != setting.runtime) + 0.5 * (row.scope != scope)
        return steps + _apart(find_device(row.device), device)

    return tuple(sorted(measured_rows(), key=distance)[:SHOWN])


def _apart(one: Device, other: Device) -> float:
    if one.name == other.name:
        return 0.0
    if one.kind == other.kind:
        return 0.7
    return 1.5 if alike(one.kind) == alike(other.kind) else 3.0
