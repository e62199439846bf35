"""Events on stderr: bars in a terminal, lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from lightbulb.core.events import Event, Message, Reader, WorkFinished, WorkProgress, WorkStarted
from lightbulb.core.figures import Figure, human

SHOW_AFTER_SECONDS = 2.0
LINE_SECONDS = 20.0  # 30 at most, and a busy machine wakes a thread late


def terminal(quiet: bool) -> tuple[Reader, ...]:
    """What shows events on stderr: bars where it is a terminal, lines where it is not, nothing where `quiet`."""
    if quiet:
        return ()
    return (Bars(),) if sys.stderr is not None and sys.stderr.isatty() else (Lines(),)


def spent_text(joules: Figure | None) -> str:
    """Such as "~1.2 kJ" where they are estimated; empty where they are not known."""
    if joules is None or joules.value is None:
        return ""
    return f"{'~' if joules.source == 'estimated' else ''}{human(joules.value)} J"


class Bars:
    """Shows events on stderr by rich: a bar for what tells its share, a moving one for what does not. The innermost
    piece of work is shown."""

    def __init__(self) -> None:
        self._live: Any = None
        self._tasks: dict[int, tuple[Any, float | None]] = {}  # number of a piece -> its bar, and its total

    def __call__(self, event: Event) -> None:
        if isinstance(event, Message):
            _to_stderr(event.text + "\n")
        elif isinstance(event, WorkStarted):
            self._begin(event)
        elif isinstance(event, WorkProgress):
            self._show(event)
        elif isinstance(event, WorkFinished):
            self._end(event)

    def _begin(self, event: WorkStarted) -> None:
        if self._live is None:
            self._live = _live()
            self._live.start()
        for task, _ in self._tasks.values():
            self._live.update(task, visible=False)
        task = self._live.add_task(_one_line(event.path[-1]), total=event.total, note="", left="", joules="")
        self._tasks[event.number] = (task, event.total)

    def _show(self, event: WorkProgress) -> None:
        task, total = self._tasks[event.number]
        done = {} if event.share is None or total is None else {"completed": event.share * total}
        left = "" if event.seconds_left is None else f"{clock_text(event.seconds_left)} left"
        self._live.update(task, note=_one_line(event.note), left=left, joules=spent_text(event.joules), **done)

    def _end(self, event: WorkFinished) -> None:
        task, _ = self._tasks.pop(event.number)
        self._live.remove_task(task)
        if self._tasks:
            self._live.update(list(self._tasks.values())[-1][0], visible=True)
        else:
            self._live.stop()
            self._live = None


def _live() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Live

    columns: list[Any] = [
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", markup=False),
        TextColumn("{task.fields[joules]}", markup=False),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    ]
    return Live(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4)


class Lines:
    """Shows events in a log: a line at least every 30 seconds while work is open, and one when a piece of it that took
    more than a moment is done. Each is one write, in ASCII, without carriage returns.

    Args:
        write: takes a whole line
        clock: seconds
    """

    def __init__(
        self, *, write: Callable[[str], None] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write, self.clock = write or _to_stderr, clock
        self._last = 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Message):
            with suppress(OSError, ValueError):
                self._write(event.text + "\n")
        elif isinstance(event, WorkStarted) and len(event.path) == 1:
            self._last = self.clock()
        elif isinstance(event, WorkProgress) and self.clock() - self._last >= LINE_SECONDS:
            self._say(_state(event))
        elif isinstance(event, WorkFinished) and event.seconds > SHOW_AFTER_SECONDS:
            self._say(f"{_where(event.path)}: {event.seconds:.0f} s {event.note}".rstrip())

    def _say(self, text: str) -> None:
        self._last = self.clock()
        with suppress(OSError, ValueError):  # nobody reads the log any more; the work goes on
            self._write(_plain(text) + "\n")


def _state(event: WorkProgress) -> str:
    spent = spent_text(event.joules)
    parts = [
        f"{_where(event.path)}: {clock_text(event.seconds)}",
        "" if event.share is None else f"{event.share:.0%} done",
        "" if event.seconds_left is None else f"{clock_text(event.seconds_left)} left",
        f"{spent} so far" if spent else "",
        event.note,
    ]
    return ", ".join(part for part in parts if part)


def _where(path: tuple[str, ...]) -> str:
    """The step and what it is at: "teacher: adapt"."""
    return ": ".join(dict.fromkeys(path[1:] or path))


def clock_text(seconds: float) -> str:
    """Such as "42 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _plain(text: str) -> str:
    """One line of ASCII."""
    return _one_line(text.encode("ascii", "backslashreplace").decode("ascii"))


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _to_stderr(line: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(line)
        sys.stderr.flush()
