"""Processor, threads, memory, hypervisor: what Linux's files say, each absent one a None."""

from __future__ import annotations

import platform
from pathlib import Path

from lightbulb.core.figures import Figure
from lightbulb.core.files import text_of
from lightbulb.doctor.record import Machine
from lightbulb.energy.cgroups import limits, quota_threads
from lightbulb.energy.family import family_here
from lightbulb.energy.processor import CpuTimes, Processor, read_processor, threads_held

# Words in DMI's sys_vendor and product_name of virtual machines; the list of systemd-detect-virt(1), shortened.
_HYPERVISORS = (
    "kvm", "qemu", "vmware", "virtualbox", "innotek", "xen", "bochs", "parallels", "virtual machine", "openstack",
    "google compute engine", "amazon ec2", "alibaba cloud ecs", "apple virtualization",
)  # fmt: skip
_BARE_METAL = ".metal"  # instance types like m7g.metal


def look(root: Path, load: float | None, steal: Figure) -> Machine:
    """What the system's files say of the machine.

    Args:
        root: where its file system begins
        load: as the caller saw it before its own work
        steal: likewise, in percent
    """
    processor, family = read_processor(root / "proc/cpuinfo"), family_here(root)
    virtual, known_by = _virtual(root, processor)
    return Machine(
        processor=_processor(root, processor),
        architecture=platform.machine(),
        watts_row=family.row,
        watts_rows=family.rows or None,
        watts_from=None if processor is None else str(family),
        threads_held=threads_held(root),
        threads_present=_threads_present(root, processor),
        quota_threads=quota_threads(root),
        memory=memory(root, "MemTotal"),
        memory_available=memory(root, "MemAvailable"),
        memory_limit=memory_limit(root),
        virtual=virtual,
        virtual_known_by=known_by,
        load=load,
        steal=steal,
        system=_system(root),
        python=f"{platform.python_implementation()} {platform.python_version()}",
    )


def load_now(root: Path) -> float | None:
    """Runnable threads, averaged over the last minute."""
    words = (text_of(root / "proc/loadavg") or "").split()
    return float(words[0]) if words else None


def steal_between(before: CpuTimes | None, after: CpuTimes | None) -> Figure:
    """Percent of the processors' time that the hypervisor gave to others."""
    method = "steal in /proc/stat while speeds were measured; a hypervisor may hide it"
    spent = 0.0
    if before is not None and after is not None:
        spent = sum(after_ - before_ for before_, after_ in zip(_all(before), _all(after), strict=True))
    if before is None or after is None or spent <= 0:
        return Figure(value=None, unit="%", scope="machine", method="no steal time in /proc/stat")
    share = 100 * (after.steal - before.steal) / spent
    return Figure(value=max(0.0, share), unit="%", scope="machine", method=method)


def _all(times: CpuTimes) -> tuple[float, float, float]:
    return times.busy, times.steal, times.idle


def memory(root: Path, field: str) -> Figure:
    """Bytes of one field of /proc/meminfo."""
    for line in (text_of(root / "proc/meminfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return Figure(value=float(value.split()[0]) * 1024, unit="B", scope="machine", method=f"{field}, meminfo")
    return Figure(value=None, unit="B", scope="machine", method=f"no {field} in /proc/meminfo")


def _processor(root: Path, found: Processor | None) -> str | None:
    board = text_of(root / "proc/device-tree/model")
    if found is None:
        return board
    if found.vendor == "arm":
        name, part = board or found.name, f"Arm implementer {found.family:#04x} part {found.model:#05x}"
        return f"{name}, {part}" if name else part
    return found.name or board


def _threads_present(root: Path, found: Processor | None) -> int | None:
    online = text_of(root / "sys/devices/system/cpu/online")
    if online:
        return count_listed(online)
    return None if found is None else found.threads or None


def count_listed(text: str) -> int:
    """How many a kernel list like "0-3,8" names."""
    ends = [part.split("-") for part in text.split(",")]
    return sum(int(end[-1]) - int(end[0]) + 1 for end in ends)


def _virtual(root: Path, processor: Processor | None) -> tuple[bool | None, str]:
    """On x86 the flag that hypervisors set (CPUID leaf 1, ECX bit 31) decides; elsewhere firmware's names do."""
    if processor is not None and processor.flags and processor.vendor != "arm":
        found = "hypervisor" in processor.flags
        return found, f"{'the' if found else 'no'} hypervisor flag in /proc/cpuinfo"
    if (root / "proc/device-tree/hypervisor").exists():
        return True, "a hypervisor in /proc/device-tree"
    dmi = " ".join(filter(None, (text_of(root / "sys/class/dmi/id" / f) for f in ("sys_vendor", "product_name"))))
    if dmi:
        return any(word in dmi.lower() for word in _HYPERVISORS) and _BARE_METAL not in dmi, f"DMI: {dmi}"
    return None, "neither a hypervisor flag nor DMI can be read"


def memory_limit(root: Path) -> Figure:
    """Bytes, the least of this process's cgroups; without a value where none is below the machine's memory."""
    texts = limits(root, "memory", "memory.max", "memory.limit_in_bytes")
    allowed = [float(text) for _, text in texts if text.isdigit()]
    lowest, total = min(allowed, default=None), memory(root, "MemTotal").value
    if lowest is None or (total is not None and lowest >= total):
        return Figure(value=None, unit="B", scope="process", method="no cgroup limits memory below the machine's")
    return Figure(value=lowest, unit="B", scope="process", method="the lowest limit of this process's cgroups")


def _system(root: Path) -> str:
    name = next(
        (
            line.partition("=")[2].strip("\"'")
            for line in (text_of(root / "etc/os-release") or "").splitlines()
            if line.startswith("PRETTY_NAME=")
        ),
        None,
    )
    kernel = f"{platform.system()} {platform.release()}"
    return f"{name}, {kernel}" if name else kernel
