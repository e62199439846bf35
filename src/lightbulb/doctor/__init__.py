"""`lightbulb doctor`: what this machine can measure and run, and what to type to make it better.

Reads files of the system, asks drivers, and reads and multiplies arrays for a few seconds. Sends nothing anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from lightbulb.doctor import machine, metering, software, streaming
from lightbulb.doctor.advice import advise
from lightbulb.doctor.record import Examination
from lightbulb.energy.processor import read_cpu_times, threads_held

__all__ = ["Examination", "examine"]


def examine(
    root: Path = Path("/"),
    environment: Mapping[str, str] = os.environ,
    *,
    probe_seconds: float = streaming.PROBE_SECONDS,
) -> Examination:
    """Everything the doctor finds.

    Args:
        root: stands for the file system's root; packages, disks and drivers are those of this machine
        environment: variables that name a zone or a meter
        probe_seconds: for each of at most ten measurements of speed
    """
    load, before = machine.load_now(root), read_cpu_times(root / "proc/stat")
    available = [machine.memory(root, "MemAvailable").value, machine.memory_limit(root).value]
    speed = streaming.measure_speed(
        root, threads_held(root), min((a for a in available if a is not None), default=None), probe_seconds
    )
    steal = machine.steal_between(before, read_cpu_times(root / "proc/stat"))
    seen, energy, runs = machine.look(root, load, steal), metering.look(root, environment), software.look(root)
    return Examination(
        machine=seen,
        energy=energy,
        grid=metering.grid(),
        software=runs,
        speed=speed,
        verdict=advise(seen, energy, runs, speed),
    )
