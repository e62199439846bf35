"""NVIDIA GPUs through NVML (nvidia-ml-py): the total-energy counter and polled power.

Where a device has both, both are read: gpu-0 is the counter, gpu-0-power the polled power. They measure the same, so
one of them enters a sum, and the meter says by how much they disagree.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from lightbulb.energy.sensors.base import Discovery, Sensor, SensorScope
from lightbulb.energy.sensors.readers import POLL_SECONDS, CounterSensor, PolledSensor

__all__ = ["POLL_SECONDS", "find"]

_LIMITATIONS: tuple[str, ...] = ("Counts every process on the device, and its idle power.",)
_COUNTER_LIMITATION = "The driver adds up power that it samples itself; it steps every 20 to 100 ms."
# Z. Yang, K. Adamek, W. Armour, "Part-time Power Measurements: nvidia-smi's Lack of Attention" (2023); NVML reference
_POWER_LIMITATION = (
    "A100 and H100 measure 25 ms of every 100 ms only. "
    "From Ampere on (but A100) NVML tells the mean of the last second."
)
_MIG_LIMITATION = "The device is cut by MIG: this is the whole device, not only the slice that is ours."
_MODULE_LIMITATION = "NVML tells the power of the whole module: the Grace CPU and its memory are in it."
CHECK_SECONDS = 0.5  # beside a counter polled power only checks it, and a node may have many GPUs
_MODULES = ("GH200", "GB200", "GB300")


def find(
    library: Any = None, clock: Callable[[], float] = time.monotonic, environment: Mapping[str, str] = os.environ
) -> Discovery:
    """The sensors of each GPU that CUDA_VISIBLE_DEVICES leaves us.

    Args:
        library: pynvml, or what stands in for it
        clock: seconds
        environment: its variables
    """
    if library is None:
        try:
            import pynvml as library  # type: ignore[no-redef]
        except ImportError:
            return Discovery(diagnostics=("NVIDIA GPU: not looked for; type: pip install nvidia-ml-py",))
    try:
        library.nvmlInit()
    except library.NVMLError as e:
        return Discovery(diagnostics=(f"NVIDIA GPU: none that a driver answers for ({e}).",))
    sensors: list[Sensor] = []
    diagnostics = []
    try:
        for index in range(library.nvmlDeviceGetCount()):
            device = library.nvmlDeviceGetHandleByIndex(index)
            if not _visible(index, _text(library.nvmlDeviceGetUUID(device)), environment):
                continue
            try:
                sensors += _sensors(library, device, index, clock)
            except library.NVMLError as e:
                diagnostics.append(f"NVIDIA GPU {index}: tells neither energy nor power ({e}).")
    except library.NVMLError as e:
        diagnostics.append(f"NVIDIA GPU: the driver stopped answering ({e}).")
    finally:
        library.nvmlShutdown()
    return Discovery(tuple(sensors), tuple(diagnostics))


def _sensors(library: Any, device: Any, index: int, clock: Callable[[], float]) -> list[Sensor]:
    """Counter and polled power, or the one that the device has. Raises NVMLError where it has neither."""

    def joules() -> float:
        return float(library.nvmlDeviceGetTotalEnergyConsumption(device)) / 1e3  # millijoules

    def watts() -> float:
        return float(library.nvmlDeviceGetPowerUsage(device)) / 1e3  # milliwatts

    scope, limitations = _scope_and_limitations(library, device)
    name, power = f"gpu-{index}", f"gpu-{index}-power"
    found: list[Sensor] = []
    release = library.nvmlShutdown  # NVML counts: one for each nvmlInit
    if counts := _answers(library, joules):
        known_limitations = (*limitations, _COUNTER_LIMITATION)
        found.append(CounterSensor(name, scope, known_limitations, joules, contains=(power,), release=release))
    if not counts or _answers(library, watts):
        word, known_limitations = (power if counts else name), (*limitations, _POWER_LIMITATION)
        same: tuple[str, ...] = (name,) if counts else ()
        pause = CHECK_SECONDS if counts else POLL_SECONDS
        found.append(
            PolledSensor(
                word, scope, known_limitations, watts, contains=same, poll_seconds=pause, clock=clock, release=release
            )
        )
    for _ in found:
        library.nvmlInit()
    return found


def _answers(library: Any, read: Callable[[], float]) -> bool:
    try:
        read()
    except library.NVMLError:
        return False
    return True


def _scope_and_limitations(library: Any, device: Any) -> tuple[SensorScope, tuple[str, ...]]:
    limitations = _LIMITATIONS
    try:
        if library.nvmlDeviceGetMigMode(device)[0]:
            limitations = (*limitations, _MIG_LIMITATION)
    except library.NVMLError:
        pass  # a device that cannot be cut
    if any(word in _text(library.nvmlDeviceGetName(device)) for word in _MODULES):
        return "board", (*limitations, _MODULE_LIMITATION)
    return "chip", limitations


def _visible(index: int, uuid: str, environment: Mapping[str, str]) -> bool:
    """CUDA_VISIBLE_DEVICES lists indices or beginnings of UUIDs (CUDA C programming guide); unset shows all.

    Indices are the driver's when CUDA_DEVICE_ORDER=PCI_BUS_ID; CUDA may count the fastest first otherwise.
    """
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return True
    words = [word.strip() for word in listed.split(",")]
    if any(word.startswith("MIG-") for word in words):
        return True  # which device a slice is cut from is not said: count what the driver shows
    return any(word == str(index) or (word.startswith("GPU-") and uuid.startswith(word)) for word in words)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
