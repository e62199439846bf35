"""Trainings that are shortened while they run: the schedule, the decision, and the bytes of a resumed one."""

from __future__ import annotations

import json

import pytest
from conftest import tiny_task
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lightbulb.core.artifact import Artifact
from lightbulb.core.files import sha256_of_file
from lightbulb.core.progress import Silent
from lightbulb.energy.meter import Meter
from lightbulb.passes.adapt import Adapt
from lightbulb.passes.format_task import FormatTask
from lightbulb.pipeline.recipe import Execution, step
from lightbulb.pipeline.run import Run
from lightbulb.testing import Stop, Stopped, frequent_checkpoints
from lightbulb.train import loop
from lightbulb.train.loop import Schedule, Timekeeper


def schedule(*cuts: tuple[int, int]) -> Schedule:
    return Schedule(epochs=1, learning_rate=1.0, cuts=cuts)


@given(st.integers(20, 400), st.lists(st.floats(0.05, 0.95), min_size=2, max_size=6))
def test_a_cut_schedule_goes_on_where_it_was_and_comes_down_to_zero(planned, shares):
    cut, at, steps = schedule(), 0, planned
    for where, how_much in zip(shares[::2], shares[1::2], strict=False):
        at = at + max(1, int(where * (steps - at)))
        shorter = at + max(1, int(how_much * (steps - at)))
        if at >= steps or shorter >= steps:
            break
        before = cut
        cut = cut.cut(at, steps := shorter)
        assert Schedule(**cut.model_dump(mode="json")) == cut
        assert cut.rate(at, planned) == pytest.approx(before.rate(at, planned))
        assert [cut.rate(s, planned) for s in range(at)] == [before.rate(s, planned) for s in range(at)]
    rates = [cut.rate(s, planned) for s in range(steps)]
    top = rates.index(max(rates))
    assert rates[top:] == sorted(rates[top:], reverse=True) and rates == [max(0.0, r) for r in rates]
    assert cut.rate(steps, planned) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("cuts", [[(5, 5)], [(5, 9), (4, 8)], [(5, 9), (5, 8)], [(-1, 3)]])
def test_cuts_come_one_after_the_other(cuts):
    with pytest.raises(ValidationError, match="a cut"):
        schedule(*cuts)


class Machine:
    """A clock that a training of `seconds(step)` a step moves on."""

    def __init__(self, monkeypatch, seconds, budget):
        self.now, self.seconds, self.budget = 100.0, seconds, budget
        monkeypatch.setattr(loop.time, "monotonic", lambda: self.now)

    def trains(self, steps: int, cut: Schedule, start: int = 0) -> tuple[int, Schedule, list[Schedule]]:
        decided: list[Schedule] = []
        timekeeper = Timekeeper(lambda: self.budget - (self.now - 100.0), decided.append)
        done, ends = start, cut.cuts[-1][1] if cut.cuts else steps
        while done < ends:
            self.now += self.seconds(done)
            done += 1
            cut = timekeeper.look(cut, done, ends, steps)
            ends = cut.cuts[-1][1] if cut.cuts else steps
        return done, cut, decided


def test_nothing_is_decided_while_the_pace_is_as_planned(monkeypatch):
    machine = Machine(monkeypatch, lambda step: 1.0, 103.0)
    assert machine.trains(100, schedule()) == (100, schedule(), [])


@pytest.mark.parametrize("slow_from", [0, 10, 50, 90])
@pytest.mark.parametrize("times", [1.5, 3.0, 10.0])
def test_a_slow_machine_ends_in_time(monkeypatch, slow_from, times):
    machine = Machine(monkeypatch, lambda step: times if step >= slow_from else 1.0, 100.0)
    done, cut, decided = machine.trains(100, schedule())
    assert done < 100 and decided[-1] == cut
    assert machine.now - 100 <= 100 + loop.LOOK_SECONDS + 2 * times + loop.TOLERATED * 100
    assert cut.rate(done, 100) == pytest.approx(0, abs=1e-9)


def test_a_moment_of_load_costs_little(monkeypatch):
    """Ten steps that take three times as long: twenty seconds are gone, and when they are over nothing more is."""
    machine = Machine(monkeypatch, lambda step: 3.0 if 40 <= step < 50 else 1.0, 280.0)
    done, cut, decided = machine.trains(280, schedule())
    assert decided and done >= 245 and cut.rate(done, 280) == pytest.approx(0, abs=1e-9)


def test_what_was_decided_before_a_kill_is_not_decided_again(monkeypatch):
    """A resumed training that stands before its last cut goes there first, however late it is."""
    machine = Machine(monkeypatch, lambda step: 10.0, 1.0)
    done, cut, decided = machine.trains(100, schedule((50, 52)), start=20)
    assert (done, cut, decided) == (52, schedule((50, 52)), [])


@pytest.fixture
def formatted(imported, tmp_path):
    """(a run's opener, the framed model): a training of 40 steps whose clock says that half of them are too many."""
    task = tiny_task("generate", 60)

    def opened(folder: str, progress=None) -> Run:
        run = Run(tmp_path / folder, task, seed=0, progress=progress or Silent(), meter=Meter((), threads=1), threads=1)
        return run

    with opened("framing") as run:
        model = run.step("formatted", FormatTask(), imported)
    return opened, model


ADAPT = Adapt(schedule=Schedule(epochs=8, learning_rate=1e-3, batch_size=8))


def adapted(run: Run, model: Artifact, seconds: float | None) -> tuple[Artifact, dict]:
    execution = Execution(run, model)
    made = execution.perform(step("teacher", ADAPT, "model"), seconds=seconds)
    return made, execution.steps["teacher"].parameters


@pytest.fixture
def impatient(monkeypatch):
    """A look at the clock after every step; only what a budget says counts."""
    monkeypatch.setattr(loop, "LOOK_SECONDS", 0.0)


def test_the_recipe_says_what_was_performed_and_makes_the_same_bytes(formatted, impatient):
    opened, model = formatted
    with opened("shortened") as run:
        made, parameters = adapted(run, model, seconds=0.0)
        assert made.facts["steps"] < 48 and parameters["schedule"]["cuts"]
        assert not any((run.folder / "scratch").glob("*"))
    performed = Adapt(**parameters)
    with opened("again") as run:
        again = run.step("teacher", performed, model)
    assert again.key == made.key and sha256_of_file(again.path / "model.safetensors") == sha256_of_file(
        made.path / "model.safetensors"
    )
    with opened("shortened") as run:
        found, _ = adapted(run, model, seconds=1e9)
        assert run.resumed == 1 and found == made
    with opened("whole") as run:
        whole, parameters = adapted(run, model, seconds=1e9)
    assert whole.facts["steps"] == 48 and "cuts" not in parameters["schedule"] and whole.key != made.key


@pytest.mark.parametrize("after", [2, 12, 19])
def test_a_training_killed_around_a_cut_ends_with_the_bytes_of_its_recipe(formatted, impatient, monkeypatch, after):
    """The cut comes after 15 steps; the kill before it, after it with a checkpoint from before, or near its end."""
    opened, model = formatted
    calls = []

    def affordable(self, now, step):
        calls.append(step)
        return 25 - step if step >= 15 else 1000

    monkeypatch.setattr(Timekeeper, "_affordable", affordable)
    with frequent_checkpoints():
        if after == 12:
            monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.05)  # so that a checkpoint lies some steps back
        with pytest.raises(Stopped), opened("killed", Stop(after)) as run:
            adapted(run, model, seconds=1e9)
        with opened("killed") as run:
            made, parameters = adapted(run, model, seconds=1e9)
    assert parameters["schedule"]["cuts"] == [[15, 25]] and made.facts["steps"] == 25
    assert json.loads((run.folder / "clock.json").read_text())
    monkeypatch.setattr(Timekeeper, "_affordable", lambda self, now, step: 1000)
    with opened("straight") as run:
        straight = run.step("teacher", Adapt(**parameters), model)
    assert straight.key == made.key
    weights = [sha256_of_file(a.path / "model.safetensors") for a in (made, straight)]
    assert weights[0] == weights[1]
