"""The meter for anybody's code, without the rest of lightbulb:

    with lightbulb.meter(zone="FRA", csv="emissions.csv") as m:
        ...
    print(m.joules, m.cpu_seconds, m.wall_seconds, m.grams_co2e)

Inside lightbulb only the run loop and the measure protocol open energy windows. This and `EnergyCallback` are the doors
for other people's code.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from lightbulb.core.figures import Figure
from lightbulb.energy.carbon import grams_co2e, own_zone
from lightbulb.energy.exports import append_emissions, check_emissions, emissions_row
from lightbulb.energy.meter import Meter, Reading

__all__ = ["Metered", "meter"]


class Metered:
    """What the block has taken: up to now while it runs, in all once it has ended. The figures say how they were
    obtained; a value is None where nothing could be read.

    Arguments and errors are those of `meter`, which makes it.
    """

    def __init__(self, name: str, zone: str | None, pue: float, csv: str | PathLike[str] | None, quiet: bool):
        zone = own_zone(zone)
        grams_co2e(Figure(value=None, unit="J"), zone, pue)  # refuses bad arguments before the work
        self._zone, self._pue, self._quiet = zone, pue, quiet
        self._csv = None if csv is None else Path(csv)
        if self._csv is not None:
            check_emissions(self._csv)
        self._meter = Meter()
        self._window = self._meter.window(name)

    def start(self) -> None:
        """Opens the window."""
        self._window.__enter__()

    def stop(self) -> None:
        """Closes the window, says what it took, and writes it down."""
        self._window.__exit__(None, None, None)
        self.close()
        if not self._quiet:
            print(self, file=sys.stderr)
        if self._csv is not None:
            append_emissions(self._csv, emissions_row(self.reading, zone=self._zone, pue=self._pue))

    def close(self) -> None:
        """Lets the sensors go; alone, it gives the window up without a word."""
        self._meter.close()

    @property
    def reading(self) -> Reading:
        """All of it at one moment, each sensor by itself too."""
        return self._window.so_far()

    @property
    def joules(self) -> Figure:
        """J, without the PUE."""
        return self.reading.joules

    @property
    def cpu_seconds(self) -> Figure:
        """User and system seconds of this process, its threads, and its children that have ended."""
        return self.reading.cpu_seconds

    @property
    def wall_seconds(self) -> Figure:
        """Seconds by the clock."""
        return Figure(value=self.reading.wall_seconds, unit="s", method="perf_counter")

    @property
    def grams_co2e(self) -> Figure:
        """g CO2e, location-based, PUE included: `energy.carbon.grams_co2e`."""
        return grams_co2e(self.reading.joules, self._zone, self._pue)

    def __str__(self) -> str:
        reading, grams = self.reading, self.grams_co2e
        source = f" ({reading.joules.source})" if reading.joules.value is not None else ""
        wall = Figure(value=reading.wall_seconds, unit="s")
        return f"{reading.name}: {reading.joules}{source}, {reading.cpu_seconds} of CPU time in {wall}, {grams}"


@contextmanager
def meter(
    name: str = "lightbulb",
    *,
    zone: str | None = None,
    pue: float = 1.0,
    csv: str | PathLike[str] | None = None,
    quiet: bool = False,
) -> Iterator[Metered]:
    """Measures the block, or each call of a function as a decorator: `@lightbulb.meter("train")`.

    With counters (RAPL, NVML, ...) joules are everyone's on this machine, without them an estimate for this process.

    Args:
        name: the window's, and the project's in the file
        zone: whose grid, e.g. "FRA" (None: the world's average, with its spread)
        pue: power usage effectiveness of the data centre
        csv: a file in CodeCarbon's form that gets a row at the end, also when the block raises: the energy is spent
        quiet: without the line on stderr

    Raises:
        UserError: before the block runs, for an unknown zone, a PUE below 1, and a file that cannot take the row
    """
    metered = Metered(name, zone, pue, csv, quiet)
    metered.start()
    try:
        yield metered
    finally:
        metered.stop()
