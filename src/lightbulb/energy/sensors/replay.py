"""A recorded series as a sensor, and a sensor that measures nothing."""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path

from lightbulb.core.errors import RunFailure, UserError
from lightbulb.energy.sensors.base import Sensor, SensorScope

_COLUMNS = ["seconds", "joules"]


class ReplaySensor(Sensor):
    """Plays a series of readings; linear in between. Before the first and after the last nothing is known: `joules`
    raises RunFailure, like a device that is gone.

    Args:
        series: (seconds, joules) pairs, sorted by time
        clock: seconds
        name: of the sensor
        scope: what it includes
        contains: names of sensors inside it
    """

    limitations = ("A recording: it says what was, not what is.",)

    def __init__(
        self,
        series: Sequence[tuple[float, float]],
        clock: Callable[[], float],
        *,
        name: str = "replay",
        scope: SensorScope = "chip",
        contains: tuple[str, ...] = (),
    ):
        if not series or any(later[0] <= earlier[0] for earlier, later in zip(series, series[1:], strict=False)):
            raise ValueError("a recorded series needs pairs in rising order of time")
        self.name, self.scope, self.contains = name, scope, contains
        self._seconds = [t for t, _ in series]
        self._joules = [j for _, j in series]
        self._clock = clock

    def joules(self) -> float:
        now = self._clock()
        if not self._seconds[0] <= now <= self._seconds[-1]:
            raise RunFailure(f"the recording {self.name!r} does not reach {now:g} s")
        right = bisect_right(self._seconds, now)
        if right == len(self._seconds):
            return self._joules[-1]
        t0, t1 = self._seconds[right - 1], self._seconds[right]
        part = (now - t0) / (t1 - t0)
        return self._joules[right - 1] * (1 - part) + self._joules[right] * part


class NullSensor(Sensor):
    """Measures nothing: a meter of it leaves joules without a value, instead of estimating them."""

    name: str = "null"
    scope: SensorScope = "machine"
    limitations = ("Measures nothing.",)

    def joules(self) -> float:
        raise RunFailure("the null sensor measures nothing")


def read_series(path: Path) -> list[tuple[float, float]]:
    """(seconds, joules) pairs of a CSV file with these columns.

    Raises:
        UserError: it cannot be read as such; names file and line
    """
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            rows = csv.reader(lines)
            if next(rows, None) != _COLUMNS:
                raise UserError(
                    "not a recorded series", where=f"{path}:1", hint=f"let the first line be: {','.join(_COLUMNS)}"
                )
            return [_pair(row, f"{path}:{rows.line_num}") for row in rows if row]
    except (OSError, UnicodeDecodeError) as e:
        raise UserError(f"the recording cannot be read ({e})", where=str(path)) from e


def _pair(row: list[str], where: str) -> tuple[float, float]:
    try:
        seconds, joules = map(float, row)
    except ValueError:
        raise UserError(f"not a pair of numbers: {','.join(row)}", where=where, hint="write: seconds,joules") from None
    return seconds, joules
