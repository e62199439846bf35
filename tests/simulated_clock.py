"""A clock that only what is measured moves."""

from __future__ import annotations

from lightbulb.energy.meter import Meter


class Clock:
    """Stands in for the module `time`, and for the meter's clocks."""

    def __init__(self):
        self.seconds = self.cpu = 0.0

    def perf_counter(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def work(self, seconds: float) -> None:
        self.seconds += seconds
        self.cpu += seconds


def meter_on(clock: Clock) -> Meter:
    return Meter((), clock=clock.perf_counter, cpu_clock=lambda: clock.cpu, threads=2)
