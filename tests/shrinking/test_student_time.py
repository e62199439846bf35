"""The students' time: what is left is shared so that whatever follows still fits, and decided once."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import assume, given
from hypothesis import strategies as st
from test_plan import BANKING, SMOLLM2, times_of

from lightbulb.pipeline.decisions import Decisions
from lightbulb.shrinking.cost_model import CANDIDATE_COST, CostModel
from lightbulb.shrinking.drafts import make_plan
from lightbulb.shrinking.kinds.base import Setting
from lightbulb.shrinking.student_time import StudentTime
from lightbulb.shrinking.time_budget import TimeBudget
from lightbulb.tasks.task import Task

SETTING = Setting(Task("t", "choose", "accuracy", (), (), (), ("a", "b")), "llamacpp")
PLAN = make_plan(times_of(2.0), SMOLLM2, BANKING, 3600)


def time_of(spent: float, slowdown: float = 1.0, folder: Path | None = None, plan=PLAN) -> StudentTime:
    folder = folder or Path(tempfile.mkdtemp())
    return StudentTime(plan, TimeBudget(Decisions(folder / "clock.json"), lambda: spent, 3600), slowdown, SETTING)


@given(st.sampled_from(PLAN.space.depths), st.floats(0, 4000), st.floats(0.8, 8))
def test_a_student_that_is_allowed_fits(layers, spent, slowdown):
    time = time_of(spent, slowdown)
    assume(time.allows_student(layers))
    epochs = time.plan_for(layers).distill_epochs
    assert BANKING.has_a_chance(epochs)
    assert CANDIDATE_COST * CostModel(PLAN.times, BANKING, slowdown).student(epochs, layers) <= time.left * 1.000001


@given(st.sampled_from(PLAN.space.depths), st.floats(0, 4000), st.floats(0.8, 8))
def test_no_training_takes_what_must_follow(layers, spent, slowdown):
    time = time_of(spent, slowdown)
    check = time.costs.check(layers)
    after = time.costs.recovery(time.plan_for(layers).distill_epochs, layers) + check
    assert time.training_seconds(layers) <= time.left - after + 1e-6
    assert time.recovery_seconds(layers) <= time.left - check + 1e-6


def test_a_slow_machine_shortens_students_and_then_has_none():
    epochs = [time_of(1500, slowdown).plan_for(2).distill_epochs for slowdown in (1, 2, 4)]
    assert epochs == sorted(epochs, reverse=True) and epochs[0] > epochs[-1]
    assert time_of(1500, 1).allows_student(2) and not time_of(3000, 8).allows_student(2)


def test_the_time_that_would_do_does(tmp_path):
    late = time_of(3000, 8)
    assert not late.allows_student(1) and late.enough_seconds() > 3600
    more = TimeBudget(Decisions(tmp_path / "clock.json"), lambda: 3000, late.enough_seconds() + 1)
    assert StudentTime(PLAN, more, 8, SETTING).allows_student(1)
    assert time_of(0, 1).enough_seconds() == 3600


def test_a_resumed_run_decides_alike(tmp_path):
    first = time_of(1000, 1.0, tmp_path)
    decided = [(first.plan_for(n).distill_epochs, first.allows_student(n), first.allows_student(n, 1)) for n in (1, 2)]
    later = time_of(3500, 1.0, tmp_path)
    assert [
        (later.plan_for(n).distill_epochs, later.allows_student(n), later.allows_student(n, 1)) for n in (1, 2)
    ] == decided
    assert not later.allows_student(3)
