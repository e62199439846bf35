"""RAPL on synthetic sysfs trees, NVML on a stand-in driver, replay."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from trees import RANGE_UJ, Driver, Hand, Tree

from lightbulb.core.errors import RunFailure, UserError
from lightbulb.energy.estimate import estimate_joules
from lightbulb.energy.meter import Meter
from lightbulb.energy.processor import threads_held
from lightbulb.energy.sensors import nvml, rapl
from lightbulb.energy.sensors.replay import NullSensor, ReplaySensor, read_series

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
    assert found.diagnostics == () and all(s.limitations for s in found.sensors)
    meter = Meter(found.sensors)
    with meter.window("work") as window:
        for joules, zone in enumerate(SERVER, start=1):
            tree.set(zone, joules * 1_000_000)
    assert window.reading.joules.value == pytest.approx(1 + 2 + 3 + 4)


def test_a_laptop_reads_psys_and_not_what_is_inside_it(tmp_path):
    tree = Tree(tmp_path, LAPTOP)
    found = rapl.find(tmp_path)
    inside = {s.name: s.contains for s in found.sensors}
    assert set(inside) == {"core-0", "uncore-0", "dram-0", "package-0", "psys"}
    assert set(inside["psys"]) == {"core-0", "uncore-0", "dram-0", "package-0", "apu-0"}
    assert set(inside["package-0"]) == {"core-0", "uncore-0", "apu-0"} and inside["core-0"] == ()
    with Meter(found.sensors).window("work") as window:
        for zone, joules in {
            "intel-rapl:0": 7,
            "intel-rapl:0:0": 5,
            "intel-rapl:0:1": 2,
            "intel-rapl:0:2": 1,
            "intel-rapl:1": 11,
            "intel-rapl-mmio:0": 7,
        }.items():
            tree.set(zone, joules * 1_000_000)
    assert (window.reading.joules.value, window.reading.joules.scope) == (11.0, "board")
    told = {name: figure.value for name, figure in window.reading.by_sensor.items()}
    assert told == {"package-0": 7.0, "core-0": 5.0, "uncore-0": 2.0, "dram-0": 1.0, "psys": 11.0}
    assert "do not trust" not in window.reading.joules.method


def test_cores_are_never_added_to_their_package(tmp_path):
    tree = Tree(tmp_path, {zone: name for zone, name in LAPTOP.items() if name != "psys"})
    with Meter(rapl.find(tmp_path).sensors).window("work") as window:
        for zone, joules in {"intel-rapl:0": 7, "intel-rapl:0:0": 5, "intel-rapl:0:2": 1}.items():
            tree.set(zone, joules * 1_000_000)
    assert window.reading.joules.value == pytest.approx(7 + 1)


DIES = {"intel-rapl:0": "package-0-die-0", "intel-rapl:1": "package-0-die-1", "intel-rapl:1:0": "core"}
TWINS = {"intel-rapl:0": "package-0", "intel-rapl:1": "package-0"}


@pytest.mark.parametrize(
    ("zones", "start", "other_start", "counted"),
    [
        (DIES, 50_000, 50_000, 1),  # one counter, shown by both dies
        (DIES, 50_000, 31_234, 2),
        (DIES, 0, 0, 2),  # too few joules to tell
        (TWINS, 50_000, 50_000, 1),
        (TWINS, 50_000, 31_234, 2),  # two dies that an old kernel does not tell apart
        (TWINS, 0, 0, 1),
    ],
)
def test_mirrored_dies_count_once(tmp_path, zones, start, other_start, counted):
    tree = Tree(tmp_path, zones)
    tree.set("intel-rapl:0", start * 1e6)
    tree.set("intel-rapl:1", other_start * 1e6)
    found = rapl.find(tmp_path)
    assert any("counted once" in diagnostic for diagnostic in found.diagnostics) == (counted == 1)
    assert any("mirrored" in limitation for s in found.sensors for limitation in s.limitations) == (counted == 1)
    with Meter(found.sensors).window("work") as window:
        tree.set("intel-rapl:0", (start + 7) * 1e6)
        tree.set("intel-rapl:1", (other_start + 7) * 1e6)
    assert window.reading.joules.value == pytest.approx(7 * counted)
    packages = [name for name in window.reading.by_sensor if name.startswith("package")]
    assert len(packages) == 2 and sum(not name.endswith("-mirror") for name in packages) == counted
    assert "disagree" not in window.reading.joules.method


def test_mirrors_that_part_are_told(tmp_path):
    tree = Tree(tmp_path, DIES)
    for zone in ("intel-rapl:0", "intel-rapl:1"):
        tree.set(zone, 50_000e6)
    with Meter(rapl.find(tmp_path).sensors).window("work") as window:
        tree.set("intel-rapl:0", 50_100e6)
        tree.set("intel-rapl:1", 50_050e6)
    assert window.reading.joules.value == 100.0 and "they disagree by 50%" in window.reading.joules.method


def test_memory_on_the_package_is_not_added_again(tmp_path):
    tree = Tree(tmp_path, {"intel-rapl:0": "package-0", "intel-rapl:0:0": "dram"})
    tree.cpuinfo(model=189)  # Lunar Lake
    package = next(s for s in rapl.find(tmp_path).sensors if s.name == "package-0")
    assert "dram-0" in package.contains


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


@pytest.mark.parametrize("seconds", [5.0, 0.0])  # asleep, the clock stands still
def test_a_reset_is_not_taken_for_a_wrap(tmp_path, seconds):
    tree, clock = Tree(tmp_path, {"intel-rapl:0": "package-0"}), Hand()
    tree.set("intel-rapl:0", 900_000_000)
    (sensor,) = rapl.find(tmp_path, clock).sensors
    with Meter([sensor], clock=clock).window("work") as window:
        clock.now = seconds  # a wrap in 5 s would mean 52 kW
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
        assert f"sudo chmod a+r {tree.powercap}/intel-rapl:*/energy_uj" in found.diagnostics[0]


def test_permission_denied_for_root_too(tmp_path, monkeypatch):
    """Root reads everything, and so would not see the refusal."""
    tree = Tree(tmp_path, SERVER)

    def refused(path: Path) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(rapl, "_read_int", refused)
    found = rapl.find(tmp_path)
    assert found.sensors == () and len(found.diagnostics) == 1
    assert f"sudo chmod a+r {tree.powercap}/intel-rapl:*/energy_uj" in found.diagnostics[0]


def test_no_tree_and_a_domain_without_a_number(tmp_path):
    assert "no RAPL counters" in rapl.find(tmp_path).diagnostics[0]
    tree = Tree(tmp_path, {"intel-rapl:0": "package-0", "intel-rapl:1": "package-1"})
    (tree.powercap / "intel-rapl:1/energy_uj").write_text("")
    assert [s.name for s in rapl.find(tmp_path).sensors] == ["package-0"]


def test_a_gpu_with_a_counter():
    driver = Driver({"GPU-a": (10.0, None)})
    (sensor,) = nvml.find(driver, environment={}).sensors
    assert (sensor.name, sensor.scope, sensor.poll_seconds, sensor.joules()) == ("gpu-0", "chip", None, 10.0)
    with Meter([sensor]).window("work") as window:
        driver.devices["GPU-a"] = (35.5, None)
    assert window.reading.by_sensor["gpu-0"].value == 25.5
    sensor.close()
    assert driver.users == 0


@pytest.mark.parametrize(("watts", "said"), [(100.0, False), (90.0, True)])
def test_counter_and_polled_power_are_both_kept_and_one_is_counted(watts, said):
    driver, clock = Driver({"GPU-a": (10.0, watts)}), Hand()
    found = nvml.find(driver, clock, environment={})
    assert [s.name for s in found.sensors] == ["gpu-0", "gpu-0-power"]
    with Meter(found.sensors, clock=clock).window("work") as window:
        clock.now, driver.devices["GPU-a"] = 2.0, (210.0, watts)
    reading = window.reading
    assert {name: f.value for name, f in reading.by_sensor.items()} == {"gpu-0": 200.0, "gpu-0-power": 2 * watts}
    counted = reading.joules.value - estimate_joules(reading.cpu_seconds.value, 2.0, threads_held()).value
    assert counted == pytest.approx(200.0)  # beside the CPU, which no counter reads here
    assert ("gpu-0-power reads the same and says 180 J" in reading.joules.method) == said
    for sensor in found.sensors:
        sensor.close()
    assert driver.users == 0


def test_a_superchip_is_a_module_and_a_slice_is_the_whole_device():
    found = nvml.find(Driver({"GPU-a": (1.0, 1.0)}, name="NVIDIA GH200 480GB"), environment={})
    assert {s.scope for s in found.sensors} == {"board"} and all(
        "Grace" in " ".join(s.limitations) for s in found.sensors
    )
    found = nvml.find(Driver({"GPU-a": (1.0, 1.0)}, mig=True), environment={})
    assert {s.scope for s in found.sensors} == {"chip"} and all("MIG" in " ".join(s.limitations) for s in found.sensors)
    found = nvml.find(Driver({"GPU-a": (1.0, 1.0)}, mig=False), environment={})
    assert not any("MIG" in " ".join(s.limitations) for s in found.sensors)


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
    driver = Driver({"GPU-a": (None, None), "GPU-b": (1.0, None)})
    found = nvml.find(driver, environment={})
    assert [s.name for s in found.sensors] == ["gpu-1"] and "GPU 0" in found.diagnostics[0]
    assert driver.users == 1  # the one sensor's
    found = nvml.find(Driver({}, present=False), environment={})
    assert found.sensors == () and "Driver Not Loaded" in found.diagnostics[0]


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
    found = nvml.find(Driver({"GPU-aaa": (1.0, None), "GPU-bbb": (1.0, None)}), environment=environment)
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


def test_a_recording_is_read_from_csv(tmp_path):
    file = tmp_path / "series.csv"
    file.write_text("seconds,joules\n0,100\n\n10.5,2e3\n")
    assert read_series(file) == [(0.0, 100.0), (10.5, 2000.0)]
    for text, line in (("0,100\n", 1), ("seconds,joules\n0,100\n1;2\n", 3), ("seconds,joules\n0,one\n", 2)):
        file.write_text(text)
        with pytest.raises(UserError) as told:
            read_series(file)
        assert told.value.where == f"{file}:{line}"
    with pytest.raises(UserError, match="cannot be read"):
        read_series(tmp_path / "absent.csv")


def test_the_null_sensor_leaves_joules_without_a_value():
    with Meter([NullSensor()]).window("work") as window:
        pass
    assert window.reading.joules.value is None and "measures nothing" in window.reading.joules.method
