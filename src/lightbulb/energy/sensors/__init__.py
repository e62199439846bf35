"""Sensors of energy, found at run time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from lightbulb.energy.sensors import apple, battery, command, hwmon, nvml, rapl
from lightbulb.energy.sensors.base import Discovery, Sensor, SensorScope

__all__ = ["Discovery", "Sensor", "SensorScope", "discover"]


def discover(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> Discovery:
    """Every sensor that this process can read. `root` stands for the file system's root; it does not move the drivers
    of NVIDIA and Apple. Raises UserError where the environment names a meter that cannot be used."""
    powercap = rapl.find(root)
    parts = [command.find(environment), nvml.find(environment=environment), powercap]
    if not powercap.sensors:
        sockets = hwmon.find_amd_sockets(root)
        parts[-1] = sockets if sockets.sensors else Discovery(diagnostics=(*powercap.diagnostics, *sockets.diagnostics))
    parts += [hwmon.find_gpus(root), hwmon.find_rails(root), battery.find(root), apple.find()]
    return Discovery(
        tuple(s for part in parts for s in part.sensors), tuple(r for part in parts for r in part.diagnostics)
    )
