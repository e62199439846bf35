"""What making costs: one row a step, kill or no kill."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lightbulb.core.figures import Figure, Source, total
from lightbulb.core.files import read_json, write_json
from lightbulb.core.progress import Progress
from lightbulb.energy.meter import Reading, Window

HEARTBEAT_SECONDS = 10.0


class Cost(BaseModel):
    """What a piece of work took.

    Attributes:
        seconds: by the clock
        cpu_seconds: of this process, its threads, and its children that have ended
        joules: as the meter read or estimated them
        attempts: a kill ends one
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float
    cpu_seconds: Figure
    joules: Figure
    attempts: int = 1

    @staticmethod
    def of(reading: Reading) -> Cost:
        """Of one window."""
        return Cost(seconds=reading.wall_seconds, cpu_seconds=reading.cpu_seconds, joules=reading.joules)

    @staticmethod
    def read(path: Path) -> Cost:
        """What a step's cost.json holds."""
        return Cost(**read_json(path))


def total_cost(costs: Sequence[Cost]) -> Cost:
    """The sum; joules have no value where those of one part were not measured."""
    return Cost(
        seconds=sum(c.seconds for c in costs),
        attempts=sum(c.attempts for c in costs),
        cpu_seconds=total([c.cpu_seconds for c in costs], "s"),
        joules=total([c.joules for c in costs], "J"),
    )


def subtract(whole: Cost, parts: Sequence[Cost]) -> Cost:
    """What is left of `whole` beside its parts: never below 0, whatever clocks and counters rounded."""
    inside = total_cost(parts)
    return Cost(
        seconds=max(0.0, whole.seconds - inside.seconds),
        cpu_seconds=_subtract(whole.cpu_seconds, inside.cpu_seconds),
        joules=_subtract(whole.joules, inside.joules),
    )


def _subtract(whole: Figure, part: Figure) -> Figure:
    """Estimates are linear in what was spent, with the same unknown watts, so their ends subtract like their values;
    the ends of counters that step are off by themselves."""

    def left(a: float | None, b: float | None) -> float | None:
        return None if a is None or b is None else max(0.0, a - b)

    value = left(whole.value, part.value)
    source: Source = "estimated" if whole.source == "estimated" else "derived"
    ends = (part.low, part.high) if source == "estimated" else (part.high, part.low)
    low, high = (None, None) if value is None else (left(whole.low, ends[0]), left(whole.high, ends[1]))
    return Figure(
        value=value,
        low=low,
        high=high,
        unit=whole.unit,
        source=source,
        scope=whole.scope,
        method="the whole run less its steps",
    )


class Heartbeat:
    """Progress that also keeps a running account on disk, so that the cost of a killed attempt is not forgotten.

    It beats where work tells how far it is: at most HEARTBEAT_SECONDS and one such piece of work go uncounted.

    Args:
        inner: hears what it hears
        window: of this attempt
        account: the file
    """

    def __init__(self, inner: Progress, window: Window, account: Path):
        self.inner, self.window, self.account = inner, window, account
        self.earlier = [Cost.read(account)] if account.exists() else []
        self.last = time.monotonic()

    def cost(self) -> Cost:
        now = Cost.of(self.window.so_far())
        return total_cost([*self.earlier, now]) if self.earlier else now

    def seconds(self) -> float:
        """Wall seconds of this step so far, earlier attempts included."""
        return self.cost().seconds

    def working(self, label: str) -> AbstractContextManager[None]:
        return self.inner.working(label)

    @contextmanager
    def bar(self, label: str, total: float) -> Iterator[Callable[[float, str], None]]:
        with self.inner.bar(label, total) as advance:

            def beat(done: float, note: str = "") -> None:
                advance(done, note)
                if time.monotonic() - self.last > HEARTBEAT_SECONDS:
                    self.last = time.monotonic()
                    write_json(self.account, self.cost().model_dump())

            yield beat
