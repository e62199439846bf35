"""Sensors of energy, found at run time."""

from __future__ import annotations

from pathlib import Path

from lightbulb.energy.sensors import nvml, rapl
from lightbulb.energy.sensors.base import Discovery, Sensor, SensorScope

__all__ = ["Discovery", "Sensor", "SensorScope", "discover"]


def discover(root: Path = Path("/")) -> Discovery:
    """Every sensor that this process can read. `root` stands for the file system's root; it does not move the GPUs'
    driver."""
    parts = [nvml.find(), rapl.find(root)]
    return Discovery(tuple(s for part in parts for s in part.sensors), tuple(r for part in parts for r in part.remarks))
