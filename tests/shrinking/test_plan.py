"""Plans: what is predicted fits the time, no student without a chance, more time is never spent worse."""

from __future__ import annotations

import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lightbulb.core.errors import GoalError
from lightbulb.core.figures import Figure
from lightbulb.shrinking.cost_model import BATCH_SIZES, CANDIDATE_COST, LEAST_STEPS, CostModel, TaskStats, mean_drawn
from lightbulb.shrinking.drafts import (
    FEWEST_CHECKED,
    FEWEST_TESTED,
    NO_LOGITS,
    NO_SECOND_TRY,
    NO_STUDENT,
    REFERENCE_EPOCHS,
    SAFETY,
    STOCK_FILES,
    STUDENT_SHARE,
    TEACHER_MENU,
    make_plan,
)
from lightbulb.shrinking.floor import Floor, may_hold
from lightbulb.shrinking.plan import Plan, Shape
from lightbulb.shrinking.times import Times
from lightbulb.train.elastic import Nested

SMOLLM2 = Shape(layers=30, layer_parameters=3_540_000, vocabulary=49_152, width=576)
BANKING = TaskStats("choose", 9000, 3080, 50_000, 1000, 1.0)


def times_of(step: float = 2.0, layers: int = 30, answer: float = 0.05) -> Times:
    """A machine on which a step of the whole model takes `step` seconds, and a layer its part of that."""
    return Times(
        layers=layers,
        full_step=step,
        frozen_step=0.6 * step,
        frozen_again=0.45 * step,
        frozen_layers=layers // 2,
        student_steps=((1, step / layers), (min(6, layers), step * min(6, layers) / layers)),
        read_example=step / 32 / 3,
        answer_folder=answer,
        answer_file=answer,
        pass_seconds=2.0,
    )


SHAPES = st.builds(
    Shape,
    layers=st.integers(1, 80),
    layer_parameters=st.integers(10_000, 50_000_000),
    vocabulary=st.integers(300, 260_000),
    width=st.sampled_from([64, 576, 2048]),
    fits_blocks=st.booleans(),
)
WORKS = st.builds(
    TaskStats,
    kind=st.sampled_from(["choose", "generate", "text"]),
    train_examples=st.integers(6, 50_000),
    test_examples=st.integers(1, 5000),
    test_tokens=st.integers(10, 500_000),
    validation_examples=st.integers(1, 1000),
    output_tokens=st.floats(1, 200),
)
STEPS = st.floats(0.001, 100)
ANSWERS = st.floats(0.0001, 10)
SECONDS = st.floats(60, 100_000)


def planned(shape: Shape, stats: TaskStats, step: float, answer: float, seconds: float) -> Plan | None:
    try:
        return make_plan(times_of(step, shape.layers, answer), shape, stats, seconds)
    except GoalError as e:
        assert e.where == "`max_time`" and e.hint.startswith("`max_time=")
        return None


@given(SHAPES, WORKS, STEPS, ANSWERS, SECONDS)
def test_a_plan_fits_its_time_with_a_student_that_has_a_chance(shape, stats, step, answer, seconds):
    plan = planned(shape, stats, step, answer, seconds)
    assume(plan is not None)
    whole = plan.teacher_seconds + plan.check_seconds + plan.logits_seconds + plan.student_seconds + plan.proof_seconds
    assert whole <= seconds * SAFETY * 1.000001
    costs = CostModel(plan.times, stats)
    assert plan.teacher_seconds == costs.teacher_training(plan.teacher_epochs, plan.freeze_layers)
    checked, tested = plan.check_seconds / answer, plan.answering_seconds / STOCK_FILES / answer
    assert checked >= min(FEWEST_CHECKED, stats.validation_examples) * 0.999999
    assert tested >= min(FEWEST_TESTED, stats.test_examples) * 0.999999
    if plan.space.depths:
        assert plan.distill_epochs >= 1 or stats.steps(plan.distill_epochs) >= LEAST_STEPS
        assert NO_STUDENT not in plan.gave_up and plan.enough_seconds is None
        assert (NO_LOGITS in plan.gave_up) == ("distill" not in plan.space.methods) == (plan.logits_seconds == 0)
    else:
        assert plan.gave_up == (NO_STUDENT,) and plan.student_seconds == 0 and plan.enough_seconds > seconds
        assert make_plan(times_of(step, shape.layers, answer), shape, stats, plan.enough_seconds).space.depths
        assert any("minutes would do" in line for line in plan.lines)


@given(SHAPES, WORKS, STEPS, ANSWERS, SECONDS)
def test_there_is_room_to_back_off_unless_it_is_said(shape, stats, step, answer, seconds):
    plan = planned(shape, stats, step, answer, seconds)
    assume(plan is not None and plan.space.depths)
    left = SAFETY * seconds - plan.teacher_seconds - plan.check_seconds - plan.logits_seconds - plan.proof_seconds
    share = 1 / CANDIDATE_COST if NO_SECOND_TRY in plan.gave_up else STUDENT_SHARE
    assert plan.student_seconds <= share * left * 1.000001


@given(SHAPES, WORKS, STEPS, ANSWERS, SECONDS)
def test_the_depths_go_from_bold_to_mild(shape, stats, step, answer, seconds):
    plan = planned(shape, stats, step, answer, seconds)
    assume(plan is not None and plan.space.depths)
    assert (
        list(plan.space.depths) == sorted(set(plan.space.depths))
        and plan.space.depths[0] >= 1
        and plan.space.depths[-1] <= shape.layers
    )
    assert plan.space.quant_types == (("q4_0", "q8_0") if shape.fits_blocks else ("f16",))
    assert 0 <= plan.freeze_layers <= shape.layers
    assert 0 < plan.probe_epochs <= plan.distill_epochs and 0 < plan.recover_epochs <= plan.distill_epochs
    assert Plan(**plan.model_dump(mode="json")) == plan
    likely = plan.space.likely
    for layers in plan.space.depths:
        epochs = plan.epochs_for(layers)
        assert epochs >= plan.distill_epochs and (layers < likely or epochs == plan.distill_epochs)
        if epochs > plan.distill_epochs:  # a bolder one trains as long as the likely one
            assert plan.costs.student(epochs, layers) <= plan.costs.student(plan.distill_epochs, likely)


@given(SHAPES, WORKS, STEPS, ANSWERS, SECONDS, st.floats(1, 20))
def test_more_time_never_takes_a_student_away(shape, stats, step, answer, seconds, longer):
    short = planned(shape, stats, step, answer, seconds)
    long = planned(shape, stats, step, answer, seconds * longer)
    assert short is None or long is not None
    if short and short.space.depths and NO_SECOND_TRY not in short.gave_up:
        assert long.space.depths and NO_SECOND_TRY not in long.gave_up
        chosen = [(e, round(shape.layers * share)) for e, share in TEACHER_MENU]
        ranks = [chosen.index((p.teacher_epochs, p.freeze_layers)) for p in (short, long)]
        assert ranks[1] <= ranks[0]


@given(SHAPES, WORKS, STEPS, ANSWERS)
def test_what_the_error_says_to_type_works(shape, stats, step, answer):
    try:
        make_plan(times_of(step, shape.layers, answer), shape, stats, 60)
    except GoalError as e:
        minutes = int(e.hint.removeprefix("`max_time=").removesuffix("m`"))
        assert planned(shape, stats, step, answer, 60 * minutes) is not None


def test_an_hour_for_the_main_job():
    plan = make_plan(times_of(2.0), SMOLLM2, BANKING, 3600)
    assert plan.space.depths == (1, 2, 3, 4, 6, 8, 12, 18) and plan.validation_limit is None and plan.gave_up == ()
    assert plan.teacher_epochs >= 1 and plan.distill_epochs >= 2 and plan.space.methods == ("distill", "plain")


def test_what_is_given_up_comes_in_this_order():
    """Less and less time: first a shorter teacher, then its logits, then the second try, then the student."""
    seen = []
    for minutes in (60, 40, 30, 25, 20, 15, 12, 10, 8, 6, 5):
        plan = planned(SMOLLM2, BANKING, 2.0, 0.05, 60 * minutes)
        if plan and plan.gave_up not in seen:
            seen.append(plan.gave_up)
    assert seen[0] == () and seen[-1] == (NO_STUDENT,) and (NO_LOGITS,) in seen
    assert [len(g) for g in seen[:-1]] == sorted(len(g) for g in seen[:-1])


@given(SHAPES, WORKS, STEPS, ANSWERS, SECONDS)
def test_what_a_plan_leaves_over_is_shared_out(shape, stats, step, answer, seconds):
    """The teacher gets its planned seconds and its part of the rest, and leaves the others theirs."""
    plan = planned(shape, stats, step, answer, seconds)
    assume(plan is not None)
    gets = plan.teacher_share * (seconds - plan.fixed_seconds)
    student = plan.student_seconds * CANDIDATE_COST
    whole = plan.teacher_seconds + plan.check_seconds + plan.logits_seconds + student + plan.answering_seconds
    if whole + plan.fixed_seconds <= seconds:
        assert gets >= plan.teacher_seconds * 0.999999
        left = seconds - gets - plan.fixed_seconds
        assert left >= (whole - plan.teacher_seconds) * 0.999999


def test_few_examples_want_small_batches():
    for size, examples in BATCH_SIZES:
        assert TaskStats("choose", max(examples, 6), 1, 1, 1, 1.0).batch_size == size


def test_the_pace_of_a_teacher_of_seconds_tells_little():
    plan = make_plan(times_of(2.0), SMOLLM2, BANKING, 3600)
    steps = round(BANKING.steps(plan.teacher_epochs))

    def slowdown(seconds: float, steps: int) -> float:
        return plan.costs.observed(steps, plan.freeze_layers, seconds)

    half = CostModel(plan.times, BANKING).teacher_training(plan.teacher_epochs / 2, plan.freeze_layers)
    assert slowdown(plan.teacher_seconds, steps) == pytest.approx(1, abs=0.01)
    assert slowdown(2 * plan.teacher_seconds, steps) == pytest.approx(2, abs=0.1)
    assert slowdown(half, steps // 2) == pytest.approx(1, abs=0.05), "of the steps it did"
    assert slowdown(20.0, 0) < 1.3


def test_the_proof_gives_way_to_the_students_only_where_the_machine_is_slow():
    plan = make_plan(times_of(2.0), SMOLLM2, BANKING, 3600)
    assert plan.reserve(1.0, 4 * plan.proof_seconds) == plan.proof_seconds
    assert plan.reserve(2.0, 2 * plan.proof_seconds) == plan.proof_seconds
    assert plan.reserve(3.0, 0.0) == plan.fixed_seconds > 0


def test_too_little_time_is_one_clear_error():
    with pytest.raises(GoalError, match="takes longer than 10 s") as e:
        make_plan(times_of(2.0), SMOLLM2, BANKING, 10)
    assert e.value.exit_code == 2


@given(SHAPES, WORKS, STEPS, ANSWERS, SECONDS)
def test_an_elastic_teacher_is_paid_for(shape, stats, step, answer, seconds):
    """It learns together with the boldest student, nothing frozen, in the time; without a student it learns alone."""
    times = times_of(step, shape.layers, answer)
    try:
        plan = make_plan(times, shape, stats, seconds, elastic=True)
    except GoalError:
        assume(False)
    if not plan.space.depths:
        assert plan.elastic is None
        return
    assert plan.elastic <= plan.space.depths[0] and plan.freeze_layers == 0 and len(plan.space.methods) == 1
    alone = CostModel(times, stats).teacher_training(plan.teacher_epochs, 0)
    inside = stats.steps(plan.teacher_epochs) * times.student_step(plan.elastic)
    assert plan.teacher_seconds >= alone + 2 * inside * 0.999999
    whole = plan.teacher_seconds + plan.check_seconds + plan.logits_seconds + plan.student_seconds + plan.proof_seconds
    assert whole <= seconds * SAFETY * 1.000001
    assert "inside it" in plan.lines[0] and Plan(**plan.model_dump(mode="json")) == plan


def test_a_random_sub_model_s_depth():
    drawn = [len(Nested([64] * 30, list(range(24)), 1.0).drawn(random.Random(i))) for i in range(4000)]
    assert sum(drawn) / len(drawn) == pytest.approx(mean_drawn(6, 30), rel=0.03)
    assert mean_drawn(5, 5) == 5


@given(SHAPES, WORKS, STEPS, ANSWERS, SECONDS)
def test_the_reference_comes_first_where_another_kind_is_ready(shape, stats, step, answer, seconds):
    """A teacher of some epochs is planned wherever one fits, with a student only if there is time for both."""
    usual = planned(shape, stats, step, answer, seconds)
    assume(usual is not None)
    plan = make_plan(times_of(step, shape.layers, answer), shape, stats, seconds, reference_first=True)
    taken = plan.teacher_seconds + plan.check_seconds + plan.logits_seconds + plan.student_seconds + plan.proof_seconds
    assert taken <= seconds * SAFETY * 1.000001
    least = CostModel(usual.times, stats).teacher_training(REFERENCE_EPOCHS, round(0.5 * shape.layers))
    fits = least <= SAFETY * seconds - usual.check_seconds - usual.proof_seconds
    assert (plan.teacher_epochs >= REFERENCE_EPOCHS) == fits
    if not fits:
        assert plan.model_copy(update={"enough_seconds": usual.enough_seconds}) == usual
    elif usual.teacher_epochs >= REFERENCE_EPOCHS:
        assert plan.teacher_epochs >= usual.teacher_epochs


def test_a_kind_is_ready_where_it_may_hold_against_any_reference():
    score = Figure(value=0.87, low=0.81, high=0.91, unit="share")
    assert may_hold(Floor("json-match", 0.9), [score]) and not may_hold(Floor("json-match", 0.95), [score])
    assert not may_hold(Floor("json-match", None, 0.8), [score]), "no reference is needed"
    assert not may_hold(Floor("bits-per-byte", 0.9), [score]) and not may_hold(Floor("my.module:metric", 0.9), [score])
    assert not may_hold(Floor("json-match", 0.9), [])
