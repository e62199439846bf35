"""A meter that the user names: a command or a file that prints watts or joules.

    LIGHTBULB_POWER_COMMAND="watts: ipmitool dcmi power reading"
    LIGHTBULB_POWER_FILE="watt-hours: /run/plug/total"

The word before the colon is the unit of the first number that is printed. A smart plug, IPMI, Redfish (by curl) or a
lab meter is read in this way.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from lightbulb.core.errors import RunFailure, UserError
from lightbulb.energy.sensors.base import Discovery, Sensor, SensorScope
from lightbulb.energy.sensors.readers import CounterSensor, PolledSensor, Trapezoids

COMMAND, FILE = "LIGHTBULB_POWER_COMMAND", "LIGHTBULB_POWER_FILE"
UNITS = {  # of power in W, of energy in J
    "watts": 1.0,
    "milliwatts": 1e-3,
    "microwatts": 1e-6,
    "joules": 1.0,
    "watt-hours": 3.6e3,
    "kilowatt-hours": 3.6e6,
}
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_PATIENCE_SECONDS = 10.0
POLL_SECONDS = 2.0
_FILE_POLL_SECONDS = 0.2
_LIMITATIONS = (
    "Everything behind the meter that the user named, whoever uses it; how good that meter is, only they know.",
)


class CommandSensor(Sensor):
    """A meter that the user names. It may be slow, so only `poll` asks it; `joules` goes by the last answer. Raises
    what the source raises.

    Args:
        name: of the sensor
        unit: of what is printed: a word of UNITS
        source: gives what is printed
        clock: seconds
    """

    scope: SensorScope = "wall"
    contains: tuple[str, ...] = ("*",)
    poll_seconds: float | None = POLL_SECONDS
    limitations = (
        *_LIMITATIONS,
        f"Asked every {POLL_SECONDS:g} s: windows of less than a minute are coarse.",
        "The command's own CPU seconds are counted with those of the process that asks.",
    )

    def __init__(self, name: str, unit: str, source: Callable[[], str], clock: Callable[[], float] = time.monotonic):
        self.name = name
        self._source, self._clock, self._factor = source, clock, UNITS[unit]
        self._area = Trapezoids() if _is_power(unit) else None
        self._asking = threading.Lock()
        self._trouble: Exception | None = None
        self._number = first_number(source()) * self._factor
        self._asked = self._answered = clock()
        self.joules()

    def poll(self) -> None:
        if self._clock() - self._asked < POLL_SECONDS / 2 or not self._asking.acquire(blocking=False):
            return  # a fresh answer, or one on its way
        try:
            self._asked = self._clock()
            number, self._trouble = first_number(self._source()) * self._factor, None
            polled = self._asked - self._answered <= 2 * POLL_SECONDS  # else no window was open
            if self._area is None and polled:  # what an edge of a window may lag behind
                self.resolution_joules = max(self.resolution_joules, number - self._number)
            self._number, self._answered = number, self._clock()
        except Exception as e:
            self._trouble = e
        finally:
            self._asking.release()

    def joules(self) -> float:
        if self._trouble is not None:
            raise RunFailure(f"{self.name}: {self._trouble}")
        return self._number if self._area is None else self._area.add(self._clock(), self._number)


def first_number(text: str) -> float:
    """The first number of a text.

    Raises:
        ValueError: there is none
    """
    if match := _NUMBER.search(text):
        return float(match[0])
    raise ValueError(f"no number in {text.strip()[:60]!r}")


def find(environment: Mapping[str, str] = os.environ, clock: Callable[[], float] = time.monotonic) -> Discovery:
    """The meters that the environment names.

    Raises:
        UserError: one that cannot be used
    """
    sensors: list[Sensor] = []
    for variable in (COMMAND, FILE):
        if variable not in environment:
            continue
        unit, _, source = (part.strip() for part in environment[variable].partition(":"))
        if unit not in UNITS or not source:
            raise UserError(
                f"not a meter: {environment[variable]!r}",
                where=variable,
                hint=f'"unit: what to run or read", with one of the units {", ".join(UNITS)}',
            )
        try:
            sensors.append(_sensor(variable, unit, source, clock))
        except (OSError, ValueError, subprocess.SubprocessError, RunFailure) as e:
            raise UserError(
                f"the meter gives no reading: {e}",
                where=variable,
                hint=f"try it by hand: {source}; or unset {variable}",
            ) from e
    return Discovery(tuple(sensors))


def _sensor(variable: str, unit: str, source: str, clock: Callable[[], float]) -> Sensor:
    if variable == COMMAND:
        words = shlex.split(source)
        return CommandSensor("power-command", unit, lambda: _run(words), clock)
    path, factor = Path(source), UNITS[unit]

    def read() -> float:
        return first_number(path.read_text(encoding="utf-8")) * factor

    if _is_power(unit):
        return PolledSensor(
            "power-file", "wall", _LIMITATIONS, read, contains=("*",), poll_seconds=_FILE_POLL_SECONDS, clock=clock
        )
    read()
    return CounterSensor("power-file", "wall", _LIMITATIONS, read, contains=("*",))


def _is_power(unit: str) -> bool:
    return unit.endswith("watts")


def _run(words: list[str]) -> str:
    """What the command prints. Raises OSError, subprocess.SubprocessError."""
    return subprocess.run(
        words,
        check=True,
        timeout=_PATIENCE_SECONDS,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ).stdout
