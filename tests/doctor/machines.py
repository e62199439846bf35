"""File systems of machines that are not this one, as far as the doctor reads them."""

from __future__ import annotations

from pathlib import Path

SERVER_FLAGS = "fpu avx2 fma f16c avx512f avx512_vnni"
PI_FEATURES = "fp asimd evtstrm crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
MEMINFO = "MemTotal:        8000000 kB\nMemFree:          100000 kB\nMemAvailable:    4000000 kB\n"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def cache(index: int, level: int, kind: str, size: str, shared: str) -> dict[str, str]:
    folder = f"sys/devices/system/cpu/cpu0/cache/index{index}"
    fields = {"level": str(level), "type": kind, "size": size, "shared_cpu_list": shared}
    return {f"{folder}/{name}": f"{text}\n" for name, text in fields.items()}


def server(root: Path, flags: str = SERVER_FLAGS) -> Path:
    """An EPYC of the fourth generation with small caches, 8 GB and cgroups of version 2."""
    block = (
        "vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC 9654 [96 cores]\n"
        f"stepping\t: 1\nflags\t\t: {flags}\n\n"
    )
    return write(
        root,
        {
            "proc/cpuinfo": "".join(f"processor\t: {i}\n{block}" for i in range(4)),
            "proc/meminfo": MEMINFO,
            "proc/stat": "cpu  100 0 100 700 0 0 0 100 50 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n",
            "proc/loadavg": "0.25 0.10 0.05 1/100 4242\n",
            "proc/self/cgroup": "0::/box\n",
            "sys/fs/cgroup/box/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/box/memory.max": "2000000000\n",
            "sys/devices/system/cpu/online": "0-2,5\n",
            **cache(0, 1, "Data", "32K", "0"),
            **cache(1, 1, "Instruction", "32K", "0"),
            **cache(2, 2, "Unified", "128K", "0"),
            **cache(3, 3, "Unified", "1M", "0-3"),
        },
    )


def raspberry_pi(root: Path) -> Path:
    """A Raspberry Pi 5: no hypervisor flag on Arm, no DMI, a device tree."""
    block = (
        f"BogoMIPS\t: 108.00\nFeatures\t: {PI_FEATURES}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
        "CPU variant\t: 0x4\nCPU part\t: 0xd0b\nCPU revision\t: 1\n\n"
    )
    return write(
        root,
        {
            "proc/cpuinfo": "".join(f"processor\t: {i}\n{block}" for i in range(4)) + "Revision\t: c04170\n",
            "proc/meminfo": MEMINFO,
            "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
        },
    )
