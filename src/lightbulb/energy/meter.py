"""Windows of work, each with its wall seconds, CPU seconds and joules.

    meter = Meter()
    with meter.window("distill") as window:
        ...
    window.reading.joules

Whose joules: with counters, they are what the chips read between the window's edges, whoever used them, and the method
says which part of the machine's busy CPU time was ours. Without counters, they are the estimate of `energy.estimate`
for the CPU seconds of this process alone; to counters of GPUs only this estimate is added. CPU seconds are those of
this process, its threads and its ended children. All of it adds up: the joules of two neighbouring windows are those
of the window around both.
"""

from __future__ import annotations

import math
import os
import resource
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple

from lightbulb.core.figures import Figure, total
from lightbulb.energy.estimate import OWN, estimate_joules
from lightbulb.energy.processor import (
    CpuTimes,
    ProcessorTimes,
    machine_between,
    read_cpu_times,
    seconds_asleep,
    threads_held,
)
from lightbulb.energy.sensors import Discovery, Sensor, discover
from lightbulb.energy.sensors.summing import covers_cpu, is_gpu, sum_up, to_sum

__all__ = ["Meter", "Reading", "Window", "cpu_seconds_so_far", "to_sum"]

STEAL_SHARE = 0.01  # above it, steal time is told
SLEPT_SECONDS = 1.0
_COUNTED = "with threads, and children that have ended"


def cpu_seconds_so_far() -> float:
    """User and system seconds of this process, its threads, and the children it has waited for (`getrusage`)."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def child_runs() -> bool:
    """Whether this process has a child that it has not waited for. False where the system does not tell (macOS)."""
    if not hasattr(os, "waitid"):
        return False
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # looks, and takes nothing
    except ChildProcessError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Reading:
    """What one window took.

    Attributes:
        name: of the window
        wall_seconds: by the clock
        cpu_seconds: of this process, its threads, and its children that have ended
        joules: of the sensors that were added up, or an estimate
        by_sensor: every sensor, also those left out of `joules` because another contains them; empty when there is none
        machine: what everyone did; None where the system does not tell (no /proc/stat)
    """

    name: str
    wall_seconds: float
    cpu_seconds: Figure
    joules: Figure
    by_sensor: dict[str, Figure]
    machine: ProcessorTimes | None = None


class _Count(NamedTuple):
    """A sensor at one moment: joules since its first reading (None when it does not answer), and how often it has
    fallen and failed so far."""

    joules: float | None
    falls: int
    misses: int


class _Climb:
    """A sensor whose readings never fall: a step down counts as no joules, and is remembered."""

    def __init__(self, sensor: Sensor):
        self.sensor = sensor
        self.trouble = ""
        self._joules, self._falls, self._misses = 0.0, 0, 0
        self._last: float | None = None

    def read(self) -> _Count:
        try:
            raw = self.sensor.joules()
            if not math.isfinite(raw):
                raise ValueError(f"reads {raw}")
        except Exception as e:  # a sensor may fail in any way; the work that is measured must not
            self.trouble = (str(e) or type(e).__name__).replace("\n", " ")
            self._misses += 1
            return _Count(None, self._falls, self._misses)
        step = 0.0 if self._last is None else raw - self._last
        if step < 0:
            self._falls += 1
        self._joules += max(0.0, step)
        self._last = raw
        return _Count(self._joules, self._falls, self._misses)


class _Edge(NamedTuple):
    seconds: float
    cpu_seconds: float
    counts: tuple[_Count, ...]  # of each sensor, in the meter's order
    machine: CpuTimes | None
    asleep_seconds: float


class Meter:
    """Opens windows, in any thread. Only the run loop and the measure protocol should.

    Args:
        sensors: None discovers them; an empty sequence means the estimate
        clock: seconds
        cpu_clock: CPU seconds of this process
        machine_clock: CPU seconds of everyone
        asleep: seconds in which the machine slept
        threads: hardware threads held, for the estimate; None asks the system
        whose: what `cpu_clock` counts
        gpus: False for work that uses none, and should not be charged for those that idle beside it

    Attributes:
        diagnostics: what cannot be read, and why
    """

    def __init__(
        self,
        sensors: Sequence[Sensor] | None = None,
        *,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] = cpu_seconds_so_far,
        machine_clock: Callable[[], CpuTimes | None] = read_cpu_times,
        asleep: Callable[[], float] = seconds_asleep,
        threads: int | None = None,
        whose: str = OWN,
        gpus: bool = True,
    ):
        found = discover() if sensors is None else Discovery(tuple(sensors))
        if not gpus:
            found = Discovery(tuple(s for s in found.sensors if not is_gpu(s)), found.diagnostics)
        self.sensors, self.diagnostics = found.sensors, found.diagnostics
        if len({s.name for s in self.sensors}) < len(self.sensors):
            raise ValueError("two sensors of one name")
        self.threads, self.whose = threads or threads_held(), whose
        self._climbs = tuple(_Climb(s) for s in self.sensors)
        self._clock, self._cpu_clock, self._machine_clock, self._asleep = clock, cpu_clock, machine_clock, asleep
        self._lock = threading.RLock()
        self._open: list[Window] = []
        self._closed: list[Figure] = []  # joules of the outermost windows that have ended, as one figure
        self._stop_polling = threading.Event()

    def window(self, name: str) -> Window:
        """A context manager that measures what runs inside it. Windows may nest."""
        return Window(self, name)

    def so_far(self) -> Figure:
        """Joules of the outermost open window up to now; without a value when none is open."""
        with self._lock:
            if not self._open:
                return Figure(value=None, unit="J", method="no window is open")
            return self._open[0].so_far().joules

    def spent(self) -> Figure:
        """Joules of all outermost windows up to now, those that are closed included."""
        with self._lock:
            figures = [*self._closed, *(w.so_far().joules for w in self._open[:1])]
        return total(figures, "J") if figures else Figure(value=None, unit="J", method="no window was opened")

    def close(self) -> None:
        """Lets the sensors go. Windows still open lose their joules, not their seconds."""
        self._stop_polling.set()
        for sensor in self.sensors:
            sensor.close()

    def _edge(self) -> _Edge:
        with self._lock:
            counts = tuple(climb.read() for climb in self._climbs)
            return _Edge(self._clock(), self._cpu_clock(), counts, self._machine_clock(), self._asleep())

    def _enter(self, window: Window) -> _Edge:
        if not self._open:
            for sensor in self.sensors:
                sensor.poll()  # a slow source that nobody has asked meanwhile would charge what came before
        with self._lock:
            if not self._open:
                self._start_polling()
            self._open.append(window)
            return self._edge()

    def _leave(self, window: Window) -> _Edge:
        with self._lock:
            edge = self._edge()
            self._open.remove(window)
            if not self._open:
                self._stop_polling.set()
            return edge

    def _ended(self, reading: Reading) -> None:
        with self._lock:
            self._closed = [total([*self._closed, reading.joules], "J")]

    def _start_polling(self) -> None:
        """Counters wrap and power has to be sampled: read them now and then while a window is open."""
        self._stop_polling = threading.Event()
        for pause in {s.poll_seconds for s in self.sensors if s.poll_seconds is not None}:
            climbs = [c for c in self._climbs if c.sensor.poll_seconds == pause]
            threading.Thread(
                target=self._poll, args=(climbs, pause, self._stop_polling), name="lightbulb-meter", daemon=True
            ).start()

    def _poll(self, climbs: Sequence[_Climb], pause_seconds: float, stop: threading.Event) -> None:
        while True:
            for climb in climbs:
                climb.sensor.poll()  # may take long: not while others wait for the lock
            if stop.wait(pause_seconds):
                return
            with self._lock:
                for climb in climbs:
                    climb.read()


class Window:
    """One stretch of work. `reading` is there once the window is closed, also when what it measured has raised."""

    _start: _Edge

    def __init__(self, meter: Meter, name: str):
        self.name = name
        self._meter = meter
        self._reading: Reading | None = None

    @property
    def reading(self) -> Reading:
        """What it took.

        Raises:
            RuntimeError: it is not closed
        """
        if self._reading is None:
            raise RuntimeError(f"the window {self.name!r} is not closed yet")
        return self._reading

    def so_far(self) -> Reading:
        """What the window has taken up to now, or in all once it is closed."""
        return self._reading or self._until(self._meter._edge())

    def __enter__(self) -> Window:
        self._start = self._meter._enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        outermost = self._meter._open[:1] == [self]
        self._reading = self._until(self._meter._leave(self))
        if outermost:
            self._meter._ended(self._reading)

    def _until(self, end: _Edge) -> Reading:
        start = self._start
        seconds, cpu_seconds = _elapsed(start.seconds, end.seconds), _elapsed(start.cpu_seconds, end.cpu_seconds)
        machine = None
        if start.machine is not None and end.machine is not None:
            asleep = end.asleep_seconds - start.asleep_seconds
            machine = machine_between(start.machine, end.machine, cpu_seconds, asleep)
        cpu = Figure(
            value=cpu_seconds,
            unit="s",
            scope="process",
            method="; ".join([f"getrusage: {self._meter.whose}, {_COUNTED}", *_cpu_notes(machine)]),
        )
        joules, by_sensor = _joules(self._meter, start, end, seconds, cpu_seconds, machine)
        return Reading(self.name, seconds, cpu, joules, by_sensor, machine)


def _elapsed(start: float, end: float) -> float:
    return max(0.0, end - start)


def _cpu_notes(machine: ProcessorTimes | None) -> list[str]:
    """What has to be known about the CPU seconds of a window."""
    notes = []
    if machine is not None and machine.own_share is not None:
        notes.append(f"{machine.own_share:.0%} of the machine's busy CPU time")
    if machine is not None and machine.steal_share > STEAL_SHARE:
        notes.append(
            f"other virtual machines stole {machine.steal_share:.0%} of the CPU time: not ours, though a kernel "
            f"without paravirtual time accounting counts a part of it here"
        )
    if child_runs():
        notes.append("a child process still runs: its CPU seconds are not in it")
    return notes


def _joules(
    meter: Meter, start: _Edge, end: _Edge, seconds: float, cpu_seconds: float, machine: ProcessorTimes | None
) -> tuple[Figure, dict[str, Figure]]:
    """The window's joules, and those of each sensor."""
    if not meter.sensors:
        return estimate_joules(cpu_seconds, seconds, meter.threads, whose=meter.whose), {}
    by_sensor = {
        climb.sensor.name: _of_sensor(climb, first, last)
        for climb, first, last in zip(meter._climbs, start.counts, end.counts, strict=True)
    }
    joules = sum_up(meter.sensors, by_sensor)
    if not covers_cpu(meter.sensors):
        cpu = estimate_joules(cpu_seconds, seconds, meter.threads, whose=meter.whose)
        joules = total(
            [joules, cpu], "J", f"{joules.method}; to it the CPU's part is added as an estimate, {cpu.method}"
        )
    if notes := _whose(machine):
        joules = joules.model_copy(update={"method": "; ".join([joules.method, *notes])})
    return joules, by_sensor


def _whose(machine: ProcessorTimes | None) -> list[str]:
    """What has to be known about joules of everyone."""
    notes = []
    if machine is not None and machine.own_share is not None:
        notes.append(f"ours was {machine.own_share:.0%} of the machine's busy CPU time")
    if machine is not None and machine.asleep_seconds > SLEPT_SECONDS:
        notes.append(f"the machine slept {machine.asleep_seconds:.0f} s, which the seconds leave out")
    return notes


def _of_sensor(climb: _Climb, start: _Count, end: _Count) -> Figure:
    sensor = climb.sensor
    method = f"{sensor.name}: counter read at both edges"
    if start.joules is None or end.joules is None:
        return Figure(value=None, unit="J", scope=sensor.scope, method=f"{method}; it did not answer ({climb.trouble})")
    if end.falls > start.falls:
        method += f"; it fell {end.falls - start.falls} time(s), which counts as no joules: too low"
    if end.misses > start.misses:
        method += f"; {end.misses - start.misses} readings in between failed ({climb.trouble})"
    joules, step = end.joules - start.joules, sensor.resolution_joules
    return Figure(
        value=joules,
        low=max(0.0, joules - step) if step else None,
        high=joules + step if step else None,
        unit="J",
        scope=sensor.scope,
        method=method,
    )
