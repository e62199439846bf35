"""RAPL on synthetic sysfs trees, NVML on a stand-in driver, replay."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from lightbulb.energy.meter import Meter
from lightbulb.energy.sensors import discover, nvml, rapl
from lightbulb.energy.sensors.replay import ReplaySensor
from lightbulb.errors import RunFailure

RANGE_UJ = 262_143_328_850


class Hand:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Tree:
    """A powercap tree: zones by folder name, e.g. {"intel-rapl:0": "package-0"}."""

    def __init__(self, root: Path, zones: dict[str, str]):
        self.root, self.powercap = root, root / "sys/class/powercap"
        (self.powercap / "intel-rapl").mkdir(parents=True)  # the control type: no counter in it
        for zone, name in zones.items():
            (self.powercap / zone).mkdir()
            (self.powercap / zone / "name").write_text(name + "\n")
            (self.powercap / zone / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
            self.set(zone, 0)

    def set(self, zone: str, uj: int) -> None:
        (self.powercap / zone / "energy_uj").write_text(f"{uj}\n")

    def cpuinfo(self, model: int) -> None:
        (self.root / "proc").mkdir()
        text = f"processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: {model}\nstepping\t: 1\n\n"
        (self.root / "proc/cpuinfo").write_text(text)


SERVER = {"intel-rapl:0": "package-0", "intel-rapl:0:0": "dram", "intel-rapl:1": "package-1", "intel-rapl:1:0": "dram"}
LAPTOP = {
    "intel-rapl:0": "package-0",
    "intel-rapl:0:0": "core",
    "intel-rapl:0:1": "uncore",
    "intel-rapl:0:2": "dram",
    "intel-rapl:1": "psys",
    "intel-rapl-mmio:0": "package-0",
}


def test_a_server_counts_packages_and_dram_once(tmp_path):
    tree = Tree(tmp_path, SERVER)
    found = rapl.find(tmp_path)
    assert {s.name: s.scope for s in found.sensors} == {
        "package-0": "chip",
        "package-1": "chip",
        "dram-0": "chip",
        "dram-1": "chip",
    }
    assert found.remarks == () and all(s.flaws for s in found.sensors)
    meter = Meter(found.sensors)
    with meter.window("work") as window:
        for joules, zone in enumerate(SERVER, start=1):
            tree.set(zone, joules * 1_000_000)
    assert window.reading.joules.value == pytest.approx(1 + 2 + 3 + 4)


def test_a_laptop_reads_psys_and_not_what_is_inside_it(tmp_path):
    tree = Tree(tmp_path, LAPTOP)
    found = rapl.find(tmp_path)
    assert [s.name for s in found.sensors] == ["dram-0", "package-0", "psys"]
    with Meter(found.sensors).window("work") as window:
        for zone, joules in {
            "intel-rapl:0": 7,
            "intel-rapl:0:0": 5,
            "intel-rapl:0:2": 1,
            "intel-rapl:1": 11,
            "intel-rapl-mmio:0": 7,
        }.items():
            tree.set(zone, joules * 1_000_000)
    assert (window.reading.joules.value, window.reading.joules.scope) == (11.0, "board")
    assert window.reading.by_sensor["package-0"].value == 7.0


def test_memory_on_the_package_is_not_added_again(tmp_path):
    tree = Tree(tmp_path, {"intel-rapl:0": "package-0", "intel-rapl:0:0": "dram"})
    tree.cpuinfo(model=189)  # Lunar Lake
    assert [s.name for s in rapl.find(tmp_path).sensors] == ["package-0"]


def test_a_counter_that_wraps_twice(tmp_path):
    tree, clock = Tree(tmp_path, {"intel-rapl:0": "package-0"}), Hand()
    tree.set("intel-rapl:0", RANGE_UJ - 2_000_000)
    (sensor,) = rapl.find(tmp_path, clock).sensors
    with Meter([sensor], clock=clock).window("work") as window:
        for uj in (3_000_000, RANGE_UJ - 1_000_000, 4_000_000):
            clock.now += 600
            tree.set("intel-rapl:0", uj)
            sensor.joules()  # a poll
    joules = window.reading.joules
    assert joules.value == pytest.approx(2 + RANGE_UJ / 1e6 + 4)
    assert "fell" not in joules.method


def test_a_reset_is_not_taken_for_a_wrap(tmp_path):
    tree, clock = Tree(tmp_path, {"intel-rapl:0": "package-0"}), Hand()
    tree.set("intel-rapl:0", 900_000_000)
    (sensor,) = rapl.find(tmp_path, clock).sensors
    with Meter([sensor], clock=clock).window("work") as window:
        clock.now = 5.0  # a wrap would mean 52 kW
        tree.set("intel-rapl:0", 1_000_000)
    assert window.reading.joules.value == 0.0 and "fell 1 time" in window.reading.joules.method


def test_a_domain_that_vanishes(tmp_path):
    tree = Tree(tmp_path, SERVER)
    with Meter(rapl.find(tmp_path).sensors).window("work") as window:
        (tree.powercap / "intel-rapl:1/energy_uj").unlink()
        tree.set("intel-rapl:0", 2_000_000)
    assert window.reading.by_sensor["package-1"].value is None
    assert "energy_uj" in window.reading.by_sensor["package-1"].method
    assert window.reading.by_sensor["package-0"].value == 2.0
    assert window.reading.joules.value is None


def test_permission_denied_is_told_with_its_mend():
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path: other users must be able to walk to it
        root = Path(folder)
        root.chmod(0o755)
        tree = Tree(root, {"intel-rapl:0": "package-0"})
        (tree.powercap / "intel-rapl:0/energy_uj").chmod(0o400 if os.geteuid() == 0 else 0)
        was_root = os.geteuid() == 0
        if was_root:
            os.seteuid(65534)
        try:
            found = rapl.find(root)
        finally:
            if was_root:
                os.seteuid(0)
        assert found.sensors == ()
        assert f"sudo chmod a+r {tree.powercap}/intel-rapl:*/energy_uj" in found.remarks[0]


def test_no_tree_and_a_domain_without_a_number(tmp_path):
    assert "no RAPL counters" in rapl.find(tmp_path).remarks[0]
    tree = Tree(tmp_path, {"intel-rapl:0": "package-0", "intel-rapl:1": "package-1"})
    (tree.powercap / "intel-rapl:1/energy_uj").write_text("")
    assert [s.name for s in rapl.find(tmp_path).sensors] == ["package-0"]


def test_discover_joins_what_all_sensors_say(tmp_path):
    Tree(tmp_path, {"intel-rapl:0": "package-0"})
    assert "package-0" in [s.name for s in discover(tmp_path).sensors]


class Driver:
    """Stands in for pynvml. `devices` maps a UUID to (joules, watts); None: not supported."""

    class NVMLError(Exception):
        pass

    def __init__(self, devices: dict[str, tuple[float | None, float | None]], present: bool = True):
        self.devices, self.present, self.users = devices, present, 0

    def nvmlInit(self):
        if not self.present:
            raise self.NVMLError("Driver Not Loaded")
        self.users += 1

    def nvmlShutdown(self):
        self.users -= 1

    def nvmlDeviceGetCount(self):
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index):
        return list(self.devices)[index]

    def nvmlDeviceGetUUID(self, device):
        return device

    def nvmlDeviceGetTotalEnergyConsumption(self, device):
        return self._milli(self.devices[device][0])

    def nvmlDeviceGetPowerUsage(self, device):
        return self._milli(self.devices[device][1])

    def _milli(self, value):
        if value is None:
            raise self.NVMLError("Not Supported")
        return int(value * 1000)


def test_a_gpu_with_a_counter():
    driver = Driver({"GPU-a": (10.0, 99.0)})
    (sensor,) = nvml.find(driver, environment={}).sensors
    assert (sensor.name, sensor.scope, sensor.poll_seconds, sensor.joules()) == ("gpu-0", "chip", None, 10.0)
    with Meter([sensor]).window("work") as window:
        driver.devices["GPU-a"] = (35.5, 99.0)
    assert window.reading.joules.value == 25.5
    sensor.close()
    assert driver.users == 0


def test_a_gpu_with_power_only_is_integrated():
    driver, clock = Driver({"GPU-a": (None, 100.0)}), Hand()
    (sensor,) = nvml.find(driver, clock, environment={}).sensors
    assert sensor.poll_seconds == nvml.POLL_SECONDS and sensor.joules() == 0.0
    clock.now, driver.devices["GPU-a"] = 2.0, (None, 300.0)
    assert sensor.joules() == 400.0  # 2 s at 200 W on average
    clock.now = 3.0
    assert sensor.joules() == 700.0
    driver.devices["GPU-a"] = (None, None)
    with pytest.raises(driver.NVMLError):
        sensor.joules()
    sensor.close()
    assert driver.users == 0


def test_a_gpu_that_tells_nothing_and_a_driver_that_is_absent():
    driver = Driver({"GPU-a": (None, None), "GPU-b": (1.0, 1.0)})
    found = nvml.find(driver, environment={})
    assert [s.name for s in found.sensors] == ["gpu-1"] and "GPU 0" in found.remarks[0]
    assert driver.users == 1  # the one sensor's
    found = nvml.find(Driver({}, present=False), environment={})
    assert found.sensors == () and "Driver Not Loaded" in found.remarks[0]


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        (None, ["gpu-0", "gpu-1"]),
        ("1", ["gpu-1"]),
        ("", []),
        ("-1", []),
        ("GPU-bb", ["gpu-1"]),
        ("0, 1", ["gpu-0", "gpu-1"]),
        ("MIG-c0ffee", ["gpu-0", "gpu-1"]),
    ],
)
def test_only_visible_gpus_are_ours(listed, names):
    environment = {} if listed is None else {"CUDA_VISIBLE_DEVICES": listed}
    found = nvml.find(Driver({"GPU-aaa": (1.0, 1.0), "GPU-bbb": (1.0, 1.0)}), environment=environment)
    assert [s.name for s in found.sensors] == names


def test_replay_follows_the_clock_and_knows_nothing_outside():
    clock = Hand()
    sensor = ReplaySensor([(0, 100), (10, 200), (20, 200)], clock)
    for clock.now, joules in [(0, 100), (5, 150), (10, 200), (20, 200)]:
        assert sensor.joules() == joules
    for clock.now in (-1, 21):
        with pytest.raises(RunFailure, match="does not reach"):
            sensor.joules()
    with pytest.raises(ValueError, match="rising order"):
        ReplaySensor([(1, 0), (1, 5)], clock)
