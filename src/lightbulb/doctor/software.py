"""What can be run here: runtimes, instruction sets, GPUs, disk space, models with short names. Imports none of them."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightbulb.core import plugins
from lightbulb.core.errors import LightbulbError
from lightbulb.core.figures import Figure
from lightbulb.core.files import text_of
from lightbulb.doctor.record import Disk, FoundRuntime, Gpu, ShortModel, Software
from lightbulb.energy.processor import read_processor

_RUNTIMES = (  # name, package, what for, what to type to get it
    ("torch", "torch", "trains; runs model folders", "pip install torch"),
    ("llama.cpp", "xllamacpp", "runs GGUF files; costs are measured in it", "pip install xllamacpp"),
    ("filament", "lightbulb-filament", "runs small models on CPUs; optional", "make filament"),
)
# Names in /proc/cpuinfo -> usual names. Those whose kernels ggml picks at run time for quantized products.
_X86_SETS = ("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
_ARM_SETS = {"asimd": "neon", "asimddp": "dotprod", "i8mm": "i8mm", "asimdhp": "fp16", "bf16": "bf16", "sve": "sve"}
_PCI_VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}
_PCI_CLASSES = ("0x03", "0x12")  # display controllers and processing accelerators (PCI Code and ID Assignment)


def look(root: Path) -> Software:
    """What is installed, and where there is room."""
    return Software(
        runtimes=(*(_runtime(*row) for row in _RUNTIMES), *_plugged()),
        instruction_sets=instruction_sets(root),
        gpus=gpus(root),
        disks=_disks(),
        models=_short_models(),
    )


def instruction_sets(root: Path) -> dict[str, bool] | None:
    """Which of those that matter the first processor has; None where /proc/cpuinfo lists none."""
    processor = read_processor(root / "proc/cpuinfo")
    if processor is None or not processor.flags:
        return None
    if processor.vendor == "arm":
        return {name: flag in processor.flags for flag, name in _ARM_SETS.items()}
    return {name: name in processor.flags for name in _X86_SETS}


def gpus(root: Path, library: Any = None) -> tuple[Gpu, ...]:
    """NVIDIA's as the driver tells them, the others as PCI lists them; an NVIDIA card without a driver too.

    Args:
        root: where the file system begins
        library: pynvml, or what stands in for it
    """
    nvidia = _nvidia(library)
    listed = []
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        vendor = _PCI_VENDORS.get(text_of(device / "vendor") or "")
        if not vendor or not (text_of(device / "class") or "").startswith(_PCI_CLASSES):
            continue
        if vendor == "NVIDIA":
            if not nvidia:
                listed.append(Gpu(vendor=vendor, name=None, memory=_bytes(None, "no driver answers"), driver=False))
            continue
        memory = text_of(device / "mem_info_vram_total")  # amdgpu
        listed.append(
            Gpu(
                vendor=vendor,
                name=text_of(device / "product_name"),
                memory=_bytes(float(memory) if memory else None, "mem_info_vram_total of the driver"),
                driver=(device / "driver").exists(),
            )
        )
    return (*nvidia, *listed)


def _nvidia(library: Any) -> tuple[Gpu, ...]:
    try:
        if library is None:
            import pynvml as library  # type: ignore[no-redef]
        library.nvmlInit()
    except Exception:  # no library or no driver: the sensors' remarks say which
        return ()
    try:
        found = []
        for index in range(library.nvmlDeviceGetCount()):
            device = library.nvmlDeviceGetHandleByIndex(index)
            name = library.nvmlDeviceGetName(device)
            try:
                memory = _bytes(float(library.nvmlDeviceGetMemoryInfo(device).total), "NVML")
            except library.NVMLError as e:  # a GPU that shares the machine's memory
                memory = _bytes(None, f"NVML: {e}")
            found.append(Gpu(vendor="NVIDIA", name=str(name), memory=memory, driver=True))
        return tuple(found)
    except library.NVMLError:
        return ()
    finally:
        library.nvmlShutdown()


def _bytes(count: float | None, method: str) -> Figure:
    return Figure(value=count, unit="B", method=method)


def _runtime(name: str, package: str, use: str, hint: str) -> FoundRuntime:
    try:
        return FoundRuntime(name=name, package=package, use=use, version=importlib.metadata.version(package), hint=None)
    except importlib.metadata.PackageNotFoundError:
        return FoundRuntime(name=name, package=package, use=use, version=None, hint=hint)


def _plugged() -> Iterator[FoundRuntime]:
    """Runtimes of plugins."""
    for entry in plugins.entries(plugins.RUNTIMES):
        if entry.dist is not None:
            package, version = entry.dist.name, entry.dist.version
            yield FoundRuntime(name=entry.name, package=package, use="a plugin", version=version, hint=None)


def _disks() -> tuple[Disk, ...]:
    from huggingface_hub.constants import HF_HUB_CACHE

    return (_disk("runs", Path.cwd()), _disk("models from the hub", Path(HF_HUB_CACHE)))


def _disk(use: str, folder: Path) -> Disk:
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free: float | None
    try:
        free = float(shutil.disk_usage(there).free)
    except OSError:
        free = None
    return Disk(use=use, folder=str(folder), free=_bytes(free, "free to this user, statvfs"))


def _short_models() -> tuple[ShortModel, ...]:
    from lightbulb.models.resolve import SHORT_NAMES

    return tuple(_short_model(name) for name in SHORT_NAMES)


def _short_model(name: str) -> ShortModel:
    from lightbulb.models.resolve import packaged_gguf

    try:
        file = packaged_gguf(name)
        size = float(file.stat().st_size)
        return ShortModel(name=name, path=str(file), bytes=_bytes(size, "size of the file"), hint=None)
    except LightbulbError as e:
        return ShortModel(name=name, path=None, bytes=_bytes(None, "not installed"), hint=e.hint)
