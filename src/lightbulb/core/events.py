"""What a run tells while it works: events, which bars, logs and pages read and `events.jsonl` keeps.

A stream hands each event to its readers in the process; in a run's folder one of them appends it as a line of JSON:

    {"time": 1764195600.123, "kind": "step.finished", "label": "teacher", "made_by": "adapt", "seconds": 312.4, ...}

`time` is in seconds since 1970 (UTC). The kinds, with what each holds beside its time:

| kind | told when | fields |
|---|---|---|
| run.started | the first step of a new folder is asked for | task, fingerprint, seed, threads, version, found |
| run.resumed | the same, where an earlier process worked | as run.started |
| run.finished | the process is done with the run | outcome (done, failed, interrupted), error |
| step.started | a pass begins | label, key, made_by |
| step.finished | its artifact is on disk | label, key, made_by, makes, seconds, cpu_seconds, joules, attempts |
| step.found | an artifact was there already | label, key, made_by, makes |
| work.started | a piece of work with a name begins | number, path, total |
| progress | while work is open, at most one a few seconds | number, path, seconds, share, seconds_left, joules, note |
| work.finished | that piece of work ends | number, path, seconds, note |
| decision | something was decided | by (clock, plan, search), what, value, why |
| figure | something was scored or measured | label, name, figure |
| message | a sentence for the person who waits | text |

Nothing of this decides bytes or keys. Kinds and fields of later versions are read as they are.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time as clock
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from lightbulb.core.errors import RunFailure
from lightbulb.core.figures import Figure

EVENTS = "events.jsonl"
PROGRESS_SECONDS = 5.0  # between two lines of progress in the file
POLL_SECONDS = 0.5
CHUNK = 1 << 16


def _unicode(text: str) -> str:
    """A byte of a file's name that is no UTF-8 is written as its escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


Text = Annotated[str, BeforeValidator(_unicode)]


class Event(BaseModel):
    """What all events have. An event of a kind that this version does not know is read as this class.

    Attributes:
        time: seconds since 1970
        kind: of event
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    time: float = Field(default_factory=lambda: round(clock.time(), 3))
    kind: str

    def as_line(self) -> bytes:
        """The event as a whole line of JSON."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=True).encode() + b"\n"


class RunEvent(Event):
    """What a run begins with.

    Attributes:
        task: its name
        fingerprint: of all that can change a result in it
        seed: of every step
        threads: of the processor
        version: of lightbulb
        found: finished steps in the folder
    """

    task: Text
    fingerprint: str
    seed: int
    threads: int
    version: str
    found: int


class RunStarted(RunEvent):
    """A run begins."""

    kind: Literal["run.started"] = "run.started"


class RunResumed(RunEvent):
    """A run goes on."""

    kind: Literal["run.resumed"] = "run.resumed"


class RunFinished(Event):
    """How a run ended.

    Attributes:
        outcome: "failed" where an error ended it, "interrupted" where a person did
        error: in words
    """

    kind: Literal["run.finished"] = "run.finished"
    outcome: Literal["done", "failed", "interrupted"]
    error: Text = ""


class StepEvent(Event):
    """What events of a step have.

    Attributes:
        label: of the artifact
        key: of it
        made_by: the name of the pass, or "import"
    """

    label: str
    key: str
    made_by: str


class StepStarted(StepEvent):
    """A step begins. Its key is as planned; one that is shortened while it works ends with another."""

    kind: Literal["step.started"] = "step.started"


class StepFound(StepEvent):
    """A step that was made before.

    Attributes:
        makes: the kind of the artifact
    """

    kind: Literal["step.found"] = "step.found"
    makes: str


class StepFinished(StepEvent):
    """A step is done. Its cost is that of all attempts.

    Attributes:
        makes: the kind of the artifact
        seconds: by the clock
        cpu_seconds: of all attempts
        joules: likewise
        attempts: how many
    """

    kind: Literal["step.finished"] = "step.finished"
    makes: str
    seconds: float
    cpu_seconds: Figure
    joules: Figure
    attempts: int


class WorkEvent(Event):
    """What events of a piece of work have.

    Attributes:
        number: of the piece of work in its process
        path: its name, after those of the work that it is a part of
    """

    number: int
    path: tuple[Text, ...]


class WorkStarted(WorkEvent):
    """A piece of work begins.

    Attributes:
        total: what "done" counts up to; None for work that tells no share
    """

    kind: Literal["work.started"] = "work.started"
    total: float | None = None


class WorkProgress(WorkEvent):
    """How far the innermost open piece of work is.

    Attributes:
        seconds: since it began
        share: done, 0 to 1
        seconds_left: by its speed
        joules: of the whole run so far
        note: of the work itself
    """

    kind: Literal["progress"] = "progress"
    seconds: float
    share: float | None = None
    seconds_left: float | None = None
    joules: Figure | None = None
    note: Text = ""


class WorkFinished(WorkEvent):
    """A piece of work is done, or has failed.

    Attributes:
        seconds: that it took
        note: the last of the work itself
    """

    kind: Literal["work.finished"] = "work.finished"
    seconds: float
    note: Text = ""


class Decided(Event):
    """A decision.

    Attributes:
        by: what decides: the clock, the plan, the search
        what: is decided
        value: JSON-able
        why: a sentence
    """

    kind: Literal["decision"] = "decision"
    by: str
    what: Text
    value: Any = None
    why: Text = ""


class Measured(Event):
    """A figure of an artifact.

    Attributes:
        label: the artifact's
        name: the figure's
        figure: as measured
    """

    kind: Literal["figure"] = "figure"
    label: str
    name: str
    figure: Figure


class Message(Event):
    """A sentence for whoever reads along."""

    kind: Literal["message"] = "message"
    text: Text


KINDS: dict[str, type[Event]] = {
    cls.model_fields["kind"].default: cls
    for cls in (
        RunStarted,
        RunResumed,
        RunFinished,
        StepStarted,
        StepFound,
        StepFinished,
        WorkStarted,
        WorkProgress,
        WorkFinished,
        Decided,
        Measured,
        Message,
    )
}
Reader = Callable[[Event], None]


class Stream:
    """Hands every event to all readers, one event at a time, whichever thread tells it."""

    def __init__(self, *readers: Reader):
        self._readers = list(readers)
        self._lock = threading.RLock()

    def emit(self, event: Event) -> None:
        with self._lock:
            for reader in self._readers:
                reader(event)

    def subscribe(self, reader: Reader) -> None:
        with self._lock:
            self._readers.append(reader)

    def unsubscribe(self, reader: Reader) -> None:
        with self._lock:
            self._readers.remove(reader)


class EventFile:
    """Appends events to a file, each as one whole line in one write; of progress at most a line every few seconds.

    A last line that a kill has torn is cut off when the file is opened. Where an event cannot be written (a full disk),
    it is left out: what matters of a run is in its steps, which say so themselves.

    Args:
        path: of the file
        seconds: a clock
    """

    def __init__(self, path: Path, seconds: Callable[[], float] = clock.monotonic):
        self._seconds, self._last_progress = seconds, -math.inf
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._end = _whole_bytes(self._fd)
        os.ftruncate(self._fd, self._end)

    def __call__(self, event: Event) -> None:
        if isinstance(event, WorkProgress):
            if self._seconds() - self._last_progress < PROGRESS_SECONDS:
                return
            self._last_progress = self._seconds()
        line = event.as_line()
        try:
            if os.write(self._fd, line) == len(line):
                self._end += len(line)
            else:
                os.ftruncate(self._fd, self._end)
        except OSError:
            return

    def close(self) -> None:
        os.close(self._fd)


def _whole_bytes(fd: int) -> int:
    """Bytes of the file up to the end of its last whole line."""
    end = os.fstat(fd).st_size
    while end:
        start = max(0, end - CHUNK)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def read_events(path: Path, follow: Callable[[], bool] = lambda: False) -> Iterator[Event]:
    """The events of a file in order; a last line that is not whole yet is left out.

    Args:
        path: of the file
        follow: asked whenever all that is there has been read; while it says yes, more is waited for

    Raises:
        RunFailure: a line that is no event
    """
    number, whole = 0, 0  # lines and bytes that were read
    while True:
        with _opened(path) as file:  # anew at each look: a resumed run may have cut off what a buffer still holds
            file.seek(whole)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                number, whole = number + 1, whole + len(line)
                yield _event(line, f"{path}:{number}")
        if not follow():
            return
        clock.sleep(POLL_SECONDS)


def _opened(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as e:
        raise RunFailure(f"cannot read the events of this run: {e.strerror}", where=str(path)) from e


def _event(line: bytes, where: str) -> Event:
    try:
        record = json.loads(line)
        return KINDS.get(record["kind"], Event).model_validate(record)
    except (ValueError, LookupError, TypeError) as e:
        raise RunFailure(f"this line is no event: {e}", where=where, hint="delete the line") from e
