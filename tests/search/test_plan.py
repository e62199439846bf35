"""Plans: what is predicted fits the time, more time is never spent worse, and the bold come first."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightbulb.errors import GoalError
from lightbulb.search.plan import (
    FEWEST_CHECKED,
    FEWEST_TESTED,
    RUNG,
    STOCK_FILES,
    STUDENT_MENU,
    TEACHER_MENU,
    Plan,
    Shape,
    Work,
    answer_seconds,
    for_layers,
    likely_layers,
    make_plan,
    shortened,
    student_seconds,
    train_seconds,
)

SMOLLM2 = Shape(layers=30, layer_parameters=3_540_000, vocabulary=49_152, width=576)
BANKING = Work("choose", 9000, 150_000, 3080, 50_000, 1000, 1.0)
SHAPES = st.builds(
    Shape,
    layers=st.integers(1, 80),
    layer_parameters=st.integers(10_000, 50_000_000),
    vocabulary=st.integers(300, 260_000),
    width=st.sampled_from([64, 576, 2048]),
    fits_blocks=st.booleans(),
)
WORKS = st.builds(
    Work,
    kind=st.sampled_from(["choose", "generate", "text"]),
    train_examples=st.integers(6, 50_000),
    train_tokens=st.integers(60, 5_000_000),
    test_examples=st.integers(1, 5000),
    test_tokens=st.integers(10, 500_000),
    validation_examples=st.integers(1, 1000),
    output_tokens=st.floats(1, 200),
)
SPEEDS = st.floats(1e9, 1e14)
TIMES = st.floats(10, 100_000)


def planned(shape, work, speed, seconds) -> Plan | None:
    try:
        return make_plan(shape, work, speed, seconds)
    except GoalError as e:
        assert e.where == "--max-time" and e.mend.startswith("--max-time ")
        return None


def teacher_seconds(shape, work, plan: Plan) -> float:
    logits = 2 * shape.layer_parameters * shape.layers * work.train_tokens / plan.train_flops
    logits *= "distill" in plan.methods
    return logits + train_seconds(
        shape, work, plan.train_flops, plan.teacher_epochs, plan.batch_size, shape.layers, plan.freeze_layers
    )


@given(SHAPES, WORKS, SPEEDS, TIMES)
def test_a_feasible_plan_fits_its_time(shape, work, speed, seconds):
    plan = planned(shape, work, speed, seconds)
    if plan is None:
        return
    typical = likely_layers(work.kind, plan.ladder)
    if plan.validation_limit:
        assert FEWEST_CHECKED <= plan.validation_limit < work.validation_examples
        work = replace(work, validation_examples=plan.validation_limit)
    assert plan.teacher_seconds == pytest.approx(
        teacher_seconds(shape, work, plan) + answer_seconds(shape, work, speed, shape.layers, work.validation_examples)
    )
    student = student_seconds(shape, work, speed, plan.distill_epochs, plan.batch_size, typical)
    assert plan.teacher_seconds + plan.proof_seconds + student <= seconds
    items = min(FEWEST_TESTED, work.test_examples)
    assert plan.proof_seconds >= STOCK_FILES * answer_seconds(shape, work, speed, shape.layers, items)


@given(SHAPES, WORKS, SPEEDS, TIMES)
def test_the_ladder_goes_from_bold_to_mild(shape, work, speed, seconds):
    plan = planned(shape, work, speed, seconds)
    if plan:
        assert list(plan.ladder) == sorted(set(plan.ladder)) and plan.ladder[0] >= 1 and plan.ladder[-1] <= shape.layers
        assert plan.grids == (("q4_0", "q8_0") if shape.fits_blocks else ("f16",))
        assert 0 <= plan.freeze_layers <= shape.layers
        assert 0 < plan.probe_epochs <= plan.distill_epochs and 0 < plan.recover_epochs <= plan.distill_epochs
        assert Plan(**plan.model_dump(mode="json")) == plan


@given(SHAPES, WORKS, SPEEDS, TIMES, st.floats(1, 20))
def test_more_time_never_gives_a_worse_teacher(shape, work, speed, seconds, times):
    def rank(plan: Plan) -> int:
        chosen = [(e, round(shape.layers * share)) for e, share in TEACHER_MENU]
        return chosen.index((plan.teacher_epochs, plan.freeze_layers))

    short, long = planned(shape, work, speed, seconds), planned(shape, work, speed, seconds * times)
    if short and long:
        assert rank(long) <= rank(short)
        assert set(short.ladder) <= set(long.ladder)  # of few steps the boldest rung is not tried


@given(SHAPES, WORKS, SPEEDS)
def test_what_the_error_says_to_type_works(shape, work, speed):
    try:
        make_plan(shape, work, speed, 60)
    except GoalError as e:
        minutes = int(e.mend.removeprefix("--max-time ").removesuffix("m"))
        assert planned(shape, work, speed, 60 * minutes) is not None


def test_an_hour_for_the_main_job():
    plan = make_plan(SMOLLM2, BANKING, 1.5e11, 3600)
    assert plan.ladder == (1, 2, 3, 4, 6, 8, 12, 18) and plan.validation_limit is None
    assert plan.teacher_epochs >= 1 and plan.distill_epochs >= 2


def test_a_plan_without_its_boldest_rung_fits_its_time():
    """The likely rung is a deeper one then, and takes longer."""
    shape = Shape(layers=74, layer_parameters=737_858, vocabulary=300, width=64, fits_blocks=False)
    work = Work("generate", 6, 60, 50, 10, 91, 50.0)
    assert planned(shape, work, 1e9, 18_296) is None
    plan = make_plan(shape, work, 1e9, 18_400)
    assert plan.ladder[0] == 20 and plan.distill_epochs < 1
    student = student_seconds(shape, work, 1e9, plan.distill_epochs, plan.batch_size, plan.ladder[1])
    assert plan.teacher_seconds + plan.proof_seconds + student <= 18_400


def test_a_gpu_does_not_answer_for_the_cpu():
    """What trains ten times as fast answers as slowly as before: the proof is planned at the speed of the CPU."""
    alone, with_gpu = make_plan(SMOLLM2, BANKING, 1.5e11, 3600), make_plan(SMOLLM2, BANKING, 1.5e12, 3600, 1.5e11)
    assert with_gpu.proof_seconds == alone.proof_seconds and with_gpu.answering_seconds == alone.answering_seconds
    assert with_gpu.teacher_epochs >= alone.teacher_epochs and with_gpu.distill_epochs > alone.distill_epochs
    students = [student_seconds(SMOLLM2, BANKING, 1.5e12, 0, 32, 30, cpu) for cpu in (None, 1.5e11)]
    assert students[1] - 10 == pytest.approx(10 * (students[0] - 10))  # the file of a student is checked on the CPU
    assert with_gpu.proof_at(2) == with_gpu.proof_seconds < alone.proof_at(2)  # the pace is that of training


@given(SHAPES, WORKS, SPEEDS, TIMES, st.floats(0.5, 10), st.floats(0, 2))
def test_a_slow_teacher_shortens_the_students_only_where_they_would_not_be_done(
    shape, work, speed, seconds, pace, share
):
    plan = planned(shape, work, speed, seconds)
    if plan is None:
        return
    left, layers = share * seconds, likely_layers(work.kind, plan.ladder)

    def takes(epochs: float) -> float:
        return RUNG * student_seconds(shape, work, speed / pace, epochs, plan.batch_size, layers)

    epochs = shortened(plan, shape, work, pace, left)
    if takes(plan.distill_epochs) <= left:
        assert epochs == plan.distill_epochs
    else:
        assert epochs <= plan.distill_epochs
        assert takes(epochs) <= left * 1.000001 or epochs == STUDENT_MENU[-1]


@given(SHAPES, WORKS, SPEEDS, TIMES, st.integers(1, 80))
def test_a_bolder_student_trains_as_long_as_the_likely_one(shape, work, speed, seconds, layers):
    plan = planned(shape, work, speed, seconds)
    if plan is None:
        return
    likely, own = likely_layers(work.kind, plan.ladder), for_layers(plan, shape, work, 1.0, layers)
    assert own.distill_epochs >= plan.distill_epochs and (layers < likely or own == plan)

    def takes(n: int, epochs: float) -> float:
        return student_seconds(shape, work, plan.train_flops, epochs, plan.batch_size, n)

    if own.distill_epochs > plan.distill_epochs:
        assert takes(layers, own.distill_epochs) <= takes(likely, plan.distill_epochs)


def test_logits_that_cost_more_than_a_student_are_not_made():
    hour, quarter = (make_plan(SMOLLM2, BANKING, 1.5e11, seconds) for seconds in (3600, 900))
    assert hour.methods == ("distill", "plain") and quarter.methods == ("plain",)


def test_the_proof_gives_way_to_the_students_only_where_the_machine_is_slow():
    plan = make_plan(SMOLLM2, BANKING, 1.5e11, 3600)
    assert plan.reserve(1.0, 4 * plan.proof_seconds) == plan.proof_seconds
    assert plan.reserve(2.0, 2 * plan.proof_seconds) == plan.proof_seconds
    assert plan.reserve(3.0, 0.0) == plan.proof_seconds - plan.answering_seconds > 0


def test_the_pace_of_a_teacher_of_seconds_tells_little():
    plan = make_plan(SMOLLM2, BANKING, 1.5e11, 3600)
    assert plan.pace(plan.teacher_seconds) == 1
    assert plan.pace(2 * plan.teacher_seconds) == pytest.approx(2, abs=0.1)
    assert plan.proof_at(1) == plan.proof_seconds
    assert plan.proof_at(2) == plan.proof_seconds + plan.answering_seconds < 2 * plan.proof_seconds
    tiny = plan.model_copy(update={"teacher_seconds": 2.0})
    assert tiny.pace(20) < 1.3


def test_too_little_time_is_one_clear_error():
    with pytest.raises(GoalError, match="takes longer than 10 s") as e:
        make_plan(SMOLLM2, BANKING, 1.5e11, 10)
    assert e.value.exit_code == 2
