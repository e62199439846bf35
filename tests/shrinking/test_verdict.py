from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sample import joules, measured

from lightbulb.core.figures import Figure
from lightbulb.measuring.costs import Costs
from lightbulb.shrinking import verdict
from lightbulb.shrinking.candidate import Candidate
from lightbulb.shrinking.floor import Floor
from lightbulb.shrinking.record import Scored
from lightbulb.shrinking.verdict import File


def figure(value: float, low: float, high: float, **more: Any) -> Figure:
    return Figure(value=value, low=low, high=high, unit="", **more)


def model(name: str, score: float, cpu_seconds: float) -> Scored:
    return Scored(
        name=f"adapted teacher, {name}, llama.cpp",
        score=Figure(value=score, unit="share"),
        cpu_seconds_per_answer=measured(cpu_seconds, 0.01, "s"),
        joules_per_answer=joules(cpu_seconds),
    )


def costs(seconds: float, joules: float | None = None, spread: float = 0.002) -> Costs:
    """Eight trials around `seconds` of CPU time an answer; joules are those of a counter, or an estimate of 4 W."""
    noise = 1 + spread * np.array([1, -1, 0.5, -0.5, 0, 1, -1, 0])
    cpu = np.repeat((seconds * noise)[:, None], 3, axis=1)
    watts = np.repeat(((4 * seconds if joules is None else joules) * noise)[:, None], 3, axis=1)
    series = {"cpu_seconds_per_answer": cpu, "seconds_per_answer": cpu, "joules_per_answer": watts}
    return Costs(series, {}, Figure(value=1.0, unit="J"), modelled=joules is None)


def file(
    name: str, score: float, seconds: float, *, counter: float | None = None, chance: str = "", beats: bool = False
) -> File:
    scored = model(name, score, seconds)
    if counter is not None:
        scored = scored.model_copy(update={"joules_per_answer": Figure(value=counter, unit="J")})
    # any candidate that is told from the others: only `select_file` is tried here
    candidate = Candidate(layers=1 + sum(name.encode()), method="plain", quant_type="f16")
    return File(candidate, scored, costs(seconds, counter), chance, beats)


F16, Q8, Q4_FILE = file("f16", 0.92, 0.05), file("q8_0", 0.921, 0.04), file("q4_0", 0.90, 0.03)
STOCK = [F16, Q8, Q4_FILE]
KEEP = Floor("accuracy", keep=0.97)  # 0.8924 here


def test_a_student_that_does_it_for_less_is_handed_out() -> None:
    student = file("student", 0.91, 0.02)
    found = verdict.select_file(STOCK, [student], KEEP)
    assert (found.verdict, found.handed, found.best, found.reason) == ("kept", student, None, "")
    assert found.compared == Q4_FILE and found.reference == F16 and found.floor == pytest.approx(0.8924)


def test_the_cheapest_stock_file_that_does_is_handed_out_where_the_student_is_below() -> None:
    """q4_0 keeps 97.8% of the teacher, and not 99%."""
    low = file("student", 0.61, 0.002)
    found = verdict.select_file(STOCK, [low], KEEP)
    assert (found.verdict, found.handed, found.best, found.best_does) == ("not-shrunk", Q4_FILE, low, False)
    assert found.reason == "the best student scores 0.610, and 0.8924 or more was needed"
    assert verdict.select_file(STOCK, [low], Floor("accuracy", keep=0.99)).handed == Q8
    assert verdict.select_file(STOCK, [], KEEP).reason == "no student was made"


def test_a_point_below_the_floor_is_below_it_however_wide_its_interval() -> None:
    near = file("student", 0.892, 0.02)
    assert verdict.select_file(STOCK, [near], KEEP).handed == Q4_FILE
    assert verdict.select_file(STOCK, [file("student", 0.8925, 0.02)], KEEP).verdict == "kept"


def test_a_student_that_costs_more_is_not_handed_out() -> None:
    student = file("student", 0.91, 0.035)
    found = verdict.select_file(STOCK, [student], KEEP)
    assert (found.verdict, found.handed, found.best, found.best_does) == ("not-shrunk", Q4_FILE, student, True)
    assert found.reason == (
        "the student costs more than a stock file, the adapted teacher (q4_0, llama.cpp): 35.0 ms [34.6, 35.4] of CPU "
        "time an answer, against 30.0 ms [29.7, 30.3]"
    )
    # where q4_0 does not do, the same student saves
    assert verdict.select_file(STOCK, [student], Floor("accuracy", keep=0.98)).handed == student


def test_what_is_not_shown_to_save_is_refused_in_other_words() -> None:
    """3% less in every trial is within the floor of what an invocation can see."""
    found = verdict.select_file(STOCK, [file("student", 0.91, 0.029)], KEEP)
    assert found.verdict == "not-shrunk" and found.best_does
    assert "is not shown to cost less than" in found.reason and "costs more" not in found.reason


def test_nothing_does() -> None:
    found = verdict.select_file(STOCK, [file("student", 0.91, 0.02)], Floor("accuracy", at_least=0.95))
    assert (found.verdict, found.handed) == ("not-kept", None) and found.best is not None
    assert found.reason.endswith("and 0.95 or more was needed")


def test_an_absolute_floor_needs_no_teacher_and_both_must_hold() -> None:
    student = file("student", 0.905, 0.02)
    assert verdict.select_file(STOCK, [student], Floor("accuracy", at_least=0.9)).handed == student
    assert verdict.select_file(STOCK, [student], Floor("accuracy", at_least=0.91)).handed == Q8
    assert verdict.select_file(STOCK, [student], Floor("accuracy", keep=0.99, at_least=0.9)).handed == Q8
    weak = [file("f16", 0.5, 0.05), file("q8_0", 0.5, 0.04), file("q4_0", 0.4, 0.03)]
    found = verdict.select_file(weak, [file("student", 0.6, 0.06)], Floor("accuracy", at_least=0.55))
    assert found.verdict == "kept", "what alone does it is handed out, cheap or not"


def test_a_weak_teacher_does_not_lower_the_floor() -> None:
    """A student that beat the teacher on validation is the reference: stock files are held against it."""
    weak = [file("f16", 0.50, 0.05), file("q8_0", 0.50, 0.02), file("q4_0", 0.49, 0.01)]
    better = file("student", 0.80, 0.03, beats=True)
    found = verdict.select_file(weak, [better], KEEP)
    assert found.handed == better and found.reference == better and found.floor == pytest.approx(0.776)
    bold = file("bold", 0.52, 0.001)
    found = verdict.select_file(weak, [bold, better], KEEP)
    assert found.handed == better, "0.52 keeps the teacher's 0.50, not the best that was trained"
    lucky = file("student", 0.45, 0.001, beats=True)  # better on validation only
    assert verdict.select_file(weak, [lucky], KEEP).reference == weak[0]


def test_what_is_at_chance_is_neither_handed_out_nor_placed_beside() -> None:
    guess = file("student", 0.91, 0.001, chance="always answering 'x' or guessing gives 0.905")
    found = verdict.select_file(STOCK, [guess], KEEP)
    assert (found.verdict, found.handed, found.best) == ("not-shrunk", Q4_FILE, None)
    assert "at chance" in found.reason and "0.905" in found.reason
    worse = [F16, file("q8_0", 0.921, 0.04, chance="x"), file("q4_0", 0.9, 0.03, chance="x")]
    assert verdict.select_file(worse, [guess], KEEP).handed == F16


def test_where_lower_is_better_a_higher_score_is_a_loss() -> None:
    bits = [file("f16", 0.92, 0.05), file("q8_0", 0.921, 0.04), file("q4_0", 0.96, 0.03)]
    student = file("student", 0.95, 0.02)
    assert verdict.select_file(bits, [student], Floor("bits-per-byte", keep=0.97)).handed == bits[1]
    assert verdict.select_file(bits, [student], Floor("bits-per-byte", keep=0.96)).handed == student
    found = verdict.select_file(bits, [student], Floor("bits-per-byte", at_least=0.93))
    assert found.handed == bits[1] and found.reason.endswith("0.93 or less was needed")


def test_joules_decide_only_where_a_counter_read_them() -> None:
    """As much CPU time as q4_0, and a third of its joules by a counter."""
    before, after = file("q4_0", 0.9, 0.03, counter=3.0), file("student", 0.91, 0.03, counter=1.0)
    assert verdict.saving(before, after)[0] == "joules_per_answer"
    assert verdict.saving(Q4_FILE, file("student", 0.91, 0.03))[0] == "cpu_seconds_per_answer"
    counted_stock = [file("f16", 0.92, 0.05, counter=5.0), file("q8_0", 0.921, 0.04, counter=4.0), before]
    assert verdict.select_file(counted_stock, [after], KEEP).handed == after
    assert verdict.select_file(STOCK, [file("student", 0.91, 0.03)], KEEP).handed == Q4_FILE


@pytest.mark.parametrize(("low", "is_sure"), [(0.97, True), (0.96, False)])
def test_sure_is_about_the_whole_interval(low: float, is_sure: bool) -> None:
    retention, score = figure(low + 0.01, low, low + 0.02), figure(0.9, 0.88, 0.92)
    assert verdict.sure(retention, score, KEEP, is_reference=False) == is_sure
    assert verdict.sure(retention, score, KEEP, is_reference=True)
    both = Floor("accuracy", keep=0.97, at_least=0.89)
    assert not verdict.sure(retention, score, both, is_reference=False)
    assert verdict.sure(figure(0.98, 0.97, 0.99), figure(0.9, 0.89, 0.92), both, is_reference=False)
    bits = Floor("bits-per-byte", at_least=0.93)
    assert verdict.sure(retention, score, bits, False) and not verdict.sure(
        retention, figure(0.92, 0.9, 0.94), bits, False
    )


def counted(value: float) -> Scored:
    return model("x", 0.9, 1).model_copy(update={"joules_per_answer": Figure(value=value, unit="J")})


def saved(value: float, low: float, high: float) -> Figure:
    return figure(value, low, high, method="paired")


def test_break_even_carries_the_trials_and_the_making() -> None:
    less = saved(2.0, 1.9, 2.1)
    exact = verdict.break_even(Figure(value=100, unit="J"), counted(3), counted(1), less)
    assert (exact.value, exact.low, exact.high) == pytest.approx((50, 100 / 2.1, 100 / 1.9))
    assert exact.source == "derived"
    making = Figure(value=100, low=90, high=120, unit="J")
    wide = verdict.break_even(making, counted(3), counted(1), less)
    assert (wide.low, wide.high) == pytest.approx((90 / 2.1, 120 / 1.9)) and "interval of the making" in wide.method


def test_estimates_of_one_watt_model_cancel() -> None:
    """Low and high ends are half and twice the value on every side: nothing of them is left."""
    same = verdict.break_even(joules(1000), model("q4_0", 0.9, 3), model("student", 0.9, 1), saved(8.4, 8.3, 8.5))
    assert (same.value, same.low, same.high) == pytest.approx((500, 4200 / 8.5, 4200 / 8.3))
    assert same.source == "estimated" and "watt model" in same.method


def test_what_does_not_cancel_widens_the_interval() -> None:
    making = Figure(value=4200, low=2100, high=12600, unit="J", source="estimated")
    wide = verdict.break_even(making, model("q4_0", 0.9, 3), model("student", 0.9, 1), saved(8.4, 8.4, 8.4))
    assert (wide.low, wide.high) == pytest.approx((500, 750))


def test_nothing_is_paid_back_where_nothing_is_shown_to_be_saved() -> None:
    for less in (saved(-1.0, -1.1, -0.9), saved(0.1, -0.1, 0.2)):
        found = verdict.break_even(Figure(value=9, unit="J"), counted(3), counted(2.9), less)
        assert found.value is None and "not shown to cost less" in found.method
    unmeasured = verdict.break_even(Figure(value=9, unit="J"), counted(3), counted(1), Figure(value=None, unit="J"))
    assert unmeasured.value is None and "not measured" in unmeasured.method


def test_without_a_language_model_what_is_enough_is_handed_out() -> None:
    linear, encoder = file("linear", 0.91, 1e-5, beats=True), file("encoder", 0.93, 3e-3, beats=True)
    found = verdict.select_file([], [encoder, linear], Floor("accuracy", at_least=0.9))
    assert (found.verdict, found.handed, found.compared, found.best) == ("kept", linear, None, None)
    assert found.why_not(linear, Floor("accuracy", at_least=0.9)) == ""
    assert "costs more than" in found.why_not(encoder, Floor("accuracy", at_least=0.9))
    kept = verdict.select_file([], [encoder, linear], Floor("accuracy", keep=0.99))
    assert kept.handed == encoder and kept.reference == encoder
    assert kept.why_not(linear, Floor("accuracy", keep=0.99)) == "0.9207 or more was needed"


def test_without_a_language_model_nothing_may_be_enough() -> None:
    linear = file("linear", 0.8, 1e-5, beats=True)
    found = verdict.select_file([], [linear], Floor("accuracy", at_least=0.9))
    assert (found.verdict, found.handed, found.best) == ("not-kept", None, linear)
    assert "0.9 or more was needed" in found.reason


def test_the_cheapest_of_several_kinds_is_handed_out_and_each_other_says_why_not() -> None:
    linear, encoder, idle = (
        file("linear", 0.905, 1e-5),
        file("encoder", 0.925, 3e-3, beats=True),
        file("idle", 0.5, 1e-4, chance="guessing gives 0.5"),
    )
    found = verdict.select_file(STOCK, [encoder, linear, idle], KEEP)
    assert found.handed == linear and found.reference == encoder and found.compared == Q4_FILE
    assert found.why_not(idle, KEEP) == "at chance on test: guessing gives 0.5"
    assert "costs more" in found.why_not(encoder, KEEP)
