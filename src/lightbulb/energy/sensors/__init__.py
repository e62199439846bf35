"""Sensors of energy, found at run time."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from lightbulb.core import plugins
from lightbulb.core.errors import PluginError
from lightbulb.energy.sensors import apple, battery, command, hwmon, nvml, rapl
from lightbulb.energy.sensors.base import Discovery, Sensor, SensorScope

__all__ = ["Discovery", "Sensor", "SensorScope", "discover"]


def discover(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> Discovery:
    """Every sensor that this process can read, those of plugins last.

    Args:
        root: stands for the file system's root; it does not move the drivers of NVIDIA and Apple, nor plugins
        environment: its variables

    Raises:
        UserError: the environment names a meter that cannot be used
    """
    powercap = rapl.find(root)
    parts = [command.find(environment), nvml.find(environment=environment), powercap]
    if not powercap.sensors:
        sockets = hwmon.find_amd_sockets(root)
        parts[-1] = sockets if sockets.sensors else Discovery(diagnostics=(*powercap.diagnostics, *sockets.diagnostics))
    parts += [hwmon.find_gpus(root), hwmon.find_rails(root), battery.find(root), apple.find()]
    parts += [plugged({s.name for part in parts for s in part.sensors})]
    return Discovery(
        tuple(s for part in parts for s in part.sensors), tuple(r for part in parts for r in part.diagnostics)
    )


def plugged(taken: Collection[str]) -> Discovery:
    """The sensors of plugins. One that cannot be used, or that has a name of `taken` or of another plugin's, is a
    diagnostic: without it the others still measure."""
    sensors: dict[str, Sensor] = {}
    diagnostics: list[str] = []
    for entry in plugins.entries(plugins.SENSORS):
        owner = f"The plugin {entry.name!r} of {plugins.distribution(entry)}"
        try:
            found = plugins.load_entry(entry)()
        except PluginError as e:
            diagnostics.append(f"{e.what}; type: {e.hint}.")
            continue
        except Exception as e:  # other people's code
            diagnostics.append(f"{owner} cannot look for sensors ({type(e).__name__}: {e}).")
            continue
        diagnostics += found.diagnostics
        for sensor in found.sensors:
            if sensor.name in taken or sensor.name in sensors:
                diagnostics.append(f"{owner} has a sensor {sensor.name!r}, which another is called: it is left out.")
            else:
                sensors[sensor.name] = sensor
    return Discovery(tuple(sensors.values()), tuple(diagnostics))
