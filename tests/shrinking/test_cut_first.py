"""The source that is cut before it learns: when it is planned, what it competes with, and what is cut from it."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pretended import PLAN, Patient, Pretended, choose, scores, with_space
from test_plan import SMOLLM2, times_of

from lightbulb.core.errors import GoalError
from lightbulb.pipeline.decisions import Decisions
from lightbulb.shrinking.candidate import CUT_FIRST, Candidate, Trial
from lightbulb.shrinking.cost_model import TaskStats
from lightbulb.shrinking.drafts import FEW_EPOCHS, RIVAL_EPOCHS, RIVAL_SHARE, make_plan
from lightbulb.shrinking.evaluation import student_steps
from lightbulb.shrinking.kinds.base import Setting
from lightbulb.shrinking.plan import Plan
from lightbulb.shrinking.student_time import StudentTime
from lightbulb.shrinking.time_budget import TimeBudget
from lightbulb.tasks.task import Task

WRITING = TaskStats("generate", 10_000, 1000, 30_000, 900, 19.0)
SLOW = times_of(3.3, answer=0.1)
FIRST = with_space(PLAN, cut_first=4).model_copy(update={"cut_first_epochs": 1.5})


def plans(seconds: float, stats: TaskStats = WRITING, **options) -> tuple[Plan, Plan]:
    """Without a rival, and with one where that is worth it."""
    return tuple(make_plan(SLOW, SMOLLM2, stats, seconds, cut_first=cut, **options) for cut in (False, True))


@pytest.mark.parametrize("seconds", [900, 1200, 1800, 7200, 20_000])
def test_no_rival_of_a_teacher_that_learns_enough_or_where_it_has_no_chance(seconds):
    alone, plan = plans(seconds)
    assert plan == alone and plan.space.cut_first is None and "source cut to" not in " ".join(plan.lines)


@pytest.mark.parametrize("seconds", [2400, 3000, 3600])
def test_a_teacher_of_few_epochs_shares_its_time_with_a_rival(seconds):
    alone, plan = plans(seconds)
    assert alone.teacher_epochs < FEW_EPOCHS
    assert f"source cut to {plan.space.cut_first} of 30 layers" in " ".join(plan.lines)
    assert plan.teacher_seconds + plan.cut_first_seconds == pytest.approx(alone.teacher_seconds, rel=0.02)
    assert plan.teacher_seconds <= (1 - RIVAL_SHARE) * alone.teacher_seconds
    wider = [n for n in plan.space.depths if n > plan.space.cut_first]
    assert all(plan.costs.epochs_within(plan.cut_first_seconds, n) < RIVAL_EPOCHS for n in wider)
    assert plan.space.methods == ("plain",) and plan.logits_seconds == 0
    assert plan.student_seconds >= alone.student_seconds


@given(st.floats(600, 20_000), st.floats(0.1, 10), st.integers(300, 40_000), st.sampled_from(["generate", "text"]))
def test_a_plan_with_a_rival_fits_its_time(seconds, step, examples, kind):
    stats = TaskStats(kind, examples, 1000, 30_000, 300, 10.0)
    try:
        plan = make_plan(times_of(step), SMOLLM2, stats, seconds, cut_first=True)
    except GoalError:
        assume(False)
    planned = plan.teacher_seconds + plan.cut_first_seconds + plan.student_seconds
    assert planned + plan.check_seconds + plan.logits_seconds + plan.proof_seconds <= seconds * 1.001
    if plan.space.cut_first is not None:
        assert stats.has_a_chance(plan.cut_first_epochs)


def test_no_rival_of_a_choice_or_of_an_elastic_teacher():
    choosing = TaskStats("choose", 10_000, 1000, 30_000, 900, 1.0)
    for stats, elastic in ((choosing, False), (WRITING, True)):
        for seconds in (3600, 7200, 14_400):
            alone, plan = plans(seconds, stats, elastic=elastic)
            assert plan == alone and plan.space.cut_first is None


def test_it_is_cut_from_the_source_and_hears_no_teacher():
    steps, _ = student_steps(Patient(FIRST), "llamacpp")(Trial(Candidate(layers=4, method=CUT_FIRST), "trained"))
    trimmed, cut, trained, _ = steps
    assert (trimmed.source, cut.source, trained.source) == ("formatted", "source-trimmed", "source-4")
    assert trained.pass_ == "adapt" and trained.parameters["schedule"]["epochs"] == 1.5 and trained.inputs == {}


def test_students_are_cut_from_it_where_it_beats_the_teacher():
    execution = Pretended(scores(teacher=0.6, probe=0.85, student_1=0.5))
    choice, said = choose(execution, FIRST)
    assert choice.candidate == Candidate(layers=2, of=4, method="plain", quant_type="q4_0")
    assert choice.candidate.name == "student, 2 layers of 4, q4_0"
    assert choice.files == (choice.candidate, Candidate(layers=4, method=CUT_FIRST, quant_type="q4_0"))
    assert {"pruned-1-of-4", "probe-1-of-4-plain", "student-2-of-4-plain"} <= set(execution.performed)
    assert not any(label.startswith(("pruned-1-", "pruned-2-")) and "of" not in label for label in execution.performed)
    assert any("better than the whole teacher" in line for line in said)


def test_it_is_the_reference_where_it_beats_the_teacher():
    """Nine tenths of the teacher are 0.54: enough beside it, and too little beside the 0.9 of what was cut first."""
    table = scores(teacher=0.6, probe=0.6, student_1=0.58, student_2=0.58)
    assert choose(Pretended(table), keep=0.9)[0].candidate.layers == 1
    choice, _ = choose(Pretended(table), FIRST, keep=0.9)
    assert choice.candidate == Candidate(layers=4, method=CUT_FIRST, quant_type="q4_0")
    assert choice.files == (choice.candidate,)


def test_the_teacher_stays_where_it_is_better():
    execution = Pretended(scores(teacher=0.9, cut_first=0.5, student_1=0.5))
    choice, said = choose(execution, FIRST)
    assert choice.candidate == Candidate(layers=2, method="distill", quant_type="q4_0")
    assert choice.files == (choice.candidate,) and "student-4-cut-first-q4_0" not in execution.made
    assert not any("better than the whole teacher" in line for line in said)
    reasons = [o.why for o in choice.tried if o.trial.candidate.method == CUT_FIRST]
    assert "back off" in reasons[-1]


def test_as_good_as_the_teacher_it_is_handed_out_unless_fewer_layers_hold():
    choice, _ = choose(Pretended(scores(probe=0.1)), FIRST)
    assert choice.candidate == Candidate(layers=4, method=CUT_FIRST, quant_type="q4_0")
    choice, _ = choose(Pretended(scores()), FIRST)
    assert choice.candidate == Candidate(layers=1, method="distill", quant_type="q4_0")


def test_it_is_made_narrower_where_it_is_what_holds():
    plan = with_space(FIRST, feed_forwards=(0.5,))
    execution = Pretended(scores(probe=0.1))
    choice, _ = choose(execution, plan)
    assert choice.candidate.label == "student-4-ff50-cut-first-q4_0"
    assert choice.files[1] == Candidate(layers=4, method=CUT_FIRST, quant_type="q4_0")


def test_only_where_there_is_time_which_is_decided_once(tmp_path):
    plan = plans(2400)[1]
    rival = Candidate(layers=plan.space.cut_first, method=CUT_FIRST)
    setting = Setting(Task("t", "generate", "chrf", (), (), ()), "llamacpp")

    def time(spent: float, folder: str) -> StudentTime:
        (tmp_path / folder).mkdir(exist_ok=True)
        clock = TimeBudget(Decisions(tmp_path / folder / "clock.json"), lambda: spent, 2400)
        return StudentTime(plan, clock, 1.0, setting)

    early = time(600, "early")
    assert early.allows_cut_first(rival)
    assert early.cut_first_seconds(rival.layers) <= early.training_seconds(rival.layers)
    assert time(2300, "early").allows_cut_first(rival), "a resumed run decides as it did"
    assert not time(2300, "late").allows_cut_first(rival)
    strategy_without = Pretended(scores(plain=0.5))
    patient = Patient(FIRST)
    patient.allows_cut_first = lambda candidate: False
    choose(strategy_without, FIRST, time=patient)
    assert not any("cut-first" in label for label in strategy_without.performed)
