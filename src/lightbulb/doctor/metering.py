"""What can be metered here: the sensors that answer, why the others do not, and the estimate in their place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from lightbulb.core.errors import UserError
from lightbulb.doctor.record import ElectricityGrid, Energy, FoundSensor
from lightbulb.energy.carbon import WORLD, find_zone, grid_intensity, own_zone
from lightbulb.energy.estimate import estimate_joules
from lightbulb.energy.family import family_here
from lightbulb.energy.meter import to_sum
from lightbulb.energy.processor import threads_held
from lightbulb.energy.sensors import Discovery, discover
from lightbulb.energy.sensors.command import COMMAND, FILE


def look(root: Path, environment: Mapping[str, str] = os.environ) -> Energy:
    """Which sensors can be read, and what an estimate goes by without them.

    Args:
        root: where the file system begins
        environment: variables that name a meter; one that gives nothing is a diagnostic here
    """
    found = _discover(root, environment)
    summed = {sensor.name for sensor in to_sum(found.sensors)} if found.sensors else set()
    sensors = tuple(
        FoundSensor(name=s.name, scope=s.scope, limitations=s.limitations, in_sum=s.name in summed)
        for s in found.sensors
    )
    for sensor in found.sensors:
        sensor.close()
    threads, family = threads_held(root), family_here(root)
    idle, busy = (estimate_joules(cpu, 1.0, threads, family).model_copy(update={"unit": "W"}) for cpu in (0.0, threads))
    return Energy(sensors=sensors, diagnostics=found.diagnostics, idle=idle, busy=busy, add=_can_be_added(environment))


def grid() -> ElectricityGrid:
    """What carbon is reckoned with where a command names no zone."""
    zone = own_zone()
    hint = "--zone FRA, or your country's name; for always: export LIGHTBULB_ZONE=FRA"
    return ElectricityGrid(zone=find_zone(zone or WORLD).name, intensity=grid_intensity(zone), hint=hint)


def _discover(root: Path, environment: Mapping[str, str]) -> Discovery:
    """A meter that the environment names and that gives nothing is a finding here, not the end."""
    try:
        return discover(root, environment)
    except UserError as e:
        others = discover(root, {name: text for name, text in environment.items() if name not in (COMMAND, FILE)})
        return Discovery(others.sensors, (f"{e.where}: {e.what}; {e.hint}", *others.diagnostics))


def _can_be_added(environment: Mapping[str, str]) -> tuple[str, ...]:
    choices = (
        (COMMAND, "a command that prints watts (IPMI, Redfish, a smart plug)", "watts: ipmitool dcmi power reading"),
        (FILE, "a file that something else keeps up to date", "watt-hours: /run/plug/total"),
    )
    return tuple(f'{what}: export {name}="{example}"' for name, what, example in choices if name not in environment)
