"""Which processor this is, how much of it we hold, and what the whole machine did with it."""

from __future__ import annotations

import math
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

from lightbulb.energy.cgroups import quota_threads

# /proc/cpuinfo's (family, model) of the parts in SPECpower results -> row of cpu_watts_per_thread.csv.
# Numbers as in Linux: arch/x86/include/asm/intel-family.h, arch/x86/kernel/cpu/amd.c.
_INTEL_FAMILY_6 = {
    42: "intel-sandybridge",
    45: "intel-sandybridge",
    60: "intel-haswell",
    63: "intel-haswell",
    71: "intel-broadwell",
    79: "intel-broadwell",
    86: "intel-broadwell",
    94: "intel-skylake-client",
    158: "intel-coffeelake",
    106: "intel-icelake",
    108: "intel-icelake",
    143: "intel-sapphirerapids",
    207: "intel-emeraldrapids",
    173: "intel-graniterapids",
    174: "intel-graniterapids",
}
_AMD = (
    (23, range(0x00, 0x10), "amd-epyc-gen1"),
    (23, range(0x30, 0x40), "amd-epyc-gen2"),
    (25, range(0x00, 0x10), "amd-epyc-gen3"),
    (25, range(0x10, 0x20), "amd-epyc-gen4"),
    (25, range(0xA0, 0xB0), "amd-epyc-gen4"),
    (26, range(0x00, 0x20), "amd-epyc-gen5"),
)
_ARM, _NEOVERSE_N1 = 0x41, 0xD0C
_TICKS = os.sysconf("SC_CLK_TCK")
_LEAST_TICKS = 20  # busy ticks from which a share is told: within some 5%


@dataclass(frozen=True, slots=True)
class Processor:
    """What /proc/cpuinfo says of the first processor. On Arm, `family` is the implementer and `model` the part."""

    vendor: str
    family: int
    model: int
    stepping: int


def read_processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> Processor | None:
    """None where the file is absent or says neither family and model (x86) nor implementer and part (Arm)."""
    fields: dict[str, str] = {}
    try:
        with cpuinfo.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if not line.strip() and fields:
                    break  # the first processor only: the file has one block a thread
                name, _, value = line.partition(":")
                fields[name.strip()] = value.strip()
        if "CPU implementer" in fields:
            return Processor("arm", int(fields["CPU implementer"], 0), int(fields["CPU part"], 0), 0)
        return Processor(
            fields["vendor_id"], int(fields["cpu family"]), int(fields["model"]), int(fields.get("stepping", "0"))
        )
    except (OSError, KeyError, ValueError):
        return None


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """As the processor calls itself, e.g. "AMD EPYC 9654"; None where the system does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)


def cpu_family(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """Name of this machine's row in `cpu_watts_per_thread.csv`; None for a processor that has no row."""
    match read_processor(cpuinfo):
        case Processor(vendor="GenuineIntel", family=6, model=85, stepping=stepping):
            return "intel-skylake-server" if stepping <= 4 else "intel-cascadelake"  # Cooper Lake too: the same core
        case Processor(vendor="GenuineIntel", family=6, model=model):
            return _INTEL_FAMILY_6.get(model)
        case Processor(vendor="AuthenticAMD", family=family, model=model):
            return next((row for f, models, row in _AMD if f == family and model in models), None)
        case Processor(vendor="arm", family=implementer, model=part) if (implementer, part) == (_ARM, _NEOVERSE_N1):
            return "amd-neoverse-n1"  # the table's own name for the row
    return None


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
    """CPU seconds of the whole machine since it started: busy for anyone, and stolen by other virtual machines."""

    busy: float
    steal: float


def read_cpu_times(stat: Path = Path("/proc/stat")) -> CpuTimes | None:
    """First line of /proc/stat (proc(5)): user, nice, system, idle, iowait, irq, softirq, steal, in ticks; guests are
    counted in user. None where there is no such file, or only zeros in it (gVisor). In a container it tells the whole
    host."""
    try:
        with stat.open("rb") as lines:
            user, nice, system, idle, _, irq, softirq, steal = map(int, lines.readline().split()[1:9])
    except (OSError, ValueError):
        return None
    if not user + system + idle:
        return None
    return CpuTimes((user + nice + system + irq + softirq) / _TICKS, steal / _TICKS)


def seconds_asleep() -> float:
    """Seconds that this machine has slept since it started: the clock that runs in suspend less the one that does not
    (Linux: clock_gettime(2)); 0 where there are no such clocks."""
    running = getattr(time, "CLOCK_BOOTTIME", None)
    if running is None:
        return 0.0
    return time.clock_gettime(running) - time.clock_gettime(time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True)
class Machine:
    """What the whole machine did during a window.

    busy_cpu_seconds: of everyone. own_share: our part of them, None where the window is too short for the kernel's
    ticks. steal_seconds: taken by other virtual machines. asleep_seconds: suspended, which the window's wall seconds
    leave out.
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


def machine_between(start: CpuTimes, end: CpuTimes, own_cpu_seconds: float, asleep_seconds: float) -> Machine:
    """The machine's part of a window in which we used `own_cpu_seconds`."""
    busy, steal = max(0.0, end.busy - start.busy), max(0.0, end.steal - start.steal)
    share = min(1.0, own_cpu_seconds / busy) if busy * _TICKS >= _LEAST_TICKS else None
    return Machine(busy, share, steal, max(0.0, asleep_seconds))
