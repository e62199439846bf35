"""Apple silicon through zeus-apple-silicon (optional; IOReport's energy model, no root needed).

Python alone cannot read these counters, and `powermetrics` wants root.
"""

from __future__ import annotations

import platform
from typing import Any

from lightbulb.energy.sensors.base import Discovery
from lightbulb.energy.sensors.readers import CounterSensor

_PARTS = ("cpu_total_mj", "gpu_mj", "gpu_sram_mj", "dram_mj", "ane_mj")
_LIMITATIONS = (
    "Apple's model of the chip, not a measurement; Apple says that it is not for comparing devices.",
    "Counts every process on the chip; parts that a chip does not tell are left out.",
)


def find(library: Any = None, machine: tuple[str, str] | None = None) -> Discovery:
    """CPU, GPU, memory and neural engine as one sensor.

    Args:
        library: zeus_apple_silicon, or what stands in for it
        machine: (system, processor), of this machine unless given
    """
    if (machine or (platform.system(), platform.machine())) != ("Darwin", "arm64"):
        return Discovery()
    if library is None:
        try:
            import zeus_apple_silicon as library  # type: ignore[no-redef]
        except ImportError:
            return Discovery(diagnostics=("Apple silicon: not looked for; type: pip install zeus-apple-silicon",))
    try:
        monitor = library.AppleEnergyMonitor()

        def joules() -> float:
            counters = monitor.get_cumulative_energy()
            parts = [value for part in _PARTS if (value := getattr(counters, part, None)) is not None]
            if not parts:
                raise ValueError("no part of the chip tells its energy")
            return sum(parts) / 1e3  # millijoules

        joules()
    except Exception as e:  # the library is native code: any error means that it cannot be used
        return Discovery(diagnostics=(f"Apple silicon: its counters do not answer ({e}).",))
    return Discovery((CounterSensor("apple-soc", "chip", _LIMITATIONS, joules),))
