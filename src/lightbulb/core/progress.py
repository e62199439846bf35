"""What work is open, how far it is, the time left and the joules so far, told as events.

    stream = Stream(*terminal(quiet))
    progress = Reporter(stream, meter.spent)
    with progress.working("teacher"):          # work that has a name and tells no share
        with progress.bar("adapt", 100) as advance:
            advance(42, "loss 0.31")

What is shown is what the events say (`terminal`): they come while anything is open, also where the work says nothing
for hours.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Protocol

from lightbulb.core.events import Stream, WorkFinished, WorkProgress, WorkStarted
from lightbulb.core.figures import Figure
from lightbulb.core.terminal import terminal

LOOK_SECONDS = 1.0  # between two looks at work that says nothing, and at the joules
EVENT_SECONDS = 0.25  # between two events of work that says much
RESUMES_SECONDS = 5.0  # a twentieth done by then was done before
Joules = Callable[[], Figure]


class Progress(Protocol):
    """What a pass may say while it works: `bar` is for work that tells how far it is, by calling the function that the
    block gets with (done, note); `working` for work that has a name and tells no share."""

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
    """Progress of work that is no run.

    Args:
        joules: gives what was spent so far; None for work that is not metered
        quiet: says nothing
    """
    return Silent() if quiet else Reporter(Stream(*terminal(quiet)), joules)


def waiting(label: str, quiet: bool = False) -> AbstractContextManager[None]:
    """Progress of work that is not metered and tells no share, such as reading a task."""
    return progress_for(None, quiet).working(label)


class _Piece:
    """A piece of work that is open: how far it is, and since when it told so."""

    def __init__(self, number: int, path: tuple[str, ...], total: float | None, now: float):
        self.number, self.path, self.total, self.begin = number, path, total, now
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


class Reporter:
    """Progress as events: work that begins and ends and, while any is open, how far the innermost is, also where the
    work itself says nothing.

    Args:
        stream: of the events
        joules: gives what was spent so far; None for work that is not metered
        clock: seconds
        threads: whether a thread calls `tick`; without it the caller does
    """

    def __init__(
        self,
        stream: Stream,
        joules: Joules | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        threads: bool = True,
    ):
        self.stream, self.joules, self.clock, self.threads = stream, joules, clock, threads
        self._open: list[_Piece] = []
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._numbers, self._last = 0, -math.inf
        self._spent: tuple[float, Figure | None] = (-math.inf, None)

    def working(self, label: str) -> AbstractContextManager[None]:
        @contextmanager
        def opened() -> Iterator[None]:
            with self._piece(label, None):
                yield

        return opened()

    @contextmanager
    def bar(self, label: str, total: float) -> Iterator[Callable[[float, str], None]]:
        with self._piece(label, total) as piece:

            def advance(done: float, note: str = "") -> None:
                with self._lock:
                    piece.advance(done, note, self.clock())
                    if self._open[-1] is piece:
                        self._tell(EVENT_SECONDS)

            yield advance

    @contextmanager
    def _piece(self, label: str, total: float | None) -> Iterator[_Piece]:
        with self._lock:
            path = (*(self._open[-1].path if self._open else ()), label)
            piece = _Piece(self._numbers, path, total, self.clock())
            self._numbers += 1
            if not self._open:
                self._start()
            self._open.append(piece)
            self._last = piece.begin
            self.stream.emit(WorkStarted(number=piece.number, path=path, total=total))
        try:
            yield piece
        finally:
            with self._lock:
                self._open.remove(piece)
                if not self._open:
                    self._stop.set()
                seconds = self.clock() - piece.begin
                self.stream.emit(WorkFinished(number=piece.number, path=path, seconds=seconds, note=piece.note))

    def tick(self) -> None:
        """Tells how far the innermost piece of work is, if nothing was told for a while."""
        with self._lock:
            if self._open:
                self._tell(LOOK_SECONDS)

    def _tell(self, least: float) -> None:
        now, piece = self.clock(), self._open[-1]
        if now - self._last < least:
            return
        self._last = now
        self.stream.emit(
            WorkProgress(
                number=piece.number,
                path=piece.path,
                seconds=now - piece.begin,
                share=piece.share(),
                seconds_left=piece.seconds_left(now),
                joules=self._joules(now),
                note=piece.note,
            )
        )

    def _joules(self, now: float) -> Figure | None:
        """Read at most once a second; None where nothing is metered."""
        if self.joules is not None and now - self._spent[0] >= LOOK_SECONDS:
            figure = None
            with suppress(Exception):  # a sensor that fails is the meter's to tell, and ends no work here
                figure = self.joules().model_copy(update={"method": ""})  # long, and in the cost of every step
            self._spent = (now, figure)
        return self._spent[1]

    def _start(self) -> None:
        self._stop = stop = threading.Event()
        if not self.threads:
            return

        def beat() -> None:
            while not stop.wait(LOOK_SECONDS):
                self.tick()

        threading.Thread(target=beat, name="lightbulb-progress", daemon=True).start()
