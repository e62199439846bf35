"""Sensors made of a function: one that tells joules, or one that tells watts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from lightbulb.energy.sensors.base import Sensor, SensorScope

POLL_SECONDS = 0.1


class CounterSensor(Sensor):
    """A counter that the device keeps.

    Args:
        name: of the sensor
        scope: what it includes
        limitations: what is known to be wrong with it
        read: gives joules
        contains: names of sensors inside it
        release: lets the device go
    """

    def __init__(
        self,
        name: str,
        scope: SensorScope,
        limitations: tuple[str, ...],
        read: Callable[[], float],
        *,
        contains: tuple[str, ...] = (),
        release: Callable[[], object] | None = None,
    ):
        self.name, self.scope, self.limitations, self.contains = name, scope, limitations, contains
        self._read, self._release = read, release

    def joules(self) -> float:
        return self._read()

    def close(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()


class PolledSensor(CounterSensor):
    """Integrates power, which every call of `joules` reads. Raises what `watts` raises, also when made.

    Args:
        name: as for `CounterSensor`
        scope: likewise
        limitations: likewise
        watts: gives power in W
        contains: as for `CounterSensor`
        poll_seconds: how often it must be read to stay right
        clock: seconds
        release: as for `CounterSensor`
    """

    def __init__(
        self,
        name: str,
        scope: SensorScope,
        limitations: tuple[str, ...],
        watts: Callable[[], float],
        *,
        contains: tuple[str, ...] = (),
        poll_seconds: float = POLL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        release: Callable[[], object] | None = None,
    ):
        known_limitations = (
            *limitations,
            f"Power read every {poll_seconds:g} s: shorter bursts are missed or overrated.",
        )
        area = Trapezoids()
        super().__init__(
            name, scope, known_limitations, lambda: area.add(clock(), watts()), contains=contains, release=release
        )
        self.poll_seconds = poll_seconds
        self.joules()


class Trapezoids:
    """Joules under readings of watts joined by straight lines.

    What was added is never taken back, so joules at any two moments add up, whatever was read in between. For power
    that moves up and down by V watts in all, readings at most d seconds apart are off by at most d * V joules.
    """

    def __init__(self) -> None:
        self._joules = 0.0
        self._last: tuple[float, float] | None = None

    def add(self, seconds: float, watts: float) -> float:
        """Joules up to `seconds`, when `watts` were read.

        Raises:
            ValueError: watts that cannot be
        """
        if not math.isfinite(watts) or watts < 0:
            raise ValueError(f"reads {watts:g} W")
        if self._last is not None:
            self._joules += max(0.0, seconds - self._last[0]) * (watts + self._last[1]) / 2
        self._last = seconds, watts
        return self._joules
