"""The search on an execution that only pretends: decisions and time, without training anything."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pretended import NARROW, PLAN, Patient, Pretended, choose, scores, with_space
from test_plan import SMOLLM2, times_of

from lightbulb.core.errors import GoalError, RunFailure
from lightbulb.pipeline.decisions import Decisions
from lightbulb.shrinking.candidate import Candidate, Trial
from lightbulb.shrinking.cost_model import TaskStats
from lightbulb.shrinking.drafts import make_plan
from lightbulb.shrinking.evaluation import student_steps
from lightbulb.shrinking.kinds.base import Setting
from lightbulb.shrinking.plan import Shape
from lightbulb.shrinking.steps import TEACHER, teacher_steps
from lightbulb.shrinking.student_time import StudentTime
from lightbulb.shrinking.time_budget import TimeBudget
from lightbulb.tasks.task import Example, Task


def test_takes_the_boldest_that_holds():
    execution = Pretended(scores(plain=0.5))
    choice, _ = choose(execution)
    assert choice.candidate.label == "student-1-distill-q4_0"
    assert choice.candidate == Candidate(layers=1, method="distill", quant_type="q4_0")
    assert not any("-2" in label or "-4" in label for label in execution.performed)
    assert [t.trial.name for t in choice.tried if t.chosen] == ["1 layer, distill, q4_0"]


def test_backs_off_a_probe_that_is_too_far_below():
    execution = Pretended(scores(probe_1=0.3, student_1=0.9))
    choice, said = choose(execution)
    assert choice.candidate.layers == 2 and "student-1-distill" not in execution.made
    assert any("back off" in line for line in said)


@pytest.mark.parametrize("probe, goes_on", [(0.60, True), (0.40, False)])
def test_a_probe_is_judged_by_what_training_may_still_add(probe, goes_on):
    """keep 0.9 of 0.9 is 0.81: four fifths of the way from 0.6 to 0.9 is above it, from 0.4 below."""
    execution = Pretended(scores(probe_1=probe, student_1=0.9))
    choice, _ = choose(execution, keep=0.9)
    assert any(label.startswith("student-1-") for label in execution.made) == goes_on
    assert choice.candidate.layers == (1 if goes_on else 2)


def test_backs_off_a_student_that_does_not_hold_when_exported():
    execution = Pretended(scores(student_1=0.5))
    choice, _ = choose(execution)
    assert choice.candidate.layers == 2
    assert "student-1-distill-q8_0" not in execution.made  # it did not hold before rounding either


def test_a_finer_grid_when_only_rounding_hurts():
    choice, _ = choose(Pretended(scores(q4_0=0.5)))
    assert choice.candidate.quant_type == "q8_0" and choice.candidate.layers == 1


def test_no_finer_grid_without_time_for_it():
    time, execution = Patient(), Pretended(scores(q4_0=0.5))
    time.allows_another_type = lambda layers: False
    choose(execution, time=time)
    assert "student-1-distill-q4_0" in execution.made and "student-1-distill-q8_0" not in execution.made


@pytest.mark.parametrize(
    "holding, taken, tried",
    [
        ({}, "student-1-ff25-distill-q4_0", {"student-1-ff50-distill", "student-1-ff25-distill"}),
        ({"ff25": 0.5}, "student-1-ff50-distill-q4_0", {"student-1-ff50-distill", "student-1-ff25-distill"}),
        ({"ff50": 0.5}, "student-1-distill-q4_0", {"student-1-ff50-distill"}),
        ({"student-1-ff50-distill-q4_0": 0.5}, "student-1-distill-q4_0", {"student-1-ff50-distill"}),
    ],
)
def test_a_student_that_holds_is_made_narrower_as_long_as_it_holds(holding, taken, tried):
    execution = Pretended(scores(**holding))
    choice, _ = choose(execution, NARROW)
    assert choice.candidate.label == taken and choice.files == (choice.candidate,)
    assert {label for label in execution.performed if "-ff" in label and label.endswith("distill")} == tried
    assert [o.trial.candidate.label for o in choice.tried if o.chosen] == [taken]


def test_a_narrower_student_goes_on_from_the_wider_one():
    narrower = Candidate(layers=4, feed_forward=0.5, method="distill", quant_type="q4_0")
    assert narrower.name == "student, 4 layers, feed-forward 1/2, q4_0"
    cut, trained, _ = student_steps(Patient(NARROW), "llamacpp")(Trial(narrower.in_type(None), "trained"))[0]
    assert (cut.source, cut.pass_, cut.parameters) == ("student-4-distill", "prune-width", {"feed_forward": 0.5})
    assert trained.source == cut.label == "student-4-ff50-distill-cut"
    assert trained.parameters["schedule"]["epochs"] == 0.5 * PLAN.distill_epochs
    assert NARROW.model_copy(update={"shape": replace(SMOLLM2, feed_forward_share=0.75)}).shape.worth(narrower) == 2.5


def test_no_narrower_one_without_time_for_it():
    class Short(Patient):
        def allows_narrower(self, candidate):
            return False

    choice, _ = choose(Pretended(scores()), NARROW, time=Short(NARROW))
    assert choice.candidate.label == "student-1-distill-q4_0"


def test_plain_training_is_always_a_candidate_and_wins_when_it_is_surely_better():
    execution = Pretended(scores(distill=0.88))
    choice, said = choose(execution)
    assert {"probe-1-distill", "probe-1-plain"} <= set(execution.performed)
    assert choice.candidate.method == "plain" and any("do not help" in line for line in said)
    assert sum(label.startswith("probe") and label.endswith("plain") for label in execution.performed) == 1


@pytest.mark.parametrize("gain, method", [(0.01, "distill"), (-0.004, "distill"), (-0.006, "plain")])
def test_plain_training_must_win_by_a_standard_error(gain, method):
    """The interval of these scores is 0.02 wide, which is 3.92 standard errors."""
    choice, _ = choose(Pretended(scores(distill=0.9 + gain)))
    assert choice.candidate.method == method


def test_nothing_holds_so_the_best_is_taken():
    choice, _ = choose(Pretended(scores(teacher=0.9, probe=0.1, student_4=0.5)))
    assert choice.candidate.layers == 4 and [t.trial.candidate.layers for t in choice.tried if t.chosen] == [4]


def test_within_noise_of_the_floor_is_not_enough():
    floor = 0.9 * 0.95
    assert choose(Pretended(scores(teacher=0.9, student_1=floor + 0.001)))[0].candidate.layers == 2
    assert choose(Pretended(scores(teacher=0.9, student_1=floor + 0.01)))[0].candidate.layers == 1


def test_where_lower_is_better():
    execution = Pretended(scores(teacher=1.0, probe=1.05, student_1=1.3, student_2=1.02))
    choice, _ = choose(execution, metric="bits-per-byte")
    assert choice.candidate.layers == 2


def test_no_time_for_a_wider_one_makes_the_best_of_the_boldest():
    execution = Pretended(scores(probe=0.1, student=0.2))
    choice, _ = choose(execution, time=Patient(allows=lambda layers, after: layers == 1 and after is None))
    assert choice.candidate.layers == 1 and not any("probe-2" in label for label in execution.performed)


def test_f16_when_the_widths_fit_no_blocks():
    execution = Pretended(scores(plain=0.1))
    choice, _ = choose(execution, with_space(PLAN, quant_types=("f16",)))
    assert choice.candidate.label == "student-1-distill" and choice.candidate.quant_type == "f16"
    assert "student-1-distill-gguf" in execution.made and not any("q4_0" in label for label in execution.performed)
    assert [t.trial.name for t in choice.tried if t.chosen] == ["1 layer, distill, f16"]


@pytest.mark.parametrize("plan", [PLAN, with_space(PLAN, depths=())])
def test_no_student_where_none_has_a_chance(plan):
    execution = Pretended(scores())
    choice, _ = choose(execution, plan, time=Patient(plan, allows=lambda layers, after: False))
    assert choice.candidate is None and "about 21 minutes would do" in choice.why and choice.tried == ()
    assert not any("student" in label or "probe" in label for label in execution.performed)


@settings(max_examples=300)
@given(
    st.integers(2, 40),
    st.sampled_from(["choose", "generate"]),
    st.floats(200, 20_000),
    st.floats(0.01, 10),
    st.floats(0.0005, 0.5),
    st.floats(0.5, 6),
    st.floats(0.5, 6),
    st.randoms(use_true_random=False),
)
def test_never_over_the_time_by_more_than_a_tenth(layers, kind, max_seconds, step, answer, slow, slower, rng):
    """Steps that take `slow` times what the plan says until the teacher is done, and `slower` times after; trainings
    end with their budget, as the timekeeper sees to; scores by chance. Only what no budget bounds may be late."""
    shape, stats = Shape(layers, 3_000_000, 50_000, 576), TaskStats(kind, 5000, 1000, 20_000, 500, 10.0)
    times = times_of(step, layers, answer)
    try:
        plan = make_plan(times, shape, stats, max_seconds)
    except GoalError:
        assume(False)
    unbounded = [0.0]

    def seconds(s) -> float:
        n = int(s.label.split("-")[1]) if s.label.split("-")[0] in ("probe", "student") else layers
        if s.pass_ in ("adapt", "distill", "quantize"):
            schedule = s.build().recover if s.pass_ == "quantize" else s.build().schedule
            one = (
                times.teacher_step(plan.freeze_layers, plan.teacher_epochs)
                if s.label == TEACHER
                else times.student_step(n)
            )
            return slowdown() * stats.steps(schedule.epochs) * one * (1.5 if s.pass_ == "quantize" else 1)
        taken = slowdown() * (plan.check_seconds * times.share(n) if s.pass_ == "evaluate" else 1.0)
        taken += slowdown() * plan.logits_seconds if s.pass_ == "teacher-logits" else 0.0
        unbounded[0] += taken
        return taken

    def slowdown() -> float:
        return slow if TEACHER not in execution.made else slower

    execution = Pretended(lambda label: rng.choice([0.2, 0.7, 0.85, 0.9]), seconds)
    execution.perform(teacher_steps(plan)[0], seconds=plan.teacher_seconds)
    execution.perform(*teacher_steps(plan)[1:])
    with tempfile.TemporaryDirectory() as folder:
        time_budget = TimeBudget(Decisions(Path(folder) / "clock.json"), lambda: execution.spent, max_seconds)
        steps = round(stats.steps(plan.teacher_epochs))
        seen = plan.costs.observed(steps, plan.freeze_layers, slow * plan.teacher_seconds)
        time = StudentTime(plan, time_budget, seen, Setting(execution.run.task, "llamacpp"))
        choose(execution, plan, time=time)
        late = max(0.0, plan.fixed_seconds - time_budget.left)
    assert late <= 0.1 * max_seconds + unbounded[0]


def test_a_teacher_that_has_learned_nothing_is_no_yardstick():
    with pytest.raises(RunFailure, match="learned nothing") as e:
        choose(Pretended(lambda label: 0.0))
    assert "`metric`" in e.value.hint
    choose(Pretended(lambda label: 0.0, items=4))  # too few to be sure of it


def test_a_teacher_at_chance_in_a_closed_set_has_learned_nothing():
    """Six of ten items have one answer: a score of 0.6 is that of a model that always gives it."""
    answers = ["yes"] * 6 + ["no"] * 4
    examples = tuple(Example(str(n), answers[n % 10]) for n in range(1000))
    execution = Pretended(lambda label: 0.595)
    execution.run.task = Task("t", "choose", "accuracy", (), examples, (), ("no", "yes"))
    with pytest.raises(RunFailure, match="always answering 'yes'"):
        choose(execution)
    for score, items in ((0.595, 8), (0.605, 1000)):  # too few to be sure of it; and one that may be better
        execution = Pretended(lambda label, score=score: score, items=items)
        execution.run.task = Task("t", "choose", "accuracy", (), examples, (), ("no", "yes"))
        choose(execution)


def test_a_candidate_that_beats_the_teacher_raises_the_floor():
    """The teacher is weak: what one layer keeps of it is little beside what training alone reaches."""
    execution = Pretended(scores(teacher=0.5, probe=0.8, student_1=0.52, student_2=0.79))
    choice, said = choose(execution)
    assert choice.candidate.layers == 2 and any("0.76" in line for line in said)


def test_an_absolute_floor_needs_no_teacher():
    execution = Pretended(scores(teacher=0.5, probe=0.6, student_1=0.65, student_2=0.75))
    assert choose(execution, at_least=0.7)[0].candidate.layers == 2


def test_the_last_depth_is_trained_without_a_probe_that_would_change_nothing():
    execution = Pretended(scores(plain=0.05, probe=0.1, student=0.2))
    choose(execution)
    assert "student-4-distill" in execution.made and "probe-4-distill" not in execution.made


def test_without_logits_there_is_one_method_and_no_comparison():
    execution = Pretended(scores())
    choice, _ = choose(execution, with_space(PLAN, methods=("plain",)))
    assert choice.candidate.method == "plain" and not any(
        "distill" in label or label == "logits" for label in execution.made
    )


def test_bolder_depths_train_by_their_own_plan():
    execution = Pretended(scores(plain=0.1, student_1=0.1))
    longer = PLAN.model_copy(update={"distill_epochs": 2 * PLAN.distill_epochs})
    kept, time = {}, Patient()
    time.plan_for = lambda n: longer if n == 1 else PLAN
    perform = execution.perform
    execution.perform = lambda *steps, **k: (kept.update({s.label: s for s in steps}), perform(*steps, **k))[1]
    choose(execution, time=time)
    epochs = {label: s.parameters["schedule"]["epochs"] for label, s in kept.items() if "schedule" in s.parameters}
    assert epochs["student-1-distill"] == 2 * epochs["student-2-distill"] == 2 * PLAN.distill_epochs
    assert epochs["probe-1-distill"] == 2 * epochs["probe-2-distill"]


def test_every_training_has_a_budget():
    execution, budgets = Pretended(scores(plain=0.1)), {}
    perform = execution.perform
    execution.perform = lambda *s, seconds=None: (budgets.update({x.label: seconds for x in s}), perform(*s))[1]
    time = Patient()
    time.probe_seconds, time.training_seconds, time.recovery_seconds = lambda n: 1.0, lambda n: 2.0, lambda n: 3.0
    choose(execution, time=time)
    given = {label: seconds for label, seconds in budgets.items() if seconds is not None}
    assert given == {"probe-1-distill": 1, "probe-1-plain": 1, "student-1-distill": 2, "student-1-distill-q4_0": 3}
