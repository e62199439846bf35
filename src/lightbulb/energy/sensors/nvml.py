"""NVIDIA GPUs through NVML (nvidia-ml-py): the total-energy counter, else polled power."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from lightbulb.energy.sensors.base import Discovery, Sensor

_FLAWS = (
    "Counts every process on the device, and its idle power.",
    "On a device cut by MIG it is the whole device; on GH200 the whole module.",
)
POLL_SECONDS = 0.1


class NvmlEnergySensor(Sensor):
    """The driver's own total since it was loaded (Volta and later)."""

    scope = "chip"
    flaws = _FLAWS

    def __init__(self, library: Any, device: Any, index: int):
        self.name = f"gpu-{index}"
        self._library, self._device = library, device
        library.nvmlInit()  # counted by NVML: one shutdown each

    def joules(self) -> float:
        return float(self._library.nvmlDeviceGetTotalEnergyConsumption(self._device)) / 1e3  # millijoules

    def close(self) -> None:
        self._library.nvmlShutdown()


class NvmlPowerSensor(Sensor):
    """Power readings joined by straight lines (trapezoids)."""

    scope = "chip"
    flaws = (
        *_FLAWS,
        "Power polled ten times a second: bursts in between are missed; A100 and H100 average only 25 ms "
        "of every 100 ms.",
    )
    poll_seconds = POLL_SECONDS

    def __init__(self, library: Any, device: Any, index: int, clock: Callable[[], float] = time.monotonic):
        self.name = f"gpu-{index}"
        self._library, self._device, self._clock = library, device, clock
        self._joules = 0.0
        self._last_seconds, self._last_watts = clock(), self._watts()
        library.nvmlInit()

    def joules(self) -> float:
        now, watts = self._clock(), self._watts()
        self._joules += max(0.0, now - self._last_seconds) * (watts + self._last_watts) / 2
        self._last_seconds, self._last_watts = now, watts
        return self._joules

    def close(self) -> None:
        self._library.nvmlShutdown()

    def _watts(self) -> float:
        return float(self._library.nvmlDeviceGetPowerUsage(self._device)) / 1e3  # milliwatts


def find(
    library: Any = None, clock: Callable[[], float] = time.monotonic, environment: Mapping[str, str] = os.environ
) -> Discovery:
    """One sensor for each GPU that CUDA_VISIBLE_DEVICES leaves us. `library`: pynvml, or what stands in for it."""
    if library is None:
        try:
            import pynvml as library  # type: ignore[no-redef]
        except ImportError:
            return Discovery(remarks=("NVIDIA GPU: not looked for; type: pip install nvidia-ml-py",))
    try:
        library.nvmlInit()
    except library.NVMLError as e:
        return Discovery(remarks=(f"NVIDIA GPU: none that a driver answers for ({e}).",))
    sensors: list[Sensor] = []
    remarks = []
    try:
        for index in range(library.nvmlDeviceGetCount()):
            device = library.nvmlDeviceGetHandleByIndex(index)
            if not _visible(index, _text(library.nvmlDeviceGetUUID(device)), environment):
                continue
            try:
                sensors.append(_sensor(library, device, index, clock))
            except library.NVMLError as e:
                remarks.append(f"NVIDIA GPU {index}: tells neither energy nor power ({e}).")
    except library.NVMLError as e:
        remarks.append(f"NVIDIA GPU: the driver stopped answering ({e}).")
    finally:
        library.nvmlShutdown()
    return Discovery(tuple(sensors), tuple(remarks))


def _sensor(library: Any, device: Any, index: int, clock: Callable[[], float]) -> Sensor:
    try:
        library.nvmlDeviceGetTotalEnergyConsumption(device)
    except library.NVMLError:
        return NvmlPowerSensor(library, device, index, clock)
    return NvmlEnergySensor(library, device, index)


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
