"""Hardware monitors, batteries, meters that the user names, Apple silicon, and finding them all."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import Chip, Hand, Tree, battery, monitor

from lightbulb.core.errors import UserError
from lightbulb.energy.meter import Meter
from lightbulb.energy.processor import CpuTimes
from lightbulb.energy.sensors import apple, command, discover, hwmon
from lightbulb.energy.sensors.battery import find as find_battery
from lightbulb.energy.sensors.readers import PolledSensor
from lightbulb.energy.sensors.summing import to_sum


def names(found):
    return [s.name for s in found.sensors]


# Polled power


@st.composite
def power(draw):
    """Watts in steps: (seconds at which each begins, watts)."""
    steps = draw(st.lists(st.tuples(st.floats(0.1, 20), st.floats(0, 500)), min_size=1, max_size=8))
    begins, series = 0.0, []
    for seconds, watts in steps:
        series.append((begins, watts))
        begins += seconds
    return series, begins


@given(power=power(), phase=st.floats(0, 1), pause=st.floats(0.05, 3), cuts=st.lists(st.floats(0, 1), max_size=5))
def test_polled_power_is_additive_never_negative_and_independent_of_phase(power, phase, pause, cuts):
    """Against the exact integral of power in steps, whenever the polls begin and wherever windows are cut."""
    series, end = power
    clock = Hand()

    def watts() -> float:
        return [w for begins, w in series if begins <= clock.now][-1]

    sensor = PolledSensor("rail", "chip", (), watts, poll_seconds=pause, clock=clock)
    polls = []
    at = phase * pause
    while at < end:
        polls.append(at)
        at += pause
    edges = sorted({0.0, end, *(cut * end for cut in cuts)})
    seen = {}
    for clock.now in sorted({*polls, *edges}):
        seen[clock.now] = sensor.joules()
    pieces = [seen[b] - seen[a] for a, b in zip(edges, edges[1:], strict=False)]
    assert all(piece >= 0 for piece in pieces)
    assert sum(pieces) == pytest.approx(seen[end] - seen[0.0])
    ends = [*(begins for begins, _ in series[1:]), end]
    exact = sum(w * (stop - begins) for (begins, w), stop in zip(series, ends, strict=True))
    moves = sum(abs(b - a) for (_, a), (_, b) in zip(series, series[1:], strict=False))
    assert abs(seen[end] - exact) <= pause * moves + 1e-6 * exact + 1e-9


@given(polls=st.lists(st.floats(0, 10), max_size=10), rise=st.floats(0, 50))
def test_steady_and_rising_power_is_exact_at_any_polls(polls, rise):
    clock = Hand()
    sensor = PolledSensor("rail", "chip", (), lambda: 100 + rise * clock.now, clock=clock)
    for clock.now in sorted([*polls, 10.0]):
        told = sensor.joules()
    assert told == pytest.approx(1000 + rise * 50)


def test_polled_power_counts_nothing_while_the_clock_stands_still():
    """A suspended machine: the next reading comes at the second at which it fell asleep."""
    clock = Hand()
    sensor = PolledSensor("rail", "chip", (), lambda: 50.0, clock=clock)
    clock.now = 2.0
    assert sensor.joules() == sensor.joules() == 100.0
    clock.now = 1.0  # a clock that is set back takes nothing away
    assert sensor.joules() == 100.0


@pytest.mark.parametrize("watts", [float("nan"), float("inf"), -1.0])
def test_watts_that_cannot_be_are_no_joules(watts):
    clock, state = Hand(), [10.0]
    sensor = PolledSensor("rail", "chip", (), lambda: state[0], poll_seconds=60.0, clock=clock)
    with Meter([sensor], clock=clock).window("work") as window:
        clock.now, state[0] = 1.0, watts
    assert window.reading.joules.value is None and "W)" in window.reading.joules.method


def test_polls_that_failed_are_told():
    clock, state = Hand(), [10.0]
    sensor = PolledSensor("rail", "chip", (), lambda: state[0], poll_seconds=60.0, clock=clock)
    with Meter([sensor], clock=clock).window("work") as window:
        clock.now, state[0] = 1.0, -1.0
        assert window.so_far().joules.value is None
        clock.now, state[0] = 2.0, 10.0
    assert window.reading.joules.value == pytest.approx(20.0)
    assert "1 readings in between failed (reads -1 W)" in window.reading.joules.method


# Hardware monitors


def test_amd_gpus_by_counter_else_by_power(tmp_path):
    monitor(tmp_path, 0, "nvme", temp1_input=40_000)
    monitor(tmp_path, 2, "amdgpu", energy1_input=5_000_000, power1_average=90_000_000)
    monitor(tmp_path, 10, "amdgpu", power1_average=70_000_000, power1_input=80_000_000)
    monitor(tmp_path, 11, "amdgpu", temp1_input=40_000)
    clock = Hand()
    found = hwmon.find_gpus(tmp_path, clock)
    assert names(found) == ["amdgpu-0", "amdgpu-1"] and "amdgpu-2" in found.diagnostics[0]
    counter, polled = found.sensors
    clock.now = 2.0
    assert (counter.joules(), counter.poll_seconds) == (5.0, None)
    assert polled.joules() == pytest.approx(160.0) and polled.poll_seconds is not None


def test_a_chip_that_is_cpu_and_gpu_is_inside_its_package(tmp_path):
    Tree(tmp_path, {"intel-rapl:0": "package-0", "intel-rapl:0:0": "core"})
    monitor(tmp_path, 0, "amdgpu", power1_input=20_000_000, in1_input=800)
    monitor(tmp_path, 1, "amdgpu", power1_input=90_000_000, in0_input=800)
    found = discover(tmp_path, {})
    inside = [s for s in found.sensors if not s.name.startswith("gpu")]
    assert [s.name for s in inside] == ["core-0", "package-0", "apu-0", "amdgpu-0"]
    assert [s.name for s in to_sum(inside)] == ["package-0", "amdgpu-0"]


def test_amd_energy_stands_in_where_powercap_is_absent(tmp_path, monkeypatch):
    files = {"energy1_label": "Ecore000", "energy1_input": 1, "energy2_label": "Esocket0", "energy2_input": 7_000_000}
    monitor(tmp_path, 0, "amd_energy", **files)
    (sensor,) = [s for s in discover(tmp_path, {}).sensors if not s.name.startswith("gpu")]
    assert (sensor.name, sensor.joules()) == ("package-0", 7.0)
    Tree(tmp_path, {"intel-rapl:0": "package-0"})
    assert [type(s).__name__ for s in discover(tmp_path, {}).sensors if s.name == "package-0"] == ["RaplSensor"]

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(hwmon, "read_number", refused)
    found = hwmon.find_amd_sockets(tmp_path)
    assert (
        found.sensors == ()
        and "sudo chmod a+r " in found.diagnostics[0]
        and "hwmon0/energy*_input" in found.diagnostics[0]
    )


def jetson(root, *labels, number=1):
    """An INA3221: channels of 5 V and 1, 2, 3 A, and the sum that its driver shows as curr4."""
    files = {"curr4_input": 6000, "in4_input": 10, "in7_label": "sum of shunt voltages"}
    for n, label in enumerate(labels, start=1):
        files |= {f"in{n}_label": label, f"in{n}_input": 5000, f"curr{n}_input": 1000 * n}
    return monitor(root, number, "ina3221", **files)


def test_the_input_rail_of_a_jetson_contains_the_others(tmp_path):
    rails = jetson(tmp_path, "VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC")
    clock = Hand()
    found = hwmon.find_rails(tmp_path, clock)
    assert {s.name: s.scope for s in found.sensors} == {"vdd_in": "board", "vdd_cpu_gpu_cv": "chip", "vdd_soc": "chip"}
    with Meter(found.sensors, clock=clock).window("work") as window:
        clock.now = 10.0
    assert window.reading.joules.value == pytest.approx(50.0)
    assert "do not trust" in window.reading.joules.method  # 5 W in, 10 and 15 W inside: this board is broken
    rails.set(curr1_input=-1000)  # a current that flows back
    before = found.sensors[0].joules()
    clock.now = 20.0
    assert found.sensors[0].joules() == pytest.approx(before)


def test_rails_without_an_input_rail_add_up(tmp_path):
    jetson(tmp_path, "VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")
    jetson(tmp_path, "NC", "VDDQ_VDD2_1V8AO", "NC", number=2)
    monitor(tmp_path, 3, "ina238", in1_input=12000, curr1_input=1000, power1_input=12_000_000)
    clock = Hand()
    found = hwmon.find_rails(tmp_path, clock)
    assert names(found) == ["vdd_gpu_soc", "vdd_cpu_cv", "vin_sys_5v0", "vddq_vdd2_1v8ao", "hwmon3-1"]
    with Meter(found.sensors, clock=clock).window("work") as window:
        clock.now = 1.0
    assert window.reading.joules.value == pytest.approx(5 + 10 + 15 + 12)
    assert window.reading.joules.scope == "chip" and "vddq" not in window.reading.joules.method.split(",")[0]


# Batteries


def test_a_battery_on_mains_is_no_sensor_and_says_what_to_do(tmp_path):
    files = battery(tmp_path, status="Charging", energy_now=50_000_000)
    assert find_battery(tmp_path).sensors == () and "Pull the plug" in find_battery(tmp_path).diagnostics[0]
    files.set(status="Full")
    assert find_battery(tmp_path).sensors == ()
    assert find_battery(tmp_path / "desktop") == find_battery(tmp_path / "empty")


def test_a_discharge_is_the_whole_machine_with_the_gauge_as_interval(tmp_path):
    files = battery(tmp_path, energy_now=50_000_000)
    battery(tmp_path, "BAT1", status="Not charging", energy_now=20_000_000)
    battery(tmp_path, "mouse", scope="Device", energy_now=1)
    clock = Hand()
    (sensor,) = find_battery(tmp_path, asleep=lambda: 0.0).sensors
    with Meter([sensor], clock=clock).window("work") as window:
        files.set(energy_now=49_900_000)  # 100 mWh
    joules = window.reading.joules
    assert (joules.value, joules.scope) == (pytest.approx(360.0), "machine")
    assert joules.low == 0.0 and joules.high == pytest.approx(720.0)  # it fell in one step
    assert to_sum([sensor, hwmon_like("package-0")]) == [sensor]


def hwmon_like(name):
    return PolledSensor(name, "chip", (), lambda: 1.0)


def test_charge_is_turned_into_joules_by_the_voltage(tmp_path):
    files = battery(tmp_path, charge_now=4_000_000, voltage_now=12_000_000)
    (sensor,) = find_battery(tmp_path, asleep=lambda: 0.0).sensors
    files.set(charge_now=3_990_000, voltage_now=11_000_000)
    assert sensor.joules() == pytest.approx(0.01 * 11.5 * 3600)


def test_a_window_in_which_the_charger_was_plugged_is_too_low_or_none(tmp_path):
    files = battery(tmp_path, energy_now=50_000_000)
    (sensor,) = find_battery(tmp_path, asleep=lambda: 0.0).sensors
    sensor.poll_seconds = None  # the test polls by hand
    meter = Meter([sensor])
    with meter.window("plugged and unplugged") as window:
        files.set(energy_now=49_900_000)
        assert window.so_far().joules.value == pytest.approx(360.0)
        files.set(status="Charging", energy_now=49_950_000)
        assert window.so_far().joules.value is None
        files.set(status="Discharging")
    told = window.reading.joules
    assert told.value == pytest.approx(360.0) and "fell 1 time(s), which counts as no joules: too low" in told.method
    with meter.window("plugged") as window:
        files.set(status="Full")
    assert window.reading.joules.value is None and "not discharging" in window.reading.joules.method


def test_what_a_sleeping_laptop_drains_is_no_work(tmp_path):
    """In suspend the battery falls while CLOCK_MONOTONIC, the clock of windows, stands still."""
    files = battery(tmp_path, energy_now=50_000_000)
    clock, asleep = Hand(), Hand()
    (sensor,) = find_battery(tmp_path, asleep=asleep).sensors
    sensor.poll_seconds = None
    meter = Meter([sensor], clock=clock, asleep=asleep, machine_clock=lambda: CpuTimes(0.0, 0.0))
    with meter.window("work") as window:
        clock.now = 60.0
        files.set(energy_now=49_800_000)
        window.so_far()
        asleep.now = 3600.0
        files.set(energy_now=49_000_000)  # 2.9 kJ over the night
        window.so_far()
        clock.now = 120.0
        files.set(energy_now=48_800_000)
    reading = window.reading
    assert reading.joules.value == pytest.approx(2 * 720.0) and reading.wall_seconds == 120.0
    assert reading.machine.asleep_seconds == 3600.0
    assert "the machine slept 3600 s" in reading.joules.method and "fell" not in reading.joules.method


# Meters that the user names


def test_a_command_is_run_without_a_shell(tmp_path):
    script = "print('Instantaneous power reading:   220 Watts; $HOME')"
    told = {command.COMMAND: f'watts: {sys.executable} -S -c "{script}"'}
    clock = Hand()
    (sensor,) = command.find(told, clock).sensors
    assert (sensor.name, sensor.scope, sensor.contains) == ("power-command", "wall", ("*",))
    clock.now = 3.0
    sensor.poll()
    assert sensor.joules() == pytest.approx(660.0)


def test_a_slow_command_does_not_hold_a_window_up():
    clock, asked = Hand(), []

    def source() -> str:
        asked.append(clock.now)
        return "5"

    sensor = command.CommandSensor("power-command", "watts", source, clock)
    for clock.now in (0.1, 0.2, 0.3):
        sensor.poll()
        sensor.joules()
    assert asked == [0.0]  # answers of the last second are fresh
    clock.now = 2.0
    sensor.poll()
    assert asked == [0.0, 2.0]


def test_a_command_that_tells_joules_is_not_charged_for_what_came_before(tmp_path):
    clock, told = Hand(), {"joules": 100.0}
    sensor = command.CommandSensor("power-command", "joules", lambda: str(told["joules"]), clock)
    clock.now, told["joules"] = 600.0, 9100.0  # nothing was open for ten minutes
    with Meter([sensor], clock=clock).window("work") as window:
        for clock.now, told["joules"] in ((602.0, 9130.0), (604.0, 9170.0)):
            sensor.poll()
    assert window.reading.joules.value == 70.0 and sensor.resolution_joules == 40.0


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("ipmitool dcmi power reading", "not a meter"),
        ("horsepower: cat /x", "not a meter"),
        ("watts:", "not a meter"),
        ("watts: no-such-program-anywhere", "gives no reading"),
        ("watts: false", "gives no reading"),
        ("watts: echo none", "no number in 'none'"),
        ("watts: echo -3", "reads -3 W"),
    ],
)
def test_a_meter_that_cannot_be_used_is_refused(text, what):
    with pytest.raises(UserError, match=what) as told:
        command.find({command.COMMAND: text})
    assert told.value.where == command.COMMAND and told.value.hint


@pytest.mark.parametrize(
    ("text", "number"), [("220", 220), ("a -1.5e3 W", -1500), ("1,5", 1), ("power: .5", 5), ("0x1", 0)]
)
def test_the_first_number_counts(text, number):
    assert command.first_number(text) == number


def test_a_file_of_joules_is_a_counter(tmp_path):
    file = tmp_path / "total"
    file.write_text("2.5 kWh\n")
    (sensor,) = command.find({command.FILE: f"kilowatt-hours: {file}"}).sensors
    assert (sensor.joules(), sensor.poll_seconds) == (pytest.approx(9e6), None)
    with pytest.raises(UserError, match="gives no reading"):
        command.find({command.FILE: f"joules: {tmp_path / 'absent'}"})


# Apple silicon, and all together


def test_apple_silicon_adds_the_parts_that_a_chip_tells():
    (sensor,) = apple.find(Chip(cpu_total=3.0, gpu=2.0, dram=None, ane=0.5), ("Darwin", "arm64")).sensors
    assert (sensor.name, sensor.joules()) == ("apple-soc", 5.5)
    assert apple.find(machine=("Linux", "x86_64")).diagnostics == ()
    assert "pip install zeus-apple-silicon" in apple.find(machine=("Darwin", "arm64")).diagnostics[0]
    assert "no part of the chip" in apple.find(Chip(gpu=None), ("Darwin", "arm64")).diagnostics[0]


def test_discover_joins_what_all_sensors_say(tmp_path):
    Tree(tmp_path, {"intel-rapl:0": "package-0"})
    jetson(tmp_path, "VDD_SOC")
    monitor(tmp_path, 5, "amdgpu", energy1_input=1)
    battery(tmp_path, energy_now=50_000_000)
    (tmp_path / "plug").write_text("12 W")
    found = discover(tmp_path, {command.FILE: f"watts: {tmp_path / 'plug'}"})
    here = [name for name in names(found) if not name.startswith("gpu")]
    assert here == ["power-file", "package-0", "amdgpu-0", "vdd_soc", "battery"]
    assert [s.name for s in to_sum(found.sensors)] == ["power-file"]
    assert all(s.limitations for s in found.sensors)
    bare = discover(tmp_path / "bare", {})
    assert [s for s in bare.sensors if not s.name.startswith("gpu")] == [] and bare.diagnostics
