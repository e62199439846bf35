"""Processor, threads, memory, hypervisor: what Linux's files say, each absent one a None."""

from __future__ import annotations

import platform
from pathlib import Path

from lightbulb.doctor.record import Machine
from lightbulb.energy.cgroups import limits, quota_threads
from lightbulb.energy.processor import cpu_family, read_processor, threads_held
from lightbulb.figures import Figure
from lightbulb.store import text_of

# Words in DMI's sys_vendor and product_name of virtual machines; the list of systemd-detect-virt(1), shortened.
_HYPERVISORS = (
    "kvm", "qemu", "vmware", "virtualbox", "innotek", "xen", "bochs", "parallels", "virtual machine", "openstack",
    "google compute engine", "amazon ec2", "alibaba cloud ecs", "apple virtualization",
)  # fmt: skip
_BARE_METAL = ".metal"  # instance types like m7g.metal


def look(root: Path, load: float | None, steal: Figure) -> Machine:
    """The machine whose file system begins at `root`; `load` and `steal` as they were seen by the caller."""
    virtual, known_by = _virtual(root)
    return Machine(
        processor=_processor(root),
        architecture=platform.machine(),
        watts_row=cpu_family(root / "proc/cpuinfo"),
        threads_held=threads_held(root),
        threads_present=_threads_present(root),
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


def cpuinfo(root: Path) -> dict[str, str]:
    """/proc/cpuinfo's fields, of the first processor that has each."""
    fields: dict[str, str] = {}
    for line in (text_of(root / "proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields


def load_now(root: Path) -> float | None:
    """Runnable threads, averaged over the last minute."""
    words = (text_of(root / "proc/loadavg") or "").split()
    return float(words[0]) if words else None


def cpu_ticks(root: Path) -> tuple[int, int] | None:
    """(stolen, all) clock ticks of all processors since the start: /proc/stat, proc(5)."""
    words = (text_of(root / "proc/stat") or "").split("\n")[0].split()
    if len(words) < 9 or words[0] != "cpu":
        return None
    ticks = [int(word) for word in words[1:9]]  # user nice system idle iowait irq softirq steal; guest is in user
    return ticks[7], sum(ticks)


def steal_between(before: tuple[int, int] | None, after: tuple[int, int] | None) -> Figure:
    """Percent of the processors' time that the hypervisor gave to others."""
    method = "steal in /proc/stat while speeds were measured; a hypervisor may hide it"
    if before is None or after is None or after[1] <= before[1]:
        return Figure(value=None, unit="%", scope="machine", method="no steal time in /proc/stat")
    share = 100 * (after[0] - before[0]) / (after[1] - before[1])
    return Figure(value=max(0.0, share), unit="%", scope="machine", method=method)


def memory(root: Path, field: str) -> Figure:
    """Bytes of one field of /proc/meminfo."""
    for line in (text_of(root / "proc/meminfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return Figure(value=float(value.split()[0]) * 1024, unit="B", scope="machine", method=f"{field}, meminfo")
    return Figure(value=None, unit="B", scope="machine", method=f"no {field} in /proc/meminfo")


def _processor(root: Path) -> str | None:
    fields, board = cpuinfo(root), text_of(root / "proc/device-tree/model")
    name = fields.get("model name") or board or fields.get("Model") or fields.get("Hardware")
    found = read_processor(root / "proc/cpuinfo")
    if found is not None and found.vendor == "arm":
        part = f"Arm implementer {found.family:#04x} part {found.model:#05x}"
        return f"{name}, {part}" if name else part
    return name


def _threads_present(root: Path) -> int | None:
    online = text_of(root / "sys/devices/system/cpu/online")
    if online:
        return count_listed(online)
    lines = (text_of(root / "proc/cpuinfo") or "").splitlines()
    return sum(line.startswith("processor") for line in lines) or None


def count_listed(text: str) -> int:
    """How many a kernel list like "0-3,8" names."""
    ends = [part.split("-") for part in text.split(",")]
    return sum(int(end[-1]) - int(end[0]) + 1 for end in ends)


def _virtual(root: Path) -> tuple[bool | None, str]:
    """On x86 the flag that hypervisors set (CPUID leaf 1, ECX bit 31) decides; elsewhere firmware's names do."""
    if flags := cpuinfo(root).get("flags"):
        found = "hypervisor" in flags.split()
        return found, f"{'the' if found else 'no'} hypervisor flag in /proc/cpuinfo"
    if (root / "proc/device-tree/hypervisor").exists():
        return True, "a hypervisor in /proc/device-tree"
    dmi = " ".join(filter(None, (text_of(root / "sys/class/dmi/id" / f) for f in ("sys_vendor", "product_name"))))
    if dmi:
        return any(word in dmi.lower() for word in _HYPERVISORS) and _BARE_METAL not in dmi, f"DMI: {dmi}"
    return None, "neither a hypervisor flag nor DMI can be read"


def memory_limit(root: Path) -> Figure:
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
