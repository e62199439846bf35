"""The chooser on an execution that only pretends: decisions and time, without training anything."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightbulb.errors import GoalError, RunFailure
from lightbulb.figures import Figure
from lightbulb.goal import Goal
from lightbulb.search.choose import Chooser
from lightbulb.search.plan import (
    RECOVER_SHARE,
    Plan,
    Shape,
    Work,
    for_layers,
    make_plan,
    student_seconds,
    train_seconds,
)
from lightbulb.search.steps import teacher_steps
from lightbulb.tasks.task import Example, Task

PLAN = Plan(
    train_flops=1e9,
    batch_size=8,
    teacher_epochs=1,
    freeze_layers=0,
    ladder=(1, 2, 4),
    distill_epochs=4,
    teacher_seconds=10,
    proof_seconds=10,
    answering_seconds=5,
)


TASK = Task("tickets", "generate", "json-match", (), tuple(Example(str(n), str(n % 50)) for n in range(1000)), ())


class Pretended:
    """An Execution whose scores come from `score(label)` and whose seconds from `seconds(step)`."""

    def __init__(self, score, seconds=lambda step: 0.0, items=1000):
        self.score, self.seconds, self.items = score, seconds, items
        self.made, self.performed, self.spent = {}, [], 0.0
        self.run = SimpleNamespace(cost=lambda artifact: SimpleNamespace(seconds=1.0), task=TASK)

    def perform(self, *steps):
        for s in steps:
            if s.label not in self.made:
                self.performed.append(s.label)
                self.spent += self.seconds(s)
                self.made[s.label] = SimpleNamespace(facts={"items": self.items})
                if s.pass_ == "evaluate":
                    value = self.score(s.label.removesuffix("-validation"))
                    self.made[s.label].facts["score"] = Figure(
                        value=value, low=value - 0.01, high=value + 0.01, unit="share"
                    ).model_dump()
        return self.made[steps[-1].label]


def choose(
    execution,
    plan=PLAN,
    keep=0.95,
    metric="accuracy",
    time_allows=lambda what, seconds: True,
    student=lambda n: 1.0,
    plan_for=None,
):
    said: list[str] = []
    execution.perform(*teacher_steps(plan))
    chooser = Chooser(
        execution, plan, Goal(keep=keep), metric, plan_for or (lambda n: plan), student, time_allows, said.append
    )
    return chooser.choose(), said


def scores(**by_part):
    """Scores by the first part of a label that is in the table; 0.9 otherwise."""
    return lambda label: next((v for k, v in by_part.items() if k.replace("_", "-") in label.replace("_", "-")), 0.9)


def test_takes_the_boldest_that_holds():
    execution = Pretended(scores(plain=0.5))
    choice, _ = choose(execution)
    assert choice.student == "student-1-distill-q4_0"
    assert (choice.layers, choice.method, choice.grid) == (1, "distill", "q4_0")
    assert not any("-2" in label or "-4" in label for label in execution.performed)
    assert [t.name for t in choice.tried if t.chosen] == ["1 layer, distill, q4_0"]


def test_backs_off_a_probe_that_is_too_far_below():
    execution = Pretended(scores(probe_1=0.3, student_1=0.9))
    choice, said = choose(execution)
    assert choice.layers == 2 and "student-1-distill" not in execution.made
    assert any("back off" in line for line in said)


@pytest.mark.parametrize("probe, goes_on", [(0.60, True), (0.40, False)])
def test_a_probe_is_judged_by_what_training_may_still_add(probe, goes_on):
    """keep 0.9 of 0.9 is 0.81: four fifths of the way from 0.6 to 0.9 is above it, from 0.4 below."""
    execution = Pretended(scores(probe_1=probe, student_1=0.9))
    choice, _ = choose(execution, keep=0.9)
    assert any(label.startswith("student-1-") for label in execution.made) == goes_on
    assert choice.layers == (1 if goes_on else 2)


def test_backs_off_a_student_that_does_not_hold_when_exported():
    execution = Pretended(scores(student_1=0.5))
    choice, _ = choose(execution)
    assert choice.layers == 2
    assert "student-1-distill-q8_0" not in execution.made  # it did not hold before rounding either


def test_a_finer_grid_when_only_rounding_hurts():
    choice, _ = choose(Pretended(scores(q4_0=0.5)))
    assert choice.grid == "q8_0" and choice.layers == 1


def test_plain_training_is_always_a_candidate_and_wins_when_it_is_surely_better():
    execution = Pretended(scores(distill=0.88))
    choice, said = choose(execution)
    assert {"probe-1-distill", "probe-1-plain"} <= set(execution.performed)
    assert choice.method == "plain" and any("do not help" in line for line in said)
    assert sum(label.startswith("probe") and label.endswith("plain") for label in execution.performed) == 1


@pytest.mark.parametrize("gain, method", [(0.01, "distill"), (-0.004, "distill"), (-0.006, "plain")])
def test_plain_training_must_win_by_a_standard_error(gain, method):
    """The interval of these scores is 0.02 wide, which is 3.92 standard errors."""
    choice, _ = choose(Pretended(scores(distill=0.9 + gain)))
    assert choice.method == method


def test_nothing_holds_so_the_best_is_taken():
    choice, _ = choose(Pretended(scores(teacher=0.9, probe=0.1, student_4=0.5)))
    assert choice.layers == 4 and [t.layers for t in choice.tried if t.chosen] == [4]


def test_within_noise_of_the_floor_is_not_enough():
    floor = 0.9 * 0.95
    assert choose(Pretended(scores(teacher=0.9, student_1=floor + 0.001)))[0].layers == 2
    assert choose(Pretended(scores(teacher=0.9, student_1=floor + 0.01)))[0].layers == 1


def test_where_lower_is_better():
    execution = Pretended(scores(teacher=1.0, probe=1.05, student_1=1.3, student_2=1.02))
    choice, _ = choose(execution, metric="bits-per-byte")
    assert choice.layers == 2


def test_no_time_for_a_wider_one_makes_the_best_of_the_boldest():
    execution = Pretended(scores(probe=0.1, student=0.2))
    choice, _ = choose(execution, time_allows=lambda what, seconds: False)
    assert choice.layers == 1 and not any("probe-2" in label for label in execution.performed)


def test_f16_when_the_widths_fit_no_blocks():
    execution = Pretended(scores(plain=0.1))
    choice, _ = choose(execution, PLAN.model_copy(update={"grids": ("f16",)}))
    assert choice.student == "student-1-distill" and choice.grid == "f16"
    assert "student-1-distill-gguf" in execution.made and not any("q4_0" in label for label in execution.performed)
    assert [t.name for t in choice.tried if t.chosen] == ["1 layer, distill, f16"]


def test_no_rungs_no_student():
    with pytest.raises(RunFailure, match="no student"):
        choose(Pretended(scores()), PLAN.model_copy(update={"ladder": ()}))


@settings(max_examples=300)
@given(
    st.integers(2, 40),
    st.sampled_from(["choose", "generate"]),
    st.floats(200, 20_000),
    st.floats(8, 13),
    st.randoms(use_true_random=False),
)
def test_never_over_the_time_by_more_than_a_tenth(layers, kind, max_seconds, magnitude, rng):
    """Steps that take exactly what the arithmetic predicts, scores by chance."""
    shape = Shape(layers, 3_000_000, 50_000, 576)
    work = Work(kind, 5000, 150_000, 1000, 20_000, 500, 10.0)
    speed = 10**magnitude
    try:
        plan = make_plan(shape, work, speed, max_seconds)
    except GoalError:
        return

    def plan_for(n: int) -> Plan:
        return for_layers(plan, shape, work, 1.0, n)

    def student(n: int) -> float:
        return student_seconds(shape, work, speed, plan_for(n).distill_epochs, plan.batch_size, n)

    def seconds(s) -> float:
        if s.label == "teacher":
            return train_seconds(shape, work, speed, plan.teacher_epochs, plan.batch_size, layers, plan.freeze_layers)
        if s.label == "logits":
            return 2 * shape.layer_parameters * layers * work.train_tokens / speed
        if s.pass_ in ("adapt", "distill", "quantize"):
            n = int(s.label.split("-")[1])
            more = 1.5 * RECOVER_SHARE if s.pass_ == "quantize" else 1.0
            share = (plan_for(n).probe_epochs / plan_for(n).distill_epochs) if s.label.startswith("probe") else more
            whole = student(n) - student_seconds(shape, work, speed, 0, plan.batch_size, n)
            return whole / (1 + 1.5 * RECOVER_SHARE) * share
        return 1.0 if s.pass_ == "evaluate" else 0.0

    execution = Pretended(lambda label: rng.choice([0.2, 0.7, 0.85, 0.9]), seconds)
    choose(
        execution,
        plan,
        student=student,
        plan_for=plan_for,
        time_allows=lambda what, more: execution.spent + more + plan.proof_seconds <= max_seconds,
    )
    assert execution.spent + plan.proof_seconds <= 1.1 * max_seconds


def test_a_teacher_that_has_learned_nothing_is_no_yardstick():
    with pytest.raises(RunFailure, match="learned nothing") as e:
        choose(Pretended(lambda label: 0.0))
    assert "--metric" in e.value.mend
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
    assert choice.layers == 2 and any("0.76" in line for line in said)


def test_an_absolute_floor_needs_no_teacher():
    goal = Goal(at_least=0.7)
    execution = Pretended(scores(teacher=0.5, probe=0.6, student_1=0.65, student_2=0.75))
    execution.perform(*teacher_steps(PLAN))
    chooser = Chooser(
        execution, PLAN, goal, "accuracy", lambda n: PLAN, lambda n: 1.0, lambda what, seconds: True, lambda text: None
    )
    assert goal.keep is None and chooser.choose().layers == 2


def test_the_last_rung_is_trained_without_a_probe_that_would_change_nothing():
    execution = Pretended(scores(plain=0.05, probe=0.1, student=0.2))
    choose(execution)
    assert "student-4-distill" in execution.made and "probe-4-distill" not in execution.made


def test_without_logits_there_is_one_method_and_no_comparison():
    execution = Pretended(scores())
    choice, _ = choose(execution, PLAN.model_copy(update={"methods": ("plain",)}))
    assert choice.method == "plain" and not any("distill" in label or label == "logits" for label in execution.made)


def test_bolder_rungs_train_by_their_own_plan():
    execution = Pretended(scores(plain=0.1, student_1=0.1))
    longer = PLAN.model_copy(update={"distill_epochs": 8.0})
    kept = {}
    perform = execution.perform
    execution.perform = lambda *steps: (kept.update({s.label: s for s in steps}), perform(*steps))[1]
    choose(execution, plan_for=lambda n: longer if n == 1 else PLAN)
    epochs = {label: s.parameters["schedule"]["epochs"] for label, s in kept.items() if "schedule" in s.parameters}
    assert (epochs["student-1-distill"], epochs["student-2-distill"]) == (8.0, 4.0)
    assert epochs["probe-1-distill"] == 2 * epochs["probe-2-distill"]
