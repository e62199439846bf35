"""RAPL through Linux's powercap tree (/sys/class/powercap; Documentation/power/powercap/powercap.rst).

A package domain holds its core and uncore domains, so those are not read. A dram domain is listed under its package
but is a plane of its own (Intel SDM vol. 3B, "Platform Specific Power Management Support"), so it is added, except
where the memory sits on the package. psys is the whole platform: it holds everything else.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from lightbulb.energy.processor import Processor, read_processor
from lightbulb.energy.sensors.base import Discovery, Sensor, SensorScope

MOST_WATTS = 5_000.0  # of one domain: a fall that would mean more is a reset, not a wrap
POLL_SECONDS = 5.0  # the smallest ranges (about 65 kJ) wrap in some two minutes at 500 W
_ZONE = re.compile(r"intel-rapl:\d+(:\d+)?$")  # intel-rapl-mmio:* repeats the packages
_LUNAR_LAKE = 189  # Intel family 6: memory on the package, inside its reading

_CHIP_FLAWS = (
    "Counts every process on the package, and its idle power.",
    "On AMD parts of several dies the dies may mirror one counter.",
    "On Intel before Haswell it is a model of events, not a measurement.",
)
_DRAM_FLAWS = ("On some servers the unit of the dram counter is not the one that the kernel assumes.",)
_PSYS_FLAWS = ("Boards that do not wire it read too little; whether a graphics card is inside differs by board.",)


class RaplSensor(Sensor):
    """One domain. Unwraps its counter, which is right while it is read more often than it wraps."""

    poll_seconds = POLL_SECONDS

    def __init__(
        self,
        folder: Path,
        name: str,
        scope: SensorScope,
        flaws: tuple[str, ...],
        contains: tuple[str, ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ):
        self.name, self.scope, self.flaws, self.contains = name, scope, flaws, contains
        self._counter = folder / "energy_uj"
        self._range_uj = _read_int(folder / "max_energy_range_uj")
        self._clock = clock
        self._turns = 0
        self._last_uj, self._last_seconds = _read_int(self._counter), clock()

    def joules(self) -> float:
        uj, now = _read_int(self._counter), self._clock()
        if uj < self._last_uj:
            wrapped_uj = uj + self._range_uj - self._last_uj
            if 0 <= wrapped_uj <= MOST_WATTS * 1e6 * max(now - self._last_seconds, 0.001):
                self._turns += 1
            # else: reset (a suspended machine, a reloaded driver); the sum falls, and the meter sees and says it
        self._last_uj, self._last_seconds = uj, now
        return (uj + self._turns * self._range_uj) / 1e6

    def close(self) -> None:
        pass


def find(root: Path = Path("/"), clock: Callable[[], float] = time.monotonic) -> Discovery:
    """The domains that may be read, none of whose joules is another's except psys, which names what it contains."""
    tree = root / "sys/class/powercap"
    domains = _domains(tree, read_processor(root / "proc/cpuinfo"))
    if not domains:
        return Discovery(remarks=(f"CPU: no RAPL counters in {tree} (usual in a virtual machine).",))
    sensors: list[Sensor] = []
    denied = False
    for name, folder in sorted(domains.items()):  # dram-*, package-*, psys: what psys contains is known when it comes
        try:
            if name == "psys":
                inside = tuple(s.name for s in sensors)
                sensors.append(RaplSensor(folder, name, "board", _PSYS_FLAWS, inside, clock))
            else:
                flaws = _DRAM_FLAWS if name.startswith("dram") else _CHIP_FLAWS
                sensors.append(RaplSensor(folder, name, "chip", flaws, clock=clock))
        except PermissionError:
            denied = True
        except (OSError, ValueError):
            continue  # a domain that the firmware has switched off
    mend = (
        f"CPU: RAPL counters are there, but only root may read them (CVE-2020-8694). Until the next start: "
        f"sudo chmod a+r {tree}/intel-rapl:*/energy_uj"
    )
    return Discovery(tuple(sensors), (mend,) if denied else ())


def _domains(tree: Path, processor: Processor | None) -> dict[str, Path]:
    """Folder of each domain worth reading, by sensor name: package-N, dram-N, psys."""
    memory_on_package = processor is not None and (processor.vendor, processor.family, processor.model) == (
        "GenuineIntel",
        6,
        _LUNAR_LAKE,
    )
    found: dict[str, Path] = {}
    for folder in sorted(tree.glob("intel-rapl:*")):
        if not _ZONE.match(folder.name):
            continue
        try:
            name = (folder / "name").read_text().strip()
        except OSError:
            continue
        socket = folder.name.split(":")[1]
        if folder.name.count(":") == 2:
            if name == "dram" and not memory_on_package:
                found.setdefault(f"dram-{socket}", folder)
        elif name == "psys" or name.startswith("package"):
            found.setdefault(name, folder)  # a name seen before is a mirror
    return found


def _read_int(path: Path) -> int:
    return int(path.read_text())
