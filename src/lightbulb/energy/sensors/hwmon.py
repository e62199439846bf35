"""Linux's hardware monitors (/sys/class/hwmon; Documentation/hwmon/sysfs-interface.rst): AMD GPUs and processors, and
the INA power monitors of Jetson and other boards.

Units are the kernel's: energyN_input in uJ, powerN_* in uW, inN_input in mV, currN_input in mA.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lightbulb.energy.sensors.base import Discovery, Sensor, SensorScope, read_number, read_text
from lightbulb.energy.sensors.rapl import APU
from lightbulb.energy.sensors.readers import CounterSensor, PolledSensor

_GPU_LIMITATIONS = ("Counts every process on the device, and its idle power.",)
_APU_LIMITATION = "CPU and GPU on one chip: the CPU is in it."
_AVERAGE_LIMITATION = "The driver tells a running mean: short bursts are smeared."
_SOCKET_LIMITATIONS = ("Counts every process on the package, and its idle power.",)
_RAIL_LIMITATIONS = ("A rail of the board, whoever draws from it; the monitor's shunt is accurate to a few percent.",)
_RAIL_POLL_SECONDS = 0.2
# The rail through which a board is fed (NVIDIA Jetson Linux Developer Guide, "Power Monitoring"): Xavier and Orin NX
# and Nano, TX2; Nano; Thor. AGX modules have none: their rails add up.
_TOTAL_RAILS = ("vdd_in", "pom_5v_in", "vin")
_FED_BY = {"vin_sys_5v0": ("vddq_vdd2_1v8ao",)}  # AGX Orin
_UNUSED = ("", "nc", "sum of shunt voltages")


def find_gpus(root: Path = Path("/"), clock: Callable[[], float] = time.monotonic) -> Discovery:
    """AMD GPUs, by the driver's energy counter where it has one, else by polled power."""
    sensors: list[Sensor] = []
    diagnostics = []
    counts = {"amdgpu": 0, "apu": 0}
    for folder in _chips(root, "amdgpu"):
        # Northbridge voltage is told on APUs only, and their power includes the CPU (kernel: gpu/amdgpu/thermal.rst)
        kind = "apu" if (folder / "in1_input").exists() else "amdgpu"
        limitations = (*_GPU_LIMITATIONS, _APU_LIMITATION) if kind == "apu" else _GPU_LIMITATIONS
        name = f"{kind}-{counts[kind]}"
        counts[kind] += 1
        try:
            sensors.append(_amdgpu(folder, name, limitations, clock))
        except (OSError, ValueError) as e:
            diagnostics.append(f"AMD GPU {name}: tells neither energy nor power ({e}).")
    return Discovery(tuple(sensors), tuple(diagnostics))


def _amdgpu(folder: Path, name: str, limitations: tuple[str, ...], clock: Callable[[], float]) -> Sensor:
    energy, average, now = (folder / file for file in ("energy1_input", "power1_average", "power1_input"))
    if energy.exists():
        read_number(energy)
        return CounterSensor(name, "chip", limitations, lambda: read_number(energy) / 1e6)
    file, known_limitations = (now, limitations) if now.exists() else (average, (*limitations, _AVERAGE_LIMITATION))
    return PolledSensor(name, "chip", known_limitations, lambda: read_number(file) / 1e6, clock=clock)


def find_amd_sockets(root: Path = Path("/")) -> Discovery:
    """Sockets by the amd_energy driver (in kernels 5.8 to 5.12, else out of tree), for machines without powercap."""
    sensors: list[Sensor] = []
    denied = ""
    for folder in _chips(root, "amd_energy"):
        for label in sorted(folder.glob("energy*_label")):
            socket = re.fullmatch(r"Esocket(\d+)", read_text(label))
            if not socket:
                continue  # a core, which its socket holds
            counter = label.with_name(label.name.replace("_label", "_input"))
            try:
                read_number(counter)
            except PermissionError:
                denied = (
                    f"CPU: only root may read amd_energy. Until the next start: sudo chmod a+r {folder}/energy*_input"
                )
                continue
            except (OSError, ValueError):
                continue
            read = _counter(counter)
            sensors.append(
                CounterSensor(f"package-{int(socket[1])}", "chip", _SOCKET_LIMITATIONS, read, contains=(APU,))
            )
    return Discovery(tuple(sensors), (denied,) if denied else ())


def find_rails(root: Path = Path("/"), clock: Callable[[], float] = time.monotonic) -> Discovery:
    """The rails of INA monitors. The one that feeds the board contains the others."""
    rails: dict[str, _Rail] = {}
    for chip in _chips(root, "ina"):
        for rail in _rails(chip):
            rails[rail.name if rail.name not in rails else f"{rail.name}-{chip.name}"] = rail
    total = next((name for name in _TOTAL_RAILS if name in rails), None)
    sensors: list[Sensor] = []
    diagnostics = []
    for name, rail in rails.items():
        scope: SensorScope = "board" if name == total else "chip"
        fed = tuple(n for n in rails if n != name) if name == total else _FED_BY.get(name, ())
        try:
            sensors.append(
                PolledSensor(
                    name,
                    scope,
                    _RAIL_LIMITATIONS,
                    rail.watts,
                    contains=fed,
                    poll_seconds=_RAIL_POLL_SECONDS,
                    clock=clock,
                )
            )
        except (OSError, ValueError) as e:
            diagnostics.append(f"Power rail {name}: cannot be read ({e}).")
    return Discovery(tuple(sensors), tuple(diagnostics))


@dataclass(frozen=True, slots=True)
class _Rail:
    """One channel of a monitor: a file of power, or files of voltage and current."""

    name: str
    factors: tuple[Path, ...]
    unit_watts: float

    def watts(self) -> float:
        product = self.unit_watts
        for file in self.factors:
            product *= read_number(file)
        return max(0.0, product)  # a current that flows back reads below 0


def _rails(chip: Path) -> Iterator[_Rail]:
    for current in sorted(chip.glob("curr*_input")):
        number = current.name.removeprefix("curr").removesuffix("_input")
        power, volts = chip / f"power{number}_input", chip / f"in{number}_input"
        label = next(
            (read_text(f) for f in (chip / f"in{number}_label", chip / f"power{number}_label") if f.exists()), None
        )
        if label is not None and label.lower() in _UNUSED:
            continue
        name = (label or f"{chip.name}-{number}").lower().replace(" ", "-")
        if power.exists():
            yield _Rail(name, (power,), 1e-6)
        elif volts.exists() and int(number) <= 3:  # of an INA3221, in4 to in6 are of the shunts
            yield _Rail(name, (volts, current), 1e-6)  # mV x mA


def _chips(root: Path, name: str) -> Iterator[Path]:
    """Folders of the monitors whose name begins so, by number."""
    folders = (root / "sys/class/hwmon").glob("hwmon*")
    for folder in sorted(folders, key=lambda f: (len(f.name), f.name)):
        try:
            if read_text(folder / "name").startswith(name):
                yield folder
        except OSError:
            continue


def _counter(file: Path) -> Callable[[], float]:
    return lambda: read_number(file) / 1e6
