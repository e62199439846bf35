"""A laptop's battery while it discharges (/sys/class/power_supply; Documentation/ABI/testing/sysfs-class-power).

What the battery gives is what the machine takes, screen and all. On mains there is nothing to read: mains power does
not pass the battery, so a reading is refused unless the status is Discharging.

While a laptop sleeps the battery falls but the clocks of work stand still (on Linux CLOCK_MONOTONIC, which every window
uses, stops in suspend). What fell across a sleep belongs to no work and is left out; the meter tells that the machine
slept. Left out with it is the work between the last reading and the sleep, at most a poll's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lightbulb.core.errors import RunFailure
from lightbulb.energy.processor import seconds_asleep
from lightbulb.energy.sensors.base import Discovery, Sensor, SensorScope, read_number, read_text

_JOULES_PER_UWH = 3.6e-3
_JOULES_PER_UAH_UV = 3.6e-9
_LEAST_STEP_JOULES = 36.0  # 10 mWh, the step of most ACPI batteries
_SLEPT_SECONDS = 1.0
_POLLED_SECONDS = 3.0  # readings no further apart were polled in a window


class _Level(NamedTuple):
    """What one battery holds: joules, or where it tells charge, uAh at uV."""

    amount: float
    volts: float | None

    def drained(self, before: _Level) -> float:
        """Joules between `before` and this."""
        fall = before.amount - self.amount
        if self.volts is None or before.volts is None:
            return fall * _JOULES_PER_UWH
        return fall * (self.volts + before.volts) / 2 * _JOULES_PER_UAH_UV


class BatterySensor(Sensor):
    """All batteries of the machine.

    An interrupted discharge starts the counter anew, at 0: the meter sees it fall and says that its sum is too low.

    Args:
        folders: one a battery, in sysfs
        asleep: gives the seconds that the machine has slept
        clock: seconds
    """

    name: str = "battery"
    scope: SensorScope = "machine"
    contains: tuple[str, ...] = ("*",)
    poll_seconds: float | None = 1.0
    limitations = (
        "The whole machine: screen, disks, and every process.",
        "The gauge steps by 10 mWh (36 J) or more, seconds to a minute apart: windows of a few minutes say little.",
        "What a battery loses inside itself as heat is not seen.",
    )

    def __init__(
        self,
        folders: tuple[Path, ...],
        asleep: Callable[[], float] = seconds_asleep,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._folders, self._asleep, self._clock = folders, asleep, clock
        self._joules = 0.0
        self._last: tuple[list[_Level], float, float] | None = None
        self.resolution_joules = _LEAST_STEP_JOULES
        self.joules()

    def joules(self) -> float:
        if not _discharging(self._folders):
            self._joules, self._last = 0.0, None
            raise RunFailure("the battery is not discharging: on mains it does not tell what the machine takes")
        levels, slept, now = [_level(folder) for folder in self._folders], self._asleep(), self._clock()
        if self._last is not None and slept - self._last[1] < _SLEPT_SECONDS:
            step = sum(level.drained(before) for level, before in zip(levels, self._last[0], strict=True))
            self._joules += step
            if now - self._last[2] <= _POLLED_SECONDS:  # not what drained while no window was open
                self.resolution_joules = max(self.resolution_joules, step)
        self._last = levels, slept, now
        return self._joules


def find(root: Path = Path("/"), asleep: Callable[[], float] = seconds_asleep) -> Discovery:
    """The machine's batteries as one sensor, while they discharge."""
    folders = tuple(f for f in sorted((root / "sys/class/power_supply").glob("*")) if _is_battery(f))
    if not folders:
        return Discovery()
    try:
        return Discovery((BatterySensor(folders, asleep),))
    except RunFailure:
        return Discovery(
            diagnostics=("Battery: on mains. Pull the plug to measure the whole machine by its discharge.",)
        )
    except (OSError, ValueError) as e:
        return Discovery(diagnostics=(f"Battery: cannot be read ({e}).",))


def _is_battery(folder: Path) -> bool:
    try:
        if read_text(folder / "type") != "Battery":
            return False
        scope = folder / "scope"  # "Device" is the battery of a mouse
        return not scope.exists() or read_text(scope) != "Device"
    except OSError:
        return False


def _discharging(folders: tuple[Path, ...]) -> bool:
    """One discharges and none charges (a second battery may rest). Raises OSError."""
    states = [read_text(folder / "status") for folder in folders]
    return "Discharging" in states and "Charging" not in states


def _level(folder: Path) -> _Level:
    energy = folder / "energy_now"
    if energy.exists():
        return _Level(read_number(energy), None)
    return _Level(read_number(folder / "charge_now"), read_number(folder / "voltage_now"))
