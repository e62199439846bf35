"""Every sensor through the published suite of lightbulb.testing, on sources that the tests hold in their hands."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import Chip, Driver, Files, Hand, Tree, battery, monitor, put

from lightbulb.energy.sensors import apple, command, hwmon, nvml, rapl
from lightbulb.energy.sensors.battery import find as find_battery
from lightbulb.energy.sensors.replay import ReplaySensor
from lightbulb.testing import SensorCase, SensorConformance

START_UJ = 50_000_000_000


def named(found, name):
    return next(s for s in found.sensors if s.name == name)


def raplcase(name: str, zone: str):
    def make(root: Path, clock: Hand) -> SensorCase:
        zones = {
            "intel-rapl:0": "package-0",
            "intel-rapl:0:0": "core",
            "intel-rapl:0:1": "dram",
            "intel-rapl:1": "psys",
        }
        tree = Tree(root, zones)
        tree.set(zone, START_UJ)

        def spend(seconds: float, watts: float) -> None:
            tree.set(zone, tree.get(zone) + seconds * watts * 1e6)
            clock.now += seconds

        def vanish() -> None:
            (tree.powercap / zone / "energy_uj").unlink()

        return SensorCase(named(rapl.find(root, clock), name), clock, spend, vanish, lambda: tree.set(zone, 0))

    return make


def gpucase(name: str, joules: float | None, watts: float | None):
    def make(root: Path, clock: Hand) -> SensorCase:
        driver = Driver({"GPU-a": (joules, watts)})

        def spend(seconds: float, watts: float) -> None:
            before, _ = driver.devices["GPU-a"]
            driver.devices["GPU-a"] = (None if before is None else before + seconds * watts, watts)
            clock.now += seconds

        def vanish() -> None:
            driver.devices["GPU-a"] = (None, None)

        def reset() -> None:
            driver.devices["GPU-a"] = (0.0, watts)

        counts = not name.endswith("power") and joules is not None
        sensor = named(nvml.find(driver, clock, environment={}), name)
        return SensorCase(sensor, clock, spend, vanish, reset if counts else None)

    return make


def filecase(files: Files, sensor, clock: Hand, counter: str | None, *powers: str) -> SensorCase:
    """A counter in uJ, or files of power in uW."""

    def spend(seconds: float, watts: float) -> None:
        if counter is not None:
            files.set(**{counter: int(files.get(counter) + seconds * watts * 1e6)})
        else:
            files.set(**{power: int(watts * 1e6) for power in powers})
        clock.now += seconds

    reset = (lambda: files.set(**{counter: 0})) if counter else None
    return SensorCase(sensor, clock, spend, files.drop, reset)


def amdgpu_counter(root: Path, clock: Hand) -> SensorCase:
    files = monitor(root, 0, "amdgpu", energy1_input=START_UJ)
    return filecase(files, named(hwmon.find_gpus(root, clock), "amdgpu-0"), clock, "energy1_input")


def amdgpu_power(root: Path, clock: Hand) -> SensorCase:
    files = monitor(root, 0, "amdgpu", power1_average=50_000_000)
    return filecase(files, named(hwmon.find_gpus(root, clock), "amdgpu-0"), clock, None, "power1_average")


def amd_socket(root: Path, clock: Hand) -> SensorCase:
    files = monitor(root, 2, "amd_energy", energy1_label="Esocket0", energy1_input=START_UJ)
    return filecase(files, named(hwmon.find_amd_sockets(root), "package-0"), clock, "energy1_input")


def jetson_rail(root: Path, clock: Hand) -> SensorCase:
    rails = {"in1_label": "VDD_IN", "in1_input": 5000, "curr1_input": 10_000}
    files = monitor(root, 1, "ina3221", **rails, in2_label="VDD_SOC", in2_input=5000, curr2_input=1000)
    sensor = named(hwmon.find_rails(root, clock), "vdd_in")

    def spend(seconds: float, watts: float) -> None:
        files.set(curr1_input=int(watts * 1e6 / 5000))
        clock.now += seconds

    return SensorCase(sensor, clock, spend, files.drop)


def laptop_battery(charge: bool):
    def make(root: Path, clock: Hand) -> SensorCase:
        told = {"charge_now": 5e6, "voltage_now": 12e6} if charge else {"energy_now": 60e6}
        files = battery(root, **{name: int(value) for name, value in told.items()})
        name, joules_per_unit = ("charge_now", 3.6e-9 * 12e6) if charge else ("energy_now", 3.6e-3)
        (sensor,) = find_battery(root, asleep=lambda: 0.0).sensors

        def spend(seconds: float, watts: float) -> None:
            files.set(**{name: round(files.get(name) - seconds * watts / joules_per_unit)})
            clock.now += seconds

        def plugged_and_unplugged() -> None:
            files.set(status="Charging")
            with pytest.raises(Exception, match="not discharging"):
                sensor.joules()
            files.set(status="Discharging")

        return SensorCase(
            sensor, clock, spend, lambda: files.set(status="Charging"), plugged_and_unplugged, slack_joules=0.1
        )

    return make


def user_meter(unit: str, slow: bool):
    def make(root: Path, clock: Hand) -> SensorCase:
        printed = root / "meter"
        state = {"watts": 50.0, "joules": 1e6}

        def show() -> None:
            of = "watts" if unit.endswith("watts") else "joules"
            put(printed, f"reading: {state[of] / command.UNITS[unit]:.9f} {unit}\n")

        show()
        if slow:
            sensor = command.CommandSensor("power-command", unit, printed.read_text, clock)
        else:
            (sensor,) = command.find({command.FILE: f"{unit}: {printed}"}, clock).sensors

        def spend(seconds: float, watts: float) -> None:
            state["watts"], state["joules"] = watts, state["joules"] + seconds * watts
            show()
            clock.now += seconds

        def vanish() -> None:
            printed.unlink()
            clock.now += 10.0  # the next question is due

        def reset() -> None:
            state["joules"] = 0.0
            show()
            while slow and sensor.joules():  # until an answer is not one that was on its way
                clock.now += 10.0
                sensor.poll()

        counts = not unit.endswith("watts")
        lag = 2 * SensorConformance.WATTS if slow and counts else 0.02  # of an answer a second old at either edge
        return SensorCase(sensor, clock, spend, vanish, reset if counts else None, lag)

    return make


def apple_soc(root: Path, clock: Hand) -> SensorCase:
    chip = Chip(cpu_total=1000.0, gpu=500.0, ane=None)
    (sensor,) = apple.find(chip, ("Darwin", "arm64")).sensors

    def spend(seconds: float, watts: float) -> None:
        chip.joules["gpu"] += seconds * watts  # type: ignore[operator]
        clock.now += seconds

    def vanish() -> None:
        chip.joules = {}

    def reset() -> None:
        chip.joules["gpu"] = 0.0

    return SensorCase(sensor, clock, spend, vanish, reset)


def replay(root: Path, clock: Hand) -> SensorCase:
    sensor = ReplaySensor([(0.0, 7.0), (100.0, 7.0 + 100 * SensorConformance.WATTS)], clock)

    def spend(seconds: float, watts: float) -> None:
        clock.now += seconds

    def vanish() -> None:
        clock.now = 1e3

    return SensorCase(sensor, clock, spend, vanish)


CASES = {
    "rapl-package": raplcase("package-0", "intel-rapl:0"),
    "rapl-core": raplcase("core-0", "intel-rapl:0:0"),
    "rapl-dram": raplcase("dram-0", "intel-rapl:0:1"),
    "rapl-psys": raplcase("psys", "intel-rapl:1"),
    "nvml-counter": gpucase("gpu-0", 1000.0, 50.0),
    "nvml-power-beside": gpucase("gpu-0-power", 1000.0, 50.0),
    "nvml-power": gpucase("gpu-0", None, 50.0),
    "amdgpu-counter": amdgpu_counter,
    "amdgpu-power": amdgpu_power,
    "amd-socket": amd_socket,
    "jetson": jetson_rail,
    "battery-energy": laptop_battery(charge=False),
    "battery-charge": laptop_battery(charge=True),
    "command-watts": user_meter("watts", slow=True),
    "command-kilowatt-hours": user_meter("kilowatt-hours", slow=True),
    "file-milliwatts": user_meter("milliwatts", slow=False),
    "file-joules": user_meter("joules", slow=False),
    "apple": apple_soc,
    "replay": replay,
}


class TestSensors(SensorConformance):
    @pytest.fixture(params=CASES)
    def case(self, request, tmp_path):
        made = CASES[request.param](tmp_path, Hand())
        yield made
        made.sensor.close()
