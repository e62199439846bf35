"""Which candidates of other kinds and mixers the strategy tries, and which it takes."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
from pretended import PLAN, Patient, Pretended, choose, scores, with_space

from lightbulb.core.events import Stream
from lightbulb.core.figures import Figure
from lightbulb.shrinking.candidate import Candidate, Outcome, Trial
from lightbulb.shrinking.evaluation import student_steps
from lightbulb.shrinking.floor import Floor
from lightbulb.shrinking.kinds.cascade import GIVE_UP, handing_on
from lightbulb.shrinking.steps import teacher_steps
from lightbulb.shrinking.strategy import BoldFirst, search

RECURRENT = with_space(PLAN, mixers=("attention", "mlgru"), feed_forwards=(0.5,))


def answered_for(dear: str) -> type[Pretended]:
    """An execution where answers of files with `dear` in their label take twice as long."""

    class Priced(Pretended):
        def perform(self, *steps, seconds=None):
            self.run.cost = lambda artifact: SimpleNamespace(
                seconds=1.0, cpu_seconds=Figure(value=4.0 if dear in artifact.key else 2.0, unit="s")
            )
            return super().perform(*steps, seconds=seconds)

    return Priced


@pytest.mark.parametrize("dear, taken", [("student-1-distill", "-mlgru"), ("mlgru", "")])
def test_of_two_mixers_that_hold_the_one_that_costs_less_goes_on(dear, taken):
    execution = answered_for(dear)(scores())
    choice, _ = choose(execution, RECURRENT)
    assert "pruned-1-mlgru" in execution.made and "student-1-mlgru-distill-q4_0-gguf" in execution.made
    assert choice.candidate.label == f"student-1{taken}-ff50-distill-q4_0"
    assert {c.mixer for c in choice.files} == {"attention", "mlgru"}
    assert choice.candidate in choice.files and [o.chosen for o in choice.tried].count(True) == 1


def test_a_recurrent_student_that_does_not_hold_costs_its_training_only():
    execution = Pretended(scores(student_1_mlgru=0.5))
    choice, said = choose(execution, RECURRENT)
    assert "student-1-mlgru-distill-q4_0" not in execution.made
    assert choice.candidate.mixer == "attention" and [c.mixer for c in choice.files] == ["attention"]
    assert any("attention is kept" in line for line in said)


def test_without_time_or_with_many_layers_no_recurrent_student_is_tried():
    for plan, time in ((RECURRENT, Patient(RECURRENT)), (with_space(RECURRENT, depths=(4,), likely=4), None)):
        if time:
            time.allows_recurrent = lambda candidate: False
        execution = Pretended(scores())
        choose(execution, plan, time=time)
        assert not any("mlgru" in label for label in execution.performed)


def test_students_of_an_elastic_teacher_are_cut_by_order_and_scored_before_they_train():
    execution, trained = Pretended(scores(probe_1=0.3, student_2=0.9)), []
    execution.seconds = lambda s: trained.append(s.label) or 0.0 if s.pass_ in ("adapt", "distill") else 0.0
    plan = with_space(PLAN.model_copy(update={"elastic": 1}), methods=("distill",))
    choice, _ = choose(execution, plan)
    assert choice.candidate == Candidate(layers=2, method="distill", quant_type="q4_0")
    assert trained == ["student-2-distill"]
    assert "probe-1-distill-validation" in execution.performed and "student-1-distill" not in execution.performed
    steps, _ = student_steps(Patient(plan), "llamacpp")(Trial(Candidate(layers=2, method="distill"), "trained"))
    assert steps[0].parameters == {"layers": 2, "by": "order"}
    teacher = teacher_steps(plan)[0]
    assert (teacher.pass_, teacher.parameters["layers"]) == ("adapt-elastic", 1)


def of_another_kind(kind: str, score: float, cost: float) -> Outcome:
    value = Figure(value=score, low=score - 0.01, high=score + 0.01, unit="share")
    candidate = Candidate(kind=kind, method="plain")
    return Outcome(Trial(candidate, "exported"), value, Figure(value=cost, unit="s"), 1.0, "exported")


def test_no_decoder_is_trained_where_a_cheaper_kind_holds():
    """Of two that hold the cheaper is taken; the teacher is what they are held against."""
    before = (of_another_kind("linear", 0.88, 1e-5), of_another_kind("encoder", 0.9, 1e-3))
    choice, said = choose(execution := Pretended(scores(teacher=0.9)), before=before)
    assert choice.candidate == before[0].trial.candidate and [o.chosen for o in choice.tried] == [True, False]
    assert not any(label.startswith(("probe", "student")) for label in execution.made)
    assert choice.files == (before[0].trial.candidate, before[1].trial.candidate)
    assert "costs more than another that does" in before[1].why


def test_a_better_kind_raises_the_floor_for_the_others():
    before = (of_another_kind("linear", 0.88, 1e-5), of_another_kind("encoder", 0.95, 1e-3))
    choice, _ = choose(Pretended(scores(teacher=0.9)), before=before)
    assert choice.candidate == before[1].trial.candidate  # 0.88 is less than 95% of 0.95
    assert "does not hold" in before[0].why


def test_a_decoder_that_may_cost_less_is_tried_beside_a_kind_that_holds():
    """It is measured, too, whether it holds or not; which of them is handed out their costs decide."""
    before = (of_another_kind("encoder", 0.9, 0.5),)
    choice, _ = choose(Pretended(scores(teacher=0.9, student=0.9, probe=0.9)), before=before)
    assert choice.candidate is not None and choice.candidate.kind == "decoder" and len(choice.files) == 2
    weak = (of_another_kind("encoder", 0.9, 0.5),)
    choice, _ = choose(Pretended(scores(teacher=0.9, student=0.5, probe=0.9)), before=weak)
    assert choice.candidate == weak[0].trial.candidate
    assert [c.kind for c in choice.files] == ["decoder", "encoder"]


def test_decoders_are_trained_where_no_other_kind_holds():
    before = (of_another_kind("linear", 0.5, 1e-5),)
    choice, _ = choose(Pretended(scores(teacher=0.9, student=0.9, probe=0.9)), before=before)
    assert choice.candidate is not None and choice.candidate.kind == "decoder"
    assert [c.kind for c in choice.files] == ["decoder", "linear"]


LINEAR = Candidate(kind="linear", method="plain")
LAST = PLAN.times.layers  # of the teacher


class Priced:
    """An evaluator that knows scores and costs by the beginning of a label; 0.005 is a standard error."""

    def __init__(self, **known: tuple[float, float]):
        self.known, self.tried = {k.replace("_", "-"): v for k, v in known.items()}, []

    def evaluate(self, trial):
        label = trial.candidate.label
        self.tried.append(label)
        value, cost = next((v for k, v in self.known.items() if label.startswith(k)), (0.9, 0.01))
        score = Figure(value=value, low=value - 0.0098, high=value + 0.0098, unit="share")
        return Outcome(trial, score, Figure(value=cost, unit="s"), 1.0, "exported")


def hand_on(priced: Priced, linear: float, keep: float = 0.97):
    """A search in which n-grams came first."""
    floor, time, said = Floor("accuracy", keep=keep), Patient(), []
    time.allows_other = lambda candidate: True
    before = [Priced(linear=(linear, 1e-5)).evaluate(Trial(LINEAR, "exported"))]
    teacher = Figure(value=0.9, low=0.89, high=0.91, unit="share")
    pairs = partial(handing_on, layers=LAST)
    strategy = BoldFirst(PLAN.space, floor, teacher, time, said.append, before, pairs)
    return search(strategy, priced, Stream()), said


def test_a_cheap_file_hands_on_to_the_student_that_holds():
    priced = Priced(cascade=(0.9, 0.003))
    choice, _ = hand_on(priced, linear=0.8)
    taken = choice.candidate
    assert taken.hands_on and taken.stages == (LINEAR, taken.stages[1]) and taken.stages[1].layers == 1
    assert taken.give_up == max(GIVE_UP[1:]) and sum(label.startswith("cascade") for label in priced.tried) == 1
    assert choice.files == (taken.stages[1], LINEAR, taken), "its language model is measured, too"


@pytest.mark.parametrize("pair", [(0.9, 0.01), (0.85, 0.003)], ids=["no cheaper", "below the floor"])
def test_a_pair_that_costs_no_less_or_does_not_hold_is_not_taken(pair):
    priced = Priced(cascade=pair)
    choice, said = hand_on(priced, linear=0.8)
    assert choice.candidate.layers == 1 and not any(c.hands_on for c in choice.files)
    assert sum(label.startswith("cascade") for label in priced.tried) == len(GIVE_UP) - 1
    assert any("costs no less" in line or "does not hold" in line for line in said[-2:])


def test_where_no_student_holds_a_stock_file_is_tried_behind_the_cheap_one():
    priced = Priced(student=(0.6, 0.01), probe=(0.8, 0.01), cascade_linear_teacher=(0.9, 0.02), cascade=(0.7, 0.003))
    choice, _ = hand_on(priced, linear=0.7)
    assert choice.candidate.label == "cascade-linear-teacher-q4_0-0.03"
    assert choice.candidate.stages[1].is_stock and choice.candidate in choice.files
    assert "cascade of n-grams and adapted teacher, q4_0" in choice.candidate.name


def test_where_the_cheap_file_is_enough_nothing_is_handed_on():
    priced = Priced()
    choice, _ = hand_on(priced, linear=0.9)
    assert choice.candidate == LINEAR and not any(label.startswith("cascade") for label in priced.tried)
