"""Which processor this is, how much of it we hold, and what the whole machine did with it."""

from __future__ import annotations

import math
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

from lightbulb.energy.cgroups import quota_threads

_TICKS = os.sysconf("SC_CLK_TCK")
_LEAST_TICKS = 20  # busy ticks from which a share is told: within some 5%


@dataclass(frozen=True, slots=True)
class Processor:
    """What /proc/cpuinfo says, of the first processor that has each field.

    Attributes:
        vendor: on Arm "arm"; "" where it says none
        family: on Arm the implementer; -1 where it says none
        model: on Arm the part; -1 where it says none
        stepping: likewise
        name: as it calls itself, on boards the board's; None where it has none
        flags: instruction sets and the like
        threads: how many it lists
    """

    vendor: str
    family: int
    model: int
    stepping: int
    name: str | None = None
    flags: frozenset[str] = frozenset()
    threads: int = 0


def read_processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> Processor | None:
    """This machine's processor; None where the file is absent or empty."""
    fields: dict[str, str] = {}
    threads = 0
    try:
        with cpuinfo.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                threads += name.strip() == "processor"
                fields.setdefault(name.strip(), value.strip())
    except OSError:
        return None
    if not any(fields.values()):
        return None

    def number(field: str, missing: int = -1) -> int:
        try:
            return int(fields[field], 0)
        except (KeyError, ValueError):
            return missing

    called = (fields.get(field) for field in ("model name", "Model", "Hardware", "cpu model", "cpu"))
    flags = frozenset((fields.get("flags") or fields.get("Features") or "").split())
    arm = "CPU implementer" in fields
    names = ("CPU implementer", "CPU part", "CPU revision") if arm else ("cpu family", "model", "stepping")
    return Processor(
        "arm" if arm else fields.get("vendor_id", ""),
        number(names[0]),
        number(names[1]),
        number(names[2], 0),
        next(filter(None, called), None),
        flags,
        threads,
    )


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """As the processor calls itself, e.g. "AMD EPYC 9654"; None where the system does not tell."""
    found = read_processor(cpuinfo)
    return (platform.processor() or None) if found is None else found.name


def threads_held(root: Path = Path("/")) -> int:
    """Hardware threads that this process may use: affinity, cut by the CPU quotas of its cgroups."""
    try:
        threads = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        threads = os.cpu_count() or 1
    quota = quota_threads(root)
    return threads if quota is None else max(1, min(threads, math.ceil(quota)))


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """CPU seconds of the whole machine since it started.

    Attributes:
        busy: for anyone
        steal: taken by other virtual machines
        idle: waiting for disks included
    """

    busy: float
    steal: float
    idle: float = 0.0


def read_cpu_times(stat: Path = Path("/proc/stat")) -> CpuTimes | None:
    """First line of /proc/stat (proc(5)): user, nice, system, idle, iowait, irq, softirq, steal, in ticks; guests are
    counted in user. None where there is no such file, or only zeros in it (gVisor). In a container it tells the whole
    host."""
    try:
        with stat.open("rb") as lines:
            user, nice, system, idle, waiting, irq, softirq, steal = map(int, lines.readline().split()[1:9])
    except (OSError, ValueError):
        return None
    if not user + system + idle:
        return None
    busy = user + nice + system + irq + softirq
    return CpuTimes(busy / _TICKS, steal / _TICKS, (idle + waiting) / _TICKS)


def seconds_asleep() -> float:
    """Seconds that this machine has slept since it started: the clock that runs in suspend less the one that does not
    (Linux: clock_gettime(2)); 0 where there are no such clocks."""
    running = getattr(time, "CLOCK_BOOTTIME", None)
    if running is None:
        return 0.0
    return time.clock_gettime(running) - time.clock_gettime(time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True)
class ProcessorTimes:
    """What the whole machine did during a window.

    Attributes:
        busy_cpu_seconds: of everyone
        own_share: our part of them; None where the window is too short for the kernel's ticks
        steal_seconds: taken by other virtual machines
        asleep_seconds: suspended, which the window's wall seconds leave out
    """

    busy_cpu_seconds: float
    own_share: float | None
    steal_seconds: float
    asleep_seconds: float

    @property
    def steal_share(self) -> float:
        """Of the CPU seconds that were wanted by someone here, those that were stolen."""
        wanted = self.busy_cpu_seconds + self.steal_seconds
        return self.steal_seconds / wanted if wanted > 0 else 0.0


def machine_between(start: CpuTimes, end: CpuTimes, own_cpu_seconds: float, asleep_seconds: float) -> ProcessorTimes:
    """The machine's part of a window in which we used `own_cpu_seconds`."""
    busy, steal = max(0.0, end.busy - start.busy), max(0.0, end.steal - start.steal)
    share = min(1.0, own_cpu_seconds / busy) if busy * _TICKS >= _LEAST_TICKS else None
    return ProcessorTimes(busy, share, steal, max(0.0, asleep_seconds))
