"""What a sensor is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

SensorScope = Literal["chip", "board", "machine", "wall"]


class Sensor(Protocol):
    """A cumulative energy counter.

    name: one word and a number, e.g. "gpu-0". scope: what the reading includes. flaws: what is known to be wrong with
    it, in sentences. contains: names of sensors whose joules are inside this one's, "*" for every other; they are never
    added together. poll_seconds: how often it must be read to stay right, None when any two readings do.
    """

    name: str
    scope: SensorScope
    flaws: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    poll_seconds: float | None = None

    def joules(self) -> float:
        """Joules since some fixed moment. Never falls, unless the counter was reset. May raise anything when the device
        is gone: the meter turns that into a figure without a value."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Discovery:
    """Sensors that can be read now; remarks say what cannot, why, and what to type to change that."""

    sensors: tuple[Sensor, ...] = ()
    remarks: tuple[str, ...] = ()
