"""Windows add up, survive what happens inside them, and never invent joules."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightbulb.energy import meter as meter_module
from lightbulb.energy.estimate import estimate_joules
from lightbulb.energy.meter import Meter, child_runs, cpu_seconds_so_far, to_sum
from lightbulb.energy.processor import CpuTimes, ProcessorTimes, read_cpu_times
from lightbulb.energy.sensors.base import Discovery, Sensor, contains
from lightbulb.energy.sensors.replay import ReplaySensor


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Dial(Sensor):
    """A counter set by hand; None is a device that is gone."""

    def __init__(self, name: str = "package-0", scope: str = "chip", contains: tuple[str, ...] = ()):
        self.name, self.scope, self.contains = name, scope, contains  # type: ignore[assignment]
        self.raw: float | None = 0.0
        self.reads, self.closed = 0, False

    def joules(self) -> float:
        self.reads += 1
        if self.raw is None:
            raise OSError("No such device")
        return self.raw

    def close(self) -> None:
        self.closed = True


def test_without_counters_the_window_is_an_estimate_with_an_interval():
    clock, cpu = Hand(), Hand()
    meter = Meter([], clock=clock, cpu_clock=cpu, threads=2)
    with meter.window("work") as window:
        clock.now, cpu.now = 10.0, 15.0
    reading = window.reading
    assert (reading.name, reading.wall_seconds, reading.cpu_seconds.value) == ("work", 10.0, 15.0)
    assert (reading.cpu_seconds.source, reading.cpu_seconds.scope) == ("measured", "process")
    assert (reading.joules.source, reading.joules.scope) == ("estimated", "wall")
    assert 0 < reading.joules.low < reading.joules.value < reading.joules.high
    assert reading.by_sensor == {}


def test_chips_are_summed_and_the_method_says_what_is_left_out():
    package, gpu = Dial("package-0"), Dial("gpu-0")
    meter = Meter([package, gpu])
    with meter.window("work") as window:
        package.raw, gpu.raw = 30.0, 400.0
    joules = window.reading.joules
    assert (joules.value, joules.source, joules.scope) == (430.0, "measured", "chip")
    assert "package-0 + gpu-0" in joules.method and "leaves out memory" in joules.method
    assert {name: f.value for name, f in window.reading.by_sensor.items()} == {"package-0": 30.0, "gpu-0": 400.0}


def test_beside_a_gpu_alone_the_cpu_is_estimated():
    clock, cpu, gpu = Hand(), Hand(), Dial("gpu-0")
    with Meter([gpu], clock=clock, cpu_clock=cpu, threads=2).window("work") as window:
        clock.now, cpu.now, gpu.raw = 10.0, 5.0, 700.0
    joules = window.reading.joules
    assert joules.source == "estimated" and "the CPU's part is added as an estimate" in joules.method
    cpu_alone = estimate_joules(5.0, 10.0, 2)
    assert joules.value == 700 + cpu_alone.value and joules.low == 700 + cpu_alone.low
    with Meter([gpu, Dial("package-0")]).window("work") as window:
        pass
    assert window.reading.joules.source == "measured"


def test_work_on_the_cpu_is_not_charged_for_idle_gpus(monkeypatch):
    found = Discovery((Dial("package-0"), Dial("gpu-0"), Dial("amdgpu-1")))
    monkeypatch.setattr(meter_module, "discover", lambda: found)
    assert [s.name for s in Meter(gpus=False).sensors] == ["package-0"]
    assert len(Meter().sensors) == 3


def test_psys_is_never_added_to_what_it_contains():
    package, psys = Dial("package-0"), Dial("psys", "board", ("package-0",))
    meter = Meter([package, psys])
    with meter.window("work") as window:
        package.raw, psys.raw = 30.0, 50.0
    assert (window.reading.joules.value, window.reading.joules.scope) == (50.0, "board")
    with meter.window("unwired psys") as window:
        package.raw, psys.raw = 60.0, 51.0
    assert window.reading.joules.value == 1.0 and "do not trust" in window.reading.joules.method


def test_a_gpu_beside_psys_is_counted_once_with_the_packages():
    sensors = [Dial("package-0"), Dial("psys", "board", ("package-0",)), Dial("gpu-0")]
    assert [s.name for s in to_sum(sensors)] == ["package-0", "gpu-0"]
    assert [s.name for s in to_sum([*sensors, Dial("plug", "wall", ("*",))])] == ["plug"]


def test_a_counter_that_falls_gives_no_negative_joules_and_is_flagged():
    dial = Dial()
    meter = Meter([dial])
    dial.raw = 1000.0
    with meter.window("reset") as outer:
        with meter.window("fall") as fall:
            dial.raw = 3.0
        with meter.window("after") as after:
            dial.raw = 10.0
    assert fall.reading.joules.value == 0.0 and "fell 1 time" in fall.reading.joules.method
    assert after.reading.joules.value == 7.0 and "fell" not in after.reading.joules.method
    assert outer.reading.joules.value == 7.0 and "fell 1 time" in outer.reading.joules.method


@pytest.mark.parametrize("reading", [None, float("nan")])
def test_a_vanishing_sensor_leaves_none_and_says_so(reading):
    gpu, package = Dial("gpu-0"), Dial("package-0")
    meter = Meter([gpu, package])
    with meter.window("work") as window:
        gpu.raw, package.raw = reading, 5.0
    assert window.reading.by_sensor["gpu-0"].value is None
    assert window.reading.by_sensor["package-0"].value == 5.0
    assert window.reading.joules.value is None and "did not answer" in window.reading.joules.method
    gpu.raw = 1.0
    with meter.window("back") as window:
        gpu.raw = 2.0
    assert window.reading.joules.value == 1.0


def test_a_window_that_raises_still_has_its_reading():
    dial = Dial()
    meter = Meter([dial])
    with pytest.raises(KeyboardInterrupt), meter.window("outer") as outer, meter.window("inner") as inner:
        dial.raw = 9.0
        raise KeyboardInterrupt
    assert outer.reading.joules.value == inner.reading.joules.value == 9.0
    assert meter.so_far().value is None


def test_a_reading_is_not_there_before_the_window_is_closed():
    with Meter([]).window("open") as window, pytest.raises(RuntimeError, match="'open' is not closed"):
        window.reading  # noqa: B018


def test_so_far_follows_the_outermost_window():
    dial = Dial()
    meter = Meter([dial])
    assert meter.so_far().value is None
    with meter.window("outer") as outer:
        dial.raw = 4.0
        with meter.window("inner") as inner:
            dial.raw = 6.0
            assert meter.so_far().value == 6.0
            assert (inner.so_far().joules.value, outer.so_far().joules.value) == (2.0, 6.0)
    dial.raw = 100.0
    assert outer.so_far() == outer.reading and outer.reading.joules.value == 6.0
    assert meter.so_far().value is None


def test_counters_are_polled_only_while_a_window_is_open():
    dial = Dial()
    dial.poll_seconds = 0.005
    meter = Meter([dial])
    assert not polling()
    with meter.window("work"):
        deadline = time.monotonic() + 5
        while dial.reads < 4 and time.monotonic() < deadline:
            time.sleep(0.005)
    assert dial.reads >= 4
    deadline = time.monotonic() + 5
    while polling() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not polling()
    with Meter([]).window("no counter"):
        assert not polling()
    meter.close()
    assert dial.closed


def polling() -> bool:
    return any(t.name == "lightbulb-meter" for t in threading.enumerate())


def test_polling_sees_a_fall_between_the_edges():
    dial = Dial()
    dial.poll_seconds = 0.002
    with Meter([dial]).window("work") as window:
        for raw in (50.0, 1.0, 100.0):  # without polls the edges would say 100
            dial.raw, seen = raw, dial.reads
            deadline = time.monotonic() + 5
            while dial.reads < seen + 2 and time.monotonic() < deadline:
                time.sleep(0.001)
    assert window.reading.joules.value == 50.0 + 99.0


def test_cpu_seconds_hold_threads_and_finished_children():
    spin = "import time\nwhile time.process_time() < 0.2: pass"
    before = cpu_seconds_so_far()
    with Meter([]).window("child") as window:
        subprocess.run([sys.executable, "-S", "-c", spin], check=True)
        thread = threading.Thread(target=lambda: sum(range(2_000_000)))
        thread.start()
        thread.join()
    after = cpu_seconds_so_far()
    assert 0.2 <= window.reading.cpu_seconds.value <= after - before


def test_opening_and_closing_costs_less_than_a_millisecond():
    dial = Dial()
    dial.poll_seconds = 5.0
    for meter in (Meter([]), Meter([dial, Dial("gpu-0")])):
        cpu_before = time.thread_time()
        for _ in range(100):
            with meter.window("short"):
                pass
        assert (time.thread_time() - cpu_before) / 100 < 1e-3


def test_two_sensors_of_one_name_are_refused():
    with pytest.raises(ValueError, match="one name"):
        Meter([Dial(), Dial()])


steps = st.lists(st.tuples(st.floats(0.01, 50), st.floats(-200, 500), st.floats(0, 90)), min_size=1, max_size=8)


@given(steps=steps, counted=st.booleans())
def test_windows_are_additive_and_never_negative(steps, counted):
    """steps: (wall seconds, change of the counter, CPU seconds) of neighbouring windows inside one outer window."""
    clock, cpu = Hand(), Hand()
    series = [(0.0, 1e4)]
    for seconds, joules, _ in steps:
        series.append((series[-1][0] + seconds, series[-1][1] + joules))
    meter = Meter([ReplaySensor(series, clock)] if counted else [], clock=clock, cpu_clock=cpu, threads=4)
    parts = []
    with meter.window("outer") as outer:
        for (_, _, busy), (until, _) in zip(steps, series[1:], strict=True):
            with meter.window("part") as part:
                clock.now, cpu.now = until, cpu.now + busy
            parts.append(part.reading)
    whole = outer.reading
    assert all(part.joules.value >= 0 and part.wall_seconds >= 0 for part in parts)
    for of in ("value", "low", "high") if not counted else ("value",):
        assert sum(getattr(p.joules, of) for p in parts) == pytest.approx(getattr(whole.joules, of), abs=1e-6)
    assert sum(p.cpu_seconds.value for p in parts) == pytest.approx(whole.cpu_seconds.value)
    assert sum(p.wall_seconds for p in parts) == pytest.approx(whole.wall_seconds)


@given(polls=st.lists(st.floats(0, 100), max_size=10))
def test_joules_do_not_depend_on_when_the_counter_is_polled(polls):
    clock = Hand()
    meter = Meter([ReplaySensor([(0, 0), (40, 900), (100, 1000)], clock)], clock=clock)
    with meter.window("work") as window:
        for clock.now in sorted(polls):
            meter.so_far()
        clock.now = 100.0
    assert window.reading.joules.value == pytest.approx(1000.0)


def test_the_machine_record_says_whose_the_cpu_time_was():
    clock, cpu, times = Hand(), Hand(), [CpuTimes(100.0, 5.0)]
    meter = Meter([], clock=clock, cpu_clock=cpu, machine_clock=lambda: times[-1], asleep=lambda: 0.0, threads=2)
    with meter.window("work") as window:
        clock.now, cpu.now = 10.0, 3.0
        times.append(CpuTimes(112.0, 6.0))
    reading = window.reading
    assert reading.machine == ProcessorTimes(12.0, 0.25, 1.0, 0.0) and reading.machine.steal_share == pytest.approx(
        1 / 13
    )
    assert "25% of the machine's busy CPU time" in reading.cpu_seconds.method
    assert "stole 8% of the CPU time" in reading.cpu_seconds.method
    with meter.window("the same, without a thief") as window:
        times.append(CpuTimes(124.0, 6.1))
    assert window.reading.machine.own_share == 0.0 and "stole" not in window.reading.cpu_seconds.method


def test_joules_of_an_estimate_are_ours_and_those_of_a_counter_everyones():
    dial, cpu, times = Dial(), Hand(), [CpuTimes(0.0, 0.0)]
    for sensors in ([], [dial]):
        meter = Meter(sensors, cpu_clock=cpu, machine_clock=lambda: times[-1], threads=2)
        with meter.window("work") as window:
            cpu.now += 4.0
            times.append(CpuTimes(times[-1].busy + 8.0, 0.0))
        method = window.reading.joules.method
        if sensors:
            assert "everything that ran there" in method and "ours was 50% of the machine's busy CPU time" in method
        else:
            assert "CPU seconds of this process alone" in method and "%" not in method  # the same in every window


def test_a_system_without_proc_leaves_the_machine_unknown(tmp_path):
    assert read_cpu_times(tmp_path / "stat") is None
    with Meter([], machine_clock=lambda: None).window("work") as window:
        pass
    assert window.reading.machine is None and "busy" not in window.reading.cpu_seconds.method


def test_proc_stat_is_read_as_the_manual_says(tmp_path):
    (tmp_path / "stat").write_text("cpu  100 20 30 9999 9999 4 6 50 70 8\ncpu0 1 2 3 4 5 6 7 8 9 10\n")
    ticks = os.sysconf("SC_CLK_TCK")
    assert read_cpu_times(tmp_path / "stat") == CpuTimes(160 / ticks, 50 / ticks, 2 * 9999 / ticks)
    with Meter([]).window("too short for ticks") as window:
        pass
    assert window.reading.machine is None or window.reading.machine.own_share is None


def test_a_child_that_still_runs_is_said():
    with Meter([]).window("child") as window:
        child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
        assert "a child process still runs" in window.so_far().cpu_seconds.method
        child.communicate(b"\n")
    if not child_runs():  # other tests may have left children of their own
        assert "still runs" not in window.reading.cpu_seconds.method


def test_windows_of_many_threads_nest_and_add_up():
    dial, readings = Dial(), []
    dial.poll_seconds = 0.001
    meter = Meter([dial])

    def work() -> None:
        for _ in range(20):
            with meter.window("part") as part:
                dial.raw += 1.0
            readings.append(part.reading.joules.value)

    with meter.window("outer") as outer:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(readings) == 80 and all(joules >= 1.0 for joules in readings)
    assert outer.reading.joules.value == dial.raw and "fell" not in outer.reading.joules.method


def test_a_slow_source_is_asked_in_the_meters_own_thread():
    class Slow(Dial):
        poll_seconds = 0.005
        asked_by: set[str] = set()

        def poll(self) -> None:
            self.asked_by.add(threading.current_thread().name)

    slow, here = Slow(), threading.current_thread().name
    with Meter([slow]).window("work"):
        assert here in slow.asked_by  # once, before the window opened
        deadline = time.monotonic() + 5
        while len(slow.asked_by) < 2 and time.monotonic() < deadline:
            time.sleep(0.005)
    assert slow.asked_by == {here, "lightbulb-meter"}


def test_each_sensor_is_polled_at_its_own_pace():
    fast, slow = Dial("fast"), Dial("slow")
    fast.poll_seconds, slow.poll_seconds = 0.005, 60.0
    with Meter([fast, slow]).window("work"):
        deadline = time.monotonic() + 5
        while fast.reads < 5 and time.monotonic() < deadline:
            time.sleep(0.005)
        assert fast.reads >= 5 and slow.reads == 1  # at the edge only


def test_two_sensors_of_the_same_thing_count_once_and_are_compared():
    counter, polled = Dial("gpu-0", contains=("gpu-0-power",)), Dial("gpu-0-power", contains=("gpu-0",))
    assert to_sum([counter, polled]) == [counter] and to_sum([polled, counter]) == [polled]
    meter = Meter([counter, polled, Dial("package-0")])
    with meter.window("they agree") as window:
        counter.raw, polled.raw = 100.0, 96.0
    assert window.reading.joules.value == 100.0 and "disagree" not in window.reading.joules.method
    with meter.window("they do not") as window:
        counter.raw, polled.raw = 200.0, 186.0
    assert window.reading.joules.value == 100.0 and "disagree by 10%" in window.reading.joules.method


containment = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=8)


@given(pairs=containment, count=st.integers(1, 6))
def test_nothing_is_ever_added_to_what_contains_it(pairs, count):
    """Any containment among sensors of one scope: no two that are summed hold one another, and none is forgotten."""
    inside = {n: tuple(f"s-{b}" for a, b in pairs if a == n and b != n) for n in range(count)}
    sensors = [Dial(f"s-{n}", contains=inside[n]) for n in range(count)]
    used = to_sum(sensors)
    assert not any(contains(a, b) for a in used for b in used)
    assert used or any(contains(a, b) for a in sensors for b in sensors)
