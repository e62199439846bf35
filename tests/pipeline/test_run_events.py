"""What a run tells: its steps, their cost and figures, what was decided; over kills, and only where it works."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from conftest import tiny_task

from lightbulb.core.artifact import Artifact
from lightbulb.core.events import EVENTS, Message, Stream, WorkStarted, read_events
from lightbulb.core.figures import Figure
from lightbulb.core.progress import Reporter
from lightbulb.energy.meter import Meter
from lightbulb.passes.base import Pass
from lightbulb.pipeline.run import Run


class Scored(Pass):
    name: ClassVar[str] = "scored"
    makes: ClassVar = "figures"
    fails: bool = False

    def apply(self, source, out, context) -> dict[str, Any]:
        with context.progress.bar("score", 2) as advance:
            advance(1, "half")
        if self.fails:
            raise ValueError("as asked")
        score = Figure(value=0.5, low=0.4, high=0.6, unit="accuracy").model_dump()
        return {"score": score, "student": {"seconds_per_answer": score}, "items": 4}


@pytest.fixture
def opened(tmp_path):
    def run() -> Run:
        meter, events = Meter((), threads=1), Stream()
        progress = Reporter(events, meter.spent, threads=False)
        return Run(
            tmp_path / "run", tiny_task("choose", 20), seed=3, progress=progress, meter=meter, threads=1, events=events
        )

    return run


SOURCE = {"kind": "model", "key": "source", "made_by": "test"}


def kinds(tmp_path) -> list[str]:
    return [e.kind for e in read_events(tmp_path / "run" / EVENTS)]


def test_a_step_is_told_from_its_beginning_to_its_figures(opened, tmp_path):
    with opened() as run:
        made = run.step("test", Scored(), Artifact(path=tmp_path, **SOURCE))
        run.decisions.decide_once("items", lambda: 7, lambda: "so it was asked")
    found = list(read_events(tmp_path / "run" / EVENTS))
    assert kinds(tmp_path) == [
        "run.started",
        "step.started",
        "work.started",
        "work.started",
        "work.finished",
        "work.finished",
        "step.finished",
        "figure",
        "figure",
        "decision",
        "run.finished",
    ]
    begun, finished = found[0], found[6]
    assert (begun.task, begun.fingerprint, begun.seed) == ("tiny-choose", run.task.fingerprint, 3)
    assert [e.path for e in found if isinstance(e, WorkStarted)] == [("test",), ("test", "score")]
    assert (finished.label, finished.key, finished.makes) == ("test", made.key, "figures")
    cost = run.cost(made)
    assert (finished.seconds, finished.joules, finished.attempts) == (cost.seconds, cost.joules, 1)
    assert {e.name: e.figure.value for e in found[7:9]} == {"score": 0.5, "student.seconds_per_answer": 0.5}
    assert (found[9].by, found[9].what, found[9].value, found[9].why) == ("clock", "items", 7, "so it was asked")
    assert found[-1].outcome == "done"
    assert [e.time for e in found] == sorted(e.time for e in found)


def test_a_run_that_fails_says_so_and_its_next_attempt_goes_on(opened, tmp_path):
    with opened() as run:
        run.step("test", Scored(), Artifact(path=tmp_path, **SOURCE))
    with pytest.raises(ValueError), opened() as run:
        run.step("test", Scored(), Artifact(path=tmp_path, **SOURCE))
        run.step("bad", Scored(fails=True), Artifact(path=tmp_path, **SOURCE))
    with pytest.raises(KeyboardInterrupt), opened() as run:
        run.step("test", Scored(), Artifact(path=tmp_path, **SOURCE))
        raise KeyboardInterrupt
    found = list(read_events(tmp_path / "run" / EVENTS))
    assert [e.found for e in found if e.kind == "run.resumed"] == [1, 1]
    assert [(e.outcome, e.error) for e in found if e.kind == "run.finished"] == [
        ("done", ""),
        ("failed", "as asked"),
        ("interrupted", "KeyboardInterrupt"),
    ]
    assert [e.label for e in found if e.kind == "step.found"] == ["test", "test"]


def test_a_killed_process_leaves_whole_lines(opened, tmp_path):
    """A process that ends without a word: the next one goes on behind its last whole line."""
    with opened() as run:
        run.step("test", Scored(), Artifact(path=tmp_path, **SOURCE))
    place = tmp_path / "run" / EVENTS
    before = place.read_bytes()
    place.write_bytes(before + b'{"time": 17')
    with opened() as run:
        run.step("test", Scored(), Artifact(path=tmp_path, **SOURCE))
    assert place.read_bytes().startswith(before)
    assert kinds(tmp_path)[-3:] == ["run.resumed", "step.found", "run.finished"]


def test_a_run_that_asks_for_no_step_leaves_the_file_alone(opened, tmp_path):
    with opened() as run:
        run.events.emit(Message(text="nothing to do"))
    assert not (tmp_path / "run" / EVENTS).exists()


def test_events_are_in_no_key(opened, tmp_path):
    with opened() as run:
        key = run.key(Scored(), "source", {})
        run.step("test", Scored(), Artifact(path=tmp_path, **SOURCE))
        assert run.key(Scored(), "source", {}) == key
