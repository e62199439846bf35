from __future__ import annotations

from typing import Any

import pytest
from sample import Q4, joules, measured, sample_result

from lightbulb.figures import Figure
from lightbulb.report import judge
from lightbulb.report.record import Quantity, Ratio, Scored


def figure(value: float, low: float, high: float, **more: Any) -> Figure:
    return Figure(value=value, low=low, high=high, unit="", **more)


def times(value: float, low: float, high: float, quantity: Quantity = "cpu_seconds_per_answer", **more: Any) -> Ratio:
    return Ratio(name="", value=figure(value, low, high, source=more.pop("source", "derived")), quantity=quantity)


def model(name: str, score: float, cpu_seconds: float) -> Scored:
    return Scored(
        name=f"adapted teacher, {name}, llama.cpp",
        score=Figure(value=score, unit="share"),
        cpu_seconds_per_answer=measured(cpu_seconds, 0.01, "s"),
        joules_per_answer=joules(cpu_seconds),
    )


F16, Q8, Q4_FILE = model("f16", 0.92, 0.05), model("q8_0", 0.921, 0.04), model("q4_0", 0.90, 0.03)
STUDENT = model("student", 0.91, 0.035)


@pytest.mark.parametrize(
    ("low", "high", "says"), [(0.97, 0.99, "kept"), (0.96, 0.98, "within-noise"), (0.94, 0.96, "not-kept")]
)
def test_the_verdict_is_about_the_whole_interval(low: float, high: float, says: str) -> None:
    assert judge.verdict(figure((low + high) / 2, low, high), 0.97) == says


def test_the_rival_is_within_a_point_of_the_teacher() -> None:
    assert judge.best_rival(F16, [Q8, Q4_FILE], "accuracy") == Q8
    assert judge.best_rival(F16, [Q4_FILE], "accuracy") == F16


def test_a_quantization_that_costs_more_than_the_teacher_flatters_nobody() -> None:
    assert judge.best_rival(F16, [model("q8_0", 0.921, 0.06)], "accuracy") == F16


def test_a_stock_file_that_keeps_what_was_asked_would_do() -> None:
    """q4_0 keeps 97.8% of the teacher."""
    assert judge.stand_ins(F16, [Q8, Q4_FILE], 0.97, "accuracy") == [F16, Q8, Q4_FILE]
    assert judge.stand_ins(F16, [Q8, Q4_FILE], 0.99, "accuracy") == [F16, Q8]


def test_where_lower_is_better_a_higher_score_is_a_loss() -> None:
    bits = [model("f16", 0.92, 0.05), model("q4_0", 0.96, 0.03)]
    assert judge.stand_ins(bits[0], bits[1:], 0.97, "bits-per-byte") == bits[:1]
    assert judge.stand_ins(bits[0], bits[1:], 0.95, "bits-per-byte") == bits


def test_joules_decide_only_where_a_counter_read_them() -> None:
    cpu, counted = times(2, 1.9, 2.1), times(3, 2.8, 3.2, "joules_per_answer")
    estimated = times(3, 2.8, 3.2, "joules_per_answer", source="estimated")
    assert judge.saving([cpu, counted]) is counted
    assert judge.saving([cpu, estimated]) is cpu and judge.saving([cpu]) is cpu


def test_a_student_that_saves_is_not_refused() -> None:
    assert judge.refusal(STUDENT, [F16, Q8], lambda rival: times(1.2, 1.1, 1.3)) is None


def test_the_cheapest_stock_file_refuses_a_student() -> None:
    over = {F16.name: times(1.43, 1.4, 1.5), Q8.name: times(1.14, 1.1, 1.2), Q4_FILE.name: times(0.86, 0.8, 0.9)}
    found = judge.refusal(STUDENT, [F16, Q8, Q4_FILE], lambda rival: over[rival.name])
    assert found and found[0] == Q4_FILE
    assert found[1] == (
        "it costs more than a stock file, the adapted teacher (q4_0, llama.cpp): 35.0 ms [34.6, 35.4] of CPU time an "
        "answer, against 30.0 ms [29.7, 30.3]; use that one"
    )


def test_what_is_not_shown_to_save_is_refused_in_other_words() -> None:
    found = judge.refusal(STUDENT, [Q8], lambda rival: times(1.02, 0.97, 1.1))
    assert found and "is not shown to cost less than" in found[1] and "costs more" not in found[1]


def counted(value: float) -> Scored:
    return model("x", 0.9, 1).model_copy(update={"joules_per_answer": Figure(value=value, unit="J")})


def saved(value: float, low: float, high: float) -> Figure:
    return figure(value, low, high, method="paired")


def test_break_even_carries_the_trials_and_the_making() -> None:
    less = saved(2.0, 1.9, 2.1)
    exact = judge.break_even(Figure(value=100, unit="J"), counted(3), counted(1), less)
    assert (exact.value, exact.low, exact.high) == pytest.approx((50, 100 / 2.1, 100 / 1.9))
    assert exact.source == "derived"
    making = Figure(value=100, low=90, high=120, unit="J")
    wide = judge.break_even(making, counted(3), counted(1), less)
    assert (wide.low, wide.high) == pytest.approx((90 / 2.1, 120 / 1.9)) and "interval of the making" in wide.method


def test_estimates_of_one_watt_model_cancel() -> None:
    """Low and high ends are half and twice the value on every side: nothing of them is left."""
    same = judge.break_even(joules(1000), model("q4_0", 0.9, 3), model("student", 0.9, 1), saved(8.4, 8.3, 8.5))
    assert (same.value, same.low, same.high) == pytest.approx((500, 4200 / 8.5, 4200 / 8.3))
    assert same.source == "estimated" and "watt model" in same.method


def test_what_does_not_cancel_widens_the_interval() -> None:
    making = Figure(value=4200, low=2100, high=12600, unit="J", source="estimated")
    wide = judge.break_even(making, model("q4_0", 0.9, 3), model("student", 0.9, 1), saved(8.4, 8.4, 8.4))
    assert (wide.low, wide.high) == pytest.approx((500, 750))


def test_nothing_is_paid_back_where_nothing_is_shown_to_be_saved() -> None:
    for less in (saved(-1.0, -1.1, -0.9), saved(0.1, -0.1, 0.2)):
        found = judge.break_even(Figure(value=9, unit="J"), counted(3), counted(2.9), less)
        assert found.value is None and "not shown to cost less" in found.method
    unmeasured = judge.break_even(Figure(value=9, unit="J"), counted(3), counted(1), Figure(value=None, unit="J"))
    assert unmeasured.value is None and "not measured" in unmeasured.method


def test_the_sample_agrees_with_itself() -> None:
    result = sample_result()
    assert judge.best_rival(result.teacher, result.baselines, result.metric).name == Q4
