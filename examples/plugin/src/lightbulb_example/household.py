"""A sensor: a household's meter that some other program copies into a file, in watt-hours.

HOUSEHOLD_METER=/run/meter/total lightbulb doctor
"""

from __future__ import annotations

import os
from pathlib import Path

from lightbulb.energy.sensors.base import Discovery, read_number
from lightbulb.energy.sensors.readers import CounterSensor

METER = "HOUSEHOLD_METER"
JOULES_PER_WATT_HOUR = 3600.0
LIMITATIONS = ("Everything in the house, whoever uses it.",)


def find() -> Discovery:
    """The meter that the environment names; a remark where it cannot be read."""
    if (named := os.environ.get(METER)) is None:
        return Discovery()
    sensor = HouseholdMeter(Path(named))
    try:
        sensor.joules()
    except (OSError, ValueError) as e:
        return Discovery(diagnostics=(f"The household's meter cannot be read ({e}).",))
    return Discovery((sensor,))


class HouseholdMeter(CounterSensor):
    """What `file` counts. It contains every other sensor: the house is around them."""

    def __init__(self, file: Path):
        def joules() -> float:
            return read_number(file) * JOULES_PER_WATT_HOUR

        super().__init__("household", "wall", LIMITATIONS, joules, contains=("*",))
