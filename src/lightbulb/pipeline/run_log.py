"""What a run tells of its steps, kept in its folder from the first step on."""

from __future__ import annotations

from pathlib import Path

from lightbulb.core.artifact import Artifact
from lightbulb.core.events import (
    EVENTS,
    EventFile,
    Measured,
    RunFinished,
    RunResumed,
    RunStarted,
    StepFinished,
    StepFound,
    StepStarted,
    Stream,
)
from lightbulb.core.files import plain_os_errors
from lightbulb.core.version import __version__
from lightbulb.pipeline.ledger import Cost
from lightbulb.tasks.task import Task


class RunLog:
    """The events of a run and of its steps.

    Args:
        folder: of the run
        events: where they are told
    """

    def __init__(self, folder: Path, events: Stream):
        self._folder, self._events = folder, events
        self._file: EventFile | None = None

    def open(self, task: Task, seed: int, threads: int) -> None:
        """Opens the file of events when the first step is asked for: a run that is found done changes nothing."""
        if self._file is not None:
            return
        place, found = self._folder / EVENTS, len(list((self._folder / "steps").iterdir()))
        begun = RunResumed if found > 0 or place.exists() else RunStarted
        with plain_os_errors(place):
            self._file = EventFile(place)
        self._events.subscribe(self._file)
        self._events.emit(
            begun(
                task=task.name,
                fingerprint=task.fingerprint,
                seed=seed,
                threads=threads,
                version=__version__,
                found=found,
            )
        )

    def step_found(self, label: str, found: Artifact) -> None:
        self._events.emit(StepFound(label=label, key=found.key, made_by=found.made_by, makes=found.kind))

    def step_started(self, label: str, key: str, made_by: str) -> None:
        self._events.emit(StepStarted(label=label, key=key, made_by=made_by))

    def step_finished(self, label: str, made: Artifact, cost: Cost) -> None:
        self._events.emit(
            StepFinished(
                label=label,
                key=made.key,
                made_by=made.made_by,
                makes=made.kind,
                seconds=cost.seconds,
                cpu_seconds=cost.cpu_seconds,
                joules=cost.joules,
                attempts=cost.attempts,
            )
        )
        for name, figure in made.figures().items():
            self._events.emit(Measured(label=label, name=name, figure=figure))

    def close(self, error: BaseException | None) -> None:
        """The end of the run, where it was begun. error: what it ended with."""
        if self._file is None:
            return
        self._events.emit(_end_of_run(error))
        self._events.unsubscribe(self._file)
        self._file.close()


def _end_of_run(error: BaseException | None) -> RunFinished:
    if error is None:
        return RunFinished(outcome="done")
    text = str(error) or type(error).__name__
    return RunFinished(outcome="failed" if isinstance(error, Exception) else "interrupted", error=text)
