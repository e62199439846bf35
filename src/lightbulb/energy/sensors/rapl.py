"""RAPL through Linux's powercap tree (/sys/class/powercap; Documentation/power/powercap/powercap.rst).

Every domain is read, and says what is inside it: psys is the whole platform and holds everything else; a package holds
its core and uncore. A dram domain is listed under its package but is a plane of its own (Intel SDM vol. 3B, "Platform
Specific Power Management Support"), except where the memory sits on the package.

Two packages whose counters stand at the same joules are one counter read twice (the dies of an AMD part of Zen 1 or 2
mirror their socket's): each then contains the other, and one is counted. The other's name ends in -mirror.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lightbulb.energy.processor import Processor, read_processor
from lightbulb.energy.sensors.base import Discovery, Sensor, SensorScope, read_number, read_text

MOST_WATTS = 5_000.0  # of one domain: a fall that would mean more is a reset, not a wrap
POLL_SECONDS = 5.0  # the smallest ranges (about 65 kJ) wrap in some two minutes at 500 W
APU = "apu-0"  # the graphics driver's reading of a chip that is CPU and GPU in one: the package again
_ZONE = re.compile(r"intel-rapl:(\d+)(?::\d+)?$")  # intel-rapl-mmio:* repeats the packages
_MEMORY_ON_PACKAGE = ("GenuineIntel", 6, 189)  # Lunar Lake: inside the package, and inside its reading
_SAME_JOULES = 0.5  # two readings of one counter differ by what is used between its updates, about 1 ms
_ENOUGH_JOULES = 50.0  # counters that have just started may be alike by chance

_CHIP_LIMITATIONS = (
    "Counts every process on the package, and its idle power.",
    "On Intel before Haswell it is a model of events, not a measurement.",
)
_MIRROR_LIMITATION = "Another domain shows this very counter: the dies of one socket, mirrored."
_CORE_LIMITATIONS = (*_CHIP_LIMITATIONS, "On AMD it is one core, not all of them.")
_DRAM_LIMITATIONS = ("On some servers the unit of the dram counter is not the one that the kernel assumes.",)
_PSYS_LIMITATIONS = ("Boards that do not wire it read too little; whether a graphics card is inside differs by board.",)


class RaplSensor(Sensor):
    """One domain. Unwraps its counter, which is right while it is read more often than it wraps.

    Args:
        folder: of the domain, in sysfs
        name: of the sensor
        scope: what it includes
        limitations: what is known to be wrong with it
        contains: names of sensors inside it
        clock: seconds
    """

    poll_seconds = POLL_SECONDS

    def __init__(
        self,
        folder: Path,
        name: str,
        scope: SensorScope,
        limitations: tuple[str, ...],
        contains: tuple[str, ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ):
        self.name, self.scope, self.limitations, self.contains = name, scope, limitations, contains
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


@dataclass(frozen=True, slots=True)
class _Domain:
    """A folder of the tree. kind: package, core, uncore, dram or psys. zone: its place in the tree. socket: the zone
    whose counter it shares, its own unless it is mirrored."""

    kind: str
    name: str
    zone: str
    socket: str
    folder: Path


def find(root: Path = Path("/"), clock: Callable[[], float] = time.monotonic) -> Discovery:
    """All domains that may be read, each naming those inside it."""
    tree = root / "sys/class/powercap"
    domains = _domains(tree)
    if not domains:
        return Discovery(diagnostics=(f"CPU: no RAPL counters in {tree} (usual in a virtual machine).",))
    domains, diagnostics = _join_mirrors(domains)
    processor = read_processor(root / "proc/cpuinfo")
    sensors: list[Sensor] = []
    denied = False
    for domain in domains:
        scope: SensorScope = "board" if domain.kind == "psys" else "chip"
        inside = _inside(domain, domains, processor)
        try:
            sensors.append(RaplSensor(domain.folder, domain.name, scope, _limitations(domain, domains), inside, clock))
        except PermissionError:
            denied = True
        except (OSError, ValueError):
            continue  # a domain that the firmware has switched off
    if denied:
        diagnostics.append(
            f"CPU: RAPL counters are there, but only root may read them (CVE-2020-8694). Until the next start: "
            f"sudo chmod a+r {tree}/intel-rapl:*/energy_uj"
        )
    return Discovery(tuple(sensors), tuple(diagnostics))


def _domains(tree: Path) -> list[_Domain]:
    """Every domain with a name of its own, psys last."""
    found: dict[str, _Domain] = {}
    for folder in sorted(tree.glob("intel-rapl:*")):
        try:
            if not (match := _ZONE.match(folder.name)):
                continue
            label = read_text(folder / "name")
        except OSError:
            continue
        zone, inner = match[1], folder.name.count(":") == 2
        kind = label if inner or label == "psys" else label.split("-")[0]
        name = f"{label}-{zone}" if inner else label
        if name in found:  # kernels before 5.3 do not tell the dies of a package apart
            name = f"{name}-zone-{zone}"
        found[name] = _Domain(kind, name, zone, zone, folder)
    return sorted(found.values(), key=lambda d: (d.kind == "psys", d.name))


def _join_mirrors(domains: list[_Domain]) -> tuple[list[_Domain], list[str]]:
    """The domains with those of a mirrored package brought under its socket, and a diagnostic for each mirror."""
    packages = [d for d in domains if d.kind == "package"]
    twins: dict[str, _Domain] = {}
    for at, package in enumerate(packages):
        for one in packages[:at]:
            alike = package.name.startswith(f"{one.name}-zone")
            if one.zone not in twins and _one_counter(one.folder, package.folder, alike=alike):
                twins[package.zone] = one
                break
    joined = [
        replace(d, socket=twins[d.zone].zone, name=f"{d.name}-mirror" if d.kind == "package" else d.name)
        if d.zone in twins
        else d
        for d in domains
    ]
    diagnostics = [
        f"CPU: {d.name} shows the counter of {twins[d.zone].name}: counted once."
        for d in joined
        if d.zone in twins and d.kind == "package"
    ]
    return joined, diagnostics


def _inside(outer: _Domain, domains: list[_Domain], processor: Processor | None) -> tuple[str, ...]:
    """Names of what a domain holds. Packages of one socket, mirrors, hold each other."""
    others = [d for d in domains if d is not outer]
    if outer.kind == "psys":
        return (*(d.name for d in others), APU)
    if outer.kind != "package":
        return ()
    held = {"package", "core", "uncore"}
    if processor is not None and (processor.vendor, processor.family, processor.model) == _MEMORY_ON_PACKAGE:
        held.add("dram")
    return (*(d.name for d in others if d.socket == outer.socket and d.kind in held), APU)


def _limitations(domain: _Domain, domains: list[_Domain]) -> tuple[str, ...]:
    match domain.kind:
        case "psys":
            return _PSYS_LIMITATIONS
        case "dram":
            return _DRAM_LIMITATIONS
        case "core":
            return _CORE_LIMITATIONS
    shared = sum(d.kind == "package" and d.socket == domain.socket for d in domains) > 1
    return (*_CHIP_LIMITATIONS, _MIRROR_LIMITATION) if shared else _CHIP_LIMITATIONS


def _one_counter(one: Path, other: Path, *, alike: bool) -> bool:
    """Whether both show the same joules at the same moment. While they have counted too few to tell, domains of one
    name (`alike`) are taken for one counter, others for two."""
    try:
        before, between, after = (read_number(folder / "energy_uj") / 1e6 for folder in (one, other, one))
    except (OSError, ValueError):
        return False
    if after < _ENOUGH_JOULES:
        return alike and between < _ENOUGH_JOULES
    return before - _SAME_JOULES <= between <= after + _SAME_JOULES


def _read_int(path: Path) -> int:
    return int(read_text(path))
