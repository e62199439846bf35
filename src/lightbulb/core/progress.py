"""What is going on, with the time left and the joules so far: bars in a terminal, lines in a log.

    progress = progress_for(meter.spent, quiet)
    with progress.working("teacher"):          # work that has a name and tells no share
        with progress.bar("adapt", 100) as advance:
            advance(42, "loss 0.31")

A log gets a line at least every 30 seconds while anything is open, also where the work says nothing for hours.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, Protocol

from lightbulb.core.figures import Figure, human

SHOW_AFTER_SECONDS = 2.0
LINE_SECONDS = 20.0  # 30 at most, and a busy machine wakes a thread late
LOOK_SECONDS = 1.0
RESUMES_SECONDS = 5.0  # a twentieth done by then was done before
Joules = Callable[[], Figure]


class Progress(Protocol):
    """What a pass may say while it works. `bar(label, total)` opens a bar; the yielded function takes (done, note).
    `working(label)` is for work that has a name and tells no share."""

    def bar(self, label: str, total: float) -> AbstractContextManager[Callable[[float, str], None]]: ...

    def working(self, label: str) -> AbstractContextManager[None]: ...


class Silent:
    """Progress that says nothing."""

    def working(self, label: str) -> AbstractContextManager[None]:
        return nullcontext()

    def bar(self, label: str, total: float) -> AbstractContextManager[Callable[[float, str], None]]:
        @contextmanager
        def quiet() -> Iterator[Callable[[float, str], None]]:
            def advance(done: float, note: str = "") -> None:
                """Nothing to show."""

            yield advance

        return quiet()


def progress_for(joules: Joules | None, quiet: bool) -> Progress:
    """Bars where stderr is a terminal, lines where it is not, nothing where `quiet`. joules: what was spent so far;
    None for work that is not metered."""
    if quiet:
        return Silent()
    return Bars(joules) if sys.stderr is not None and sys.stderr.isatty() else Lines(joules)


def waiting(label: str, quiet: bool = False) -> AbstractContextManager[None]:
    """Progress of work that is not metered and tells no share, such as reading a task."""
    return progress_for(None, quiet).working(label)


def spent_text(joules: Joules | None) -> str:
    """Such as "~1.2 kJ" where they are estimated; empty where they are not known."""
    if joules is None:
        return ""
    try:
        figure = joules()
    except Exception:  # a sensor that fails in mid-work ends no work
        return ""
    return "" if figure.value is None else f"{'~' if figure.source == 'estimated' else ''}{human(figure.value)} J"


class Bars:
    """Progress on stderr by rich: a bar for what tells its share, a moving one for what does not. The innermost piece
    of work is shown."""

    def __init__(self, joules: Joules | None = None):
        self.joules = joules
        self._live: Any = None
        self._open: list[Any] = []

    def working(self, label: str) -> AbstractContextManager[None]:
        @contextmanager
        def shown() -> Iterator[None]:
            with self._task(label, None):
                yield

        return shown()

    @contextmanager
    def bar(self, label: str, total: float) -> Iterator[Callable[[float, str], None]]:
        with self._task(label, total) as task:

            def advance(done: float, note: str = "") -> None:
                self._live.update(task, completed=done, note=_one_line(note))

            yield advance

    @contextmanager
    def _task(self, label: str, total: float | None) -> Iterator[Any]:
        if self._live is None:
            self._live = _live(self.joules)
            self._live.start()
        if self._open:
            self._live.update(self._open[-1], visible=False)
        task = self._live.add_task(_one_line(label), total=total, note="")
        self._open.append(task)
        try:
            yield task
        finally:
            self._open.remove(task)
            self._live.remove_task(task)
            if self._open:
                self._live.update(self._open[-1], visible=True)
            else:
                self._live.stop()
                self._live = None


def _live(joules: Joules | None) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Live
    from rich.text import Text

    class Spent(ProgressColumn):
        """Read anew once a second, also while the work says nothing."""

        looked, text = -LOOK_SECONDS, ""

        def render(self, task: Task) -> Text:
            if time.monotonic() - self.looked >= LOOK_SECONDS:
                self.looked, self.text = time.monotonic(), spent_text(joules)
            return Text(self.text)

    columns: list[Any] = [
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        Spent(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    ]
    return Live(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4)


class _Piece:
    """A piece of work that is open: how far it is, and since when it told so."""

    def __init__(self, label: str, total: float | None, now: float):
        self.label, self.total, self.begin = label, total, now
        self.done: float | None = None
        self.first: tuple[float, float] = (now, 0.0)  # when it first told, and how much was done (before it, a resume)
        self.note = ""

    def advance(self, done: float, note: str, now: float) -> None:
        if self.done is None:
            resumed = now - self.begin < RESUMES_SECONDS and 20 * done > (self.total or 0.0)
            self.first = (now, done) if resumed else (self.begin, 0.0)
        self.done, self.note = done, note

    def share(self) -> float | None:
        return None if self.done is None or not self.total else min(1.0, max(0.0, self.done / self.total))

    def seconds_left(self, now: float) -> float | None:
        """By the speed since it first told how far it is, so that what a resumed run found done counts as no speed."""
        began, had = self.first
        if self.done is None or not self.total or self.done <= had or now <= began:
            return None
        return max(0.0, self.total - self.done) * (now - began) / (self.done - had)


class Lines:
    """For logs: a line at least every 30 seconds while work is open, and one when a piece of it that took more than a
    moment is done. Each is one write, in ASCII, without carriage returns.

    write: takes a whole line. clock: seconds. threads: whether a thread calls `tick`; without it the caller does.
    """

    def __init__(
        self,
        joules: Joules | None = None,
        *,
        write: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        threads: bool = True,
    ):
        self.joules, self.clock, self.threads = joules, clock, threads
        self._write = write or _to_stderr
        self._open: list[_Piece] = []
        self._lock = threading.RLock()
        self._said = 0.0
        self._stop = threading.Event()

    def working(self, label: str) -> AbstractContextManager[None]:
        @contextmanager
        def told() -> Iterator[None]:
            with self._piece(label, None):
                yield

        return told()

    @contextmanager
    def bar(self, label: str, total: float) -> Iterator[Callable[[float, str], None]]:
        with self._piece(label, total) as piece:

            def advance(done: float, note: str = "") -> None:
                with self._lock:
                    piece.advance(done, note, self.clock())

            yield advance

    @contextmanager
    def _piece(self, label: str, total: float | None) -> Iterator[_Piece]:
        piece = _Piece(label, total, self.clock())
        with self._lock:
            if not self._open:
                self._said = piece.begin
                self._start()
            self._open.append(piece)
        try:
            yield piece
        finally:
            with self._lock:
                seconds = self.clock() - piece.begin
                if seconds > SHOW_AFTER_SECONDS:
                    self._say(f"{self._where(piece)}: {seconds:.0f} s {piece.note}".rstrip())
                self._open.remove(piece)
                if not self._open:
                    self._stop.set()

    def tick(self) -> None:
        """Says how far the innermost piece of work is, if nothing was said for a while."""
        with self._lock:
            if self._open and self.clock() - self._said >= LINE_SECONDS:
                self._say(self._state())

    def _start(self) -> None:
        self._stop = stop = threading.Event()
        if not self.threads:
            return

        def beat() -> None:
            while not stop.wait(LOOK_SECONDS):
                self.tick()

        threading.Thread(target=beat, name="lightbulb-progress", daemon=True).start()

    def _state(self) -> str:
        now, piece = self.clock(), self._open[-1]
        share, left = piece.share(), piece.seconds_left(now)
        spent = spent_text(self.joules)
        parts = [
            f"{self._where(piece)}: {clock_text(now - piece.begin)}",
            "" if share is None else f"{share:.0%} done",
            "" if left is None else f"{clock_text(left)} left",
            f"{spent} so far" if spent else "",
            piece.note,
        ]
        return ", ".join(part for part in parts if part)

    def _where(self, piece: _Piece) -> str:
        """The step and what it is at: "teacher: adapt"."""
        names = [p.label for p in self._open[: self._open.index(piece) + 1]]
        return ": ".join(dict.fromkeys(names[1:] or names))

    def _say(self, text: str) -> None:
        self._said = self.clock()
        with suppress(OSError, ValueError):  # nobody reads the log any more; the work goes on
            self._write(_plain(text) + "\n")


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
