"""Trials carried out side by side by processes of their own: the same steps, keys and bytes as one after the other,
but for trainings that the clock shortened.

A worker performs its steps in a run folder of its own, below that of the search. What it has finished is moved there,
where the search then finds it as done; so is what the clock shortened. A worker that fails is not asked again: the
search meets the same failure itself, or does the work.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lightbulb.core.artifact import Artifact
from lightbulb.core.files import read_json, write_json
from lightbulb.core.progress import Silent
from lightbulb.energy.meter import Meter
from lightbulb.pipeline.recipe import START, Execution, Step
from lightbulb.pipeline.run import CLOCK, Run
from lightbulb.tasks.stored import read_task

FOLDER = "workers"
REQUEST = "request.json"
LOOK_SECONDS = 0.2
TRAINS = ("adapt", "distill", "quantize")  # passes that can do less


class Request(BaseModel):
    """What a worker does.

    Attributes:
        task: folder of the task, as a run keeps it
        seed: of every step
        threads: of the processor
        made: folders of the artifacts that its steps read, by label
        steps: that it performs
        seconds: that each training may take
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Path
    seed: int
    threads: int
    made: dict[str, Path]
    steps: tuple[Step, ...]
    seconds: float


def perform_side_by_side(
    execution: Execution, jobs: Mapping[str, tuple[Sequence[Step], float]], workers: int, task: Artifact
) -> float:
    """Performs the steps of jobs, `workers` at a time; afterwards they are found as done.

    Args:
        execution: of the search
        jobs: steps and the seconds of a training, by name
        workers: how many processes
        task: the task that the run keeps

    Returns:
        By how many seconds the steps took longer than the clock went on.
    """
    run, began, taken = execution.run, time.monotonic(), 0.0
    place = run.folder / FOLDER
    waiting = list(jobs.items())
    working: dict[str, subprocess.Popen[bytes]] = {}
    with run.progress.bar("trials side by side", len(waiting)) as advance, _ended(working):
        done = 0
        while waiting or working:
            while waiting and len(working) < workers:
                name, (steps, seconds) = waiting.pop(0)
                working[name] = _start(execution, place / name, steps, seconds, task)
            time.sleep(LOOK_SECONDS)
            for name in [n for n, process in working.items() if process.poll() is not None]:
                working.pop(name)
                taken += _collect(run, place / name)
                advance(done := done + 1, name)
    shutil.rmtree(place, ignore_errors=True)
    return max(0.0, taken - (time.monotonic() - began))


def _start(
    execution: Execution, folder: Path, steps: Sequence[Step], seconds: float, task: Artifact
) -> subprocess.Popen[bytes]:
    run = execution.run
    folder.mkdir(parents=True, exist_ok=True)
    needed = {label for s in steps for label in (s.source or START, *s.inputs.values())} - {s.label for s in steps}
    request = Request(
        task=task.path.resolve(),
        seed=run.seed,
        threads=run.threads,
        made={label: execution.made[label].path.resolve() for label in sorted(needed)},
        steps=tuple(steps),
        seconds=seconds,
    )
    write_json(folder / REQUEST, request.model_dump(mode="json", by_alias=True))
    command = [sys.executable, "-m", "lightbulb.searching.workers", str(folder)]
    silent = subprocess.DEVNULL  # what a worker fails at the search meets again, and says
    return subprocess.Popen(command, stdin=silent, stdout=silent, stderr=silent)


def _collect(run: Run, folder: Path) -> float:
    """Moves what a worker has finished, and what the clock decided there, into the run; the seconds it took."""
    own, taken = folder / "run", 0.0
    if (own / CLOCK).exists():
        for name, value in read_json(own / CLOCK).items():
            run.decisions.put(name, value, "a worker was shortened")
    for finished in sorted((own / "steps").glob("[!.]*")):
        if (cost := run.adopt(finished)) is not None:
            taken += cost.seconds
    return taken


def perform_trial(execution: Execution, steps: Sequence[Step], seconds: float) -> Artifact:
    """Performs the steps of a trial, its training in the seconds that it may take; what the last one made."""
    for s in steps:
        last = execution.perform(s, seconds=seconds if s.pass_ in TRAINS else None)
    return last


@contextmanager
def _ended(working: Mapping[str, subprocess.Popen[bytes]]) -> Iterator[None]:
    """Workers do not outlive the search."""
    try:
        yield
    finally:
        for process in working.values():
            process.terminate()
        for process in working.values():
            process.wait()


def work(folder: Path) -> None:
    """Performs what `folder`/request.json asks for."""
    request = Request.model_validate(read_json(folder / REQUEST))
    made = {label: Artifact.read(path) for label, path in request.made.items()}
    meter = Meter()
    try:
        with Run(
            folder / "run",
            read_task(request.task),
            seed=request.seed,
            progress=Silent(),
            meter=meter,
            threads=request.threads,
        ) as run:
            execution = Execution(run, next(iter(made.values())))
            execution.made |= made
            perform_trial(execution, request.steps, request.seconds)
    finally:
        meter.close()


if __name__ == "__main__":
    work(Path(sys.argv[1]))
