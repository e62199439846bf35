"""Windows of work, each with its wall seconds, CPU seconds and joules.

    meter = Meter()
    with meter.window("distill") as window:
        ...
    window.reading.joules

With counters, joules are what the chips read between the window's edges, whoever used them. Without, they are the
estimate of `energy.estimate` for this process alone. All of it adds up: the joules of two neighbouring windows are
those of the window around both.
"""

from __future__ import annotations

import math
import resource
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple

from lightbulb.energy.estimate import estimate_joules
from lightbulb.energy.processor import threads_held
from lightbulb.energy.sensors import Discovery, Sensor, discover
from lightbulb.figures import Figure

_WIDEST_FIRST = ("wall", "machine", "board", "chip")
_CPU_METHOD = "getrusage: this process with its threads, and its children that have ended"


def cpu_seconds_so_far() -> float:
    """User and system seconds of this process, its threads, and the children it has waited for (`getrusage`)."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


@dataclass(frozen=True, slots=True)
class Reading:
    """What one window took. `by_sensor` holds every sensor, also those left out of `joules` because another contains
    them; it is empty when there is none."""

    name: str
    wall_seconds: float
    cpu_seconds: Figure
    joules: Figure
    by_sensor: dict[str, Figure]


class _Climb:
    """A sensor whose readings never fall: a step down counts as no joules, and is remembered."""

    def __init__(self, sensor: Sensor):
        self.sensor = sensor
        self.trouble = ""
        self._joules, self._falls = 0.0, 0
        self._last: float | None = None

    def read(self) -> tuple[float | None, int]:
        """(joules since the first reading, falls so far); None joules when the sensor does not answer."""
        try:
            raw = self.sensor.joules()
            if not math.isfinite(raw):
                raise ValueError(f"reads {raw}")
        except Exception as e:  # a sensor may fail in any way; the work that is measured must not
            self.trouble = str(e) or type(e).__name__
            return None, self._falls
        step = 0.0 if self._last is None else raw - self._last
        if step < 0:
            self._falls += 1
        self._joules += max(0.0, step)
        self._last = raw
        return self._joules, self._falls


class _Edge(NamedTuple):
    seconds: float
    cpu_seconds: float
    counts: tuple[tuple[float | None, int], ...]  # of each sensor, in the meter's order


class Meter:
    """Opens windows. Only the run loop and the measure protocol should.

    sensors: None discovers them; an empty sequence means the estimate. threads: hardware threads held, for the
    estimate; None asks the system. clock and cpu_clock: seconds. `remarks` says what cannot be read and why.
    """

    def __init__(
        self,
        sensors: Sequence[Sensor] | None = None,
        *,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] = cpu_seconds_so_far,
        threads: int | None = None,
    ):
        found = discover() if sensors is None else Discovery(tuple(sensors))
        self.sensors, self.remarks = found.sensors, found.remarks
        if len({s.name for s in self.sensors}) < len(self.sensors):
            raise ValueError("two sensors of one name")
        self.threads = threads or threads_held()
        self._climbs = tuple(_Climb(s) for s in self.sensors)
        self._clock, self._cpu_clock = clock, cpu_clock
        self._lock = threading.RLock()
        self._open: list[Window] = []
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

    def close(self) -> None:
        """Lets the sensors go. Windows still open lose their joules, not their seconds."""
        self._stop_polling.set()
        for sensor in self.sensors:
            sensor.close()

    def _edge(self) -> _Edge:
        with self._lock:
            counts = tuple(climb.read() for climb in self._climbs)
            return _Edge(self._clock(), self._cpu_clock(), counts)

    def _enter(self, window: Window) -> _Edge:
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

    def _start_polling(self) -> None:
        """Counters wrap and power has to be sampled: read them now and then while a window is open."""
        pauses = [s.poll_seconds for s in self.sensors if s.poll_seconds is not None]
        if pauses:
            self._stop_polling = threading.Event()
            threading.Thread(
                target=self._poll, args=(min(pauses), self._stop_polling), name="lightbulb-meter", daemon=True
            ).start()

    def _poll(self, pause_seconds: float, stop: threading.Event) -> None:
        while not stop.wait(pause_seconds):
            with self._lock:
                for climb in self._climbs:
                    if climb.sensor.poll_seconds is not None:
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
        self._reading = self._until(self._meter._leave(self))

    def _until(self, end: _Edge) -> Reading:
        joules, by_sensor = _joules(self._meter, self._start, end)
        cpu = Figure(
            value=_elapsed(self._start.cpu_seconds, end.cpu_seconds), unit="s", scope="process", method=_CPU_METHOD
        )
        return Reading(self.name, _elapsed(self._start.seconds, end.seconds), cpu, joules, by_sensor)


def _elapsed(start: float, end: float) -> float:
    return max(0.0, end - start)


def _joules(meter: Meter, start: _Edge, end: _Edge) -> tuple[Figure, dict[str, Figure]]:
    """The window's joules, and those of each sensor."""
    if not meter.sensors:
        return estimate_joules(
            _elapsed(start.cpu_seconds, end.cpu_seconds), _elapsed(start.seconds, end.seconds), meter.threads
        ), {}
    by_sensor = {
        climb.sensor.name: _of_sensor(climb, first, last)
        for climb, first, last in zip(meter._climbs, start.counts, end.counts, strict=True)
    }
    return _sum(meter.sensors, by_sensor), by_sensor


def _of_sensor(climb: _Climb, start: tuple[float | None, int], end: tuple[float | None, int]) -> Figure:
    sensor, (first, falls_before), (last, falls) = climb.sensor, start, end
    method = f"{sensor.name}: counter read at both edges"
    if first is None or last is None:
        return Figure(value=None, unit="J", scope=sensor.scope, method=f"{method}; it did not answer ({climb.trouble})")
    if falls > falls_before:
        method += f"; it fell {falls - falls_before} time(s), which counts as no joules: too low"
    return Figure(value=last - first, unit="J", scope=sensor.scope, method=method)


def to_sum(sensors: Sequence[Sensor]) -> list[Sensor]:
    """The sensors to add so that nothing counts twice: one that contains all others, else those of the narrowest
    scope that no other of them contains."""
    for sensor in sorted(sensors, key=lambda s: _WIDEST_FIRST.index(s.scope)):
        if all(other is sensor or _contains(sensor, other) for other in sensors):
            return [sensor]
    narrowest = max((s.scope for s in sensors), key=_WIDEST_FIRST.index)
    peers = [s for s in sensors if s.scope == narrowest]
    return [s for s in peers if not any(other is not s and _contains(other, s) for other in peers)]


def _contains(outer: Sensor, inner: Sensor) -> bool:
    return "*" in outer.contains or inner.name in outer.contains


def _sum(sensors: Sequence[Sensor], by_sensor: dict[str, Figure]) -> Figure:
    used = to_sum(sensors)
    figures = [by_sensor[s.name] for s in used]
    method = f"{' + '.join(s.name for s in used)}, everything that ran there; leaves out {_left_out(used)}"
    notes = [f.method for f in figures if ";" in f.method]
    values = [f.value for f in figures if f.value is not None]
    for outer in used:
        inside = [by_sensor[s.name].value for s in sensors if s is not outer and _contains(outer, s)]
        if values and sum(v for v in inside if v is not None) > sum(values):
            notes.append(f"{outer.name} read less than what it contains: do not trust it, see by_sensor")
    value = sum(values) if len(values) == len(figures) else None
    return Figure(value=value, unit="J", scope=used[0].scope, method="; ".join([method, *notes]))


def _left_out(used: Sequence[Sensor]) -> str:
    kinds = {s.name.split("-")[0] for s in used}
    match used[0].scope:
        case "chip":
            chips = {"package": "CPU", "dram": "memory", "gpu": "any GPU"}
            return ", ".join(
                [*(words for kind, words in chips.items() if kind not in kinds), "board, disks, fans and power supply"]
            )
        case "board":
            return "cards that the board does not feed, disks, fans and power supply"
        case "machine":
            return "losses of the power supply"
    return "nothing behind the plug"
