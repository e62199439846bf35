"""What a sensor is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

SensorScope = Literal["chip", "board", "machine", "wall"]


class Sensor(Protocol):
    """A cumulative energy counter.

    Attributes:
        name: one word and a number, e.g. "gpu-0"
        scope: what the reading includes
        limitations: what is known to be wrong with it, in sentences
        contains: names of sensors whose joules are inside this one's, "*" for every other; they are never added
            together. Two sensors that contain each other read the same thing twice.
        poll_seconds: how often it must be read to stay right; None when any two readings do
        resolution_joules: the steps in which it counts, where these are large enough to matter
    """

    name: str
    scope: SensorScope
    limitations: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    poll_seconds: float | None = None
    resolution_joules: float = 0.0

    def joules(self) -> float:
        """Joules since some fixed moment, at once. Never falls, unless the counter was reset. May raise anything when
        the device is gone: the meter turns that into a figure without a value."""
        ...

    def poll(self) -> None:
        """For a source too slow for `joules`: asks it. Before the first window opens, then in the meter's own thread.
        Never raises."""
        return None

    def close(self) -> None:
        """Lets the device go; a second call does nothing."""
        return None


@dataclass(frozen=True, slots=True)
class Discovery:
    """What was looked for, and found.

    Attributes:
        sensors: that can be read now
        diagnostics: what cannot, why, and what to type to change that
    """

    sensors: tuple[Sensor, ...] = ()
    diagnostics: tuple[str, ...] = ()


def contains(outer: Sensor, inner: Sensor) -> bool:
    """Whether the joules of `inner` are inside those of `outer`."""
    return outer is not inner and ("*" in outer.contains or inner.name in outer.contains)


def same_thing(one: Sensor, other: Sensor) -> bool:
    """Whether both read the same thing, so that they have to agree."""
    return contains(one, other) and contains(other, one)


def read_text(path: Path) -> str:
    """Contents of a small file of sysfs, stripped.

    Raises:
        OSError: it cannot be read
    """
    with open(path, "rb", buffering=0) as file:  # half the time of Path.read_text, and the sampler lives on it
        return file.read(4096).decode(errors="replace").strip()


def read_number(path: Path) -> float:
    """The number that a file of sysfs holds.

    Raises:
        OSError: it cannot be read
        ValueError: it holds none
    """
    return float(read_text(path))
