from __future__ import annotations

import pytest
from sample import joules, measured, sample_record, sample_result

from lightbulb.core.figures import Figure
from lightbulb.report import words
from lightbulb.shrinking import savings


def test_the_run_names_what_before_is() -> None:
    assert savings.compared(sample_result()).name == "adapted teacher, q4_0, llama.cpp"
    name = "adapted teacher, q8_0, llama.cpp"
    assert savings.compared(sample_result(compare_with=name)).name == name
    assert savings.compared(sample_result(compare_with=None)).name == "adapted teacher, f16, llama.cpp"


def test_the_recorded_ratio_goes_before_the_quotient() -> None:
    assert savings.ratio(sample_result(), "cpu_seconds_per_answer").method == "bootstrap of windows"


def test_a_quotient_divides_end_by_end() -> None:
    found = savings.ratio(sample_result(ratios=[]), "cpu_seconds_per_answer")
    assert found.value == pytest.approx(0.0342 / 0.0031)
    assert found.low == pytest.approx(0.0342 * 0.98 / (0.0031 * 1.02))
    assert found.high == pytest.approx(0.0342 * 1.02 / (0.0031 * 0.98))
    assert found.source == "derived"


def test_joules_of_one_watt_model_have_the_ratio_of_the_cpu_time() -> None:
    found = savings.ratio(sample_result(ratios=[]), "joules_per_answer")
    assert found.source == "estimated" and "one watt model" in found.method
    assert (found.low, found.high) == pytest.approx((0.0342 * 0.98 / (0.0031 * 1.02), 0.0342 * 1.02 / (0.0031 * 0.98)))


def test_joules_of_different_estimates_divide_end_by_end() -> None:
    record = sample_record()
    other = Figure(value=0.02, low=0.01, high=0.04, unit="J", source="estimated", method="another model")
    record["student"]["joules_per_answer"] = other
    found = savings.ratio(sample_result(student=record["student"], ratios=[]), "joules_per_answer")
    assert found.low == pytest.approx(2.1 * 0.0342 / 0.04) and found.high == pytest.approx(8.4 * 0.0342 / 0.01)


def test_a_quotient_of_the_unmeasured_is_unmeasured() -> None:
    record = sample_record()
    record["student"]["joules_per_answer"] = None
    assert savings.ratio(sample_result(student=record["student"], ratios=[]), "joules_per_answer").value is None


@pytest.mark.parametrize(
    ("verdict", "says"),
    [("kept", "97.9, 99.6"), ("within-noise", "too small to say"), ("not-kept", "less than the 97%")],
)
def test_each_verdict_has_its_sentence(verdict: str, says: str) -> None:
    assert says in words.verdict_text(sample_result(verdict=verdict))


def test_an_absolute_floor_reads_as_a_score() -> None:
    said = words.verdict_text(sample_result(keep=None, at_least=0.9))
    assert said == "The student scores 0.914 [0.904, 0.924] accuracy; the floor asked for was at least 0.9 accuracy."
    both = words.verdict_text(sample_result(at_least=0.9))
    assert "keeps 98.7%" in both and "scores 0.914" in both and "97% and at least 0.9 accuracy" in both
    bits = sample_result(metric="bits-per-byte", higher_is_better=False, keep=None, at_least=1.1)
    assert words.floor_text(bits) == "at most 1.1 bits per byte"


def test_the_reference_is_named_where_it_is_not_the_teacher() -> None:
    result = sample_result(reference="student, 8 layers, q8_0")
    assert "of student, 8 layers, q8_0’s accuracy" in words.verdict_text(result)
    own = sample_result(reference=result.student.name)
    assert "of the adapted teacher’s accuracy" in words.verdict_text(own)


def test_costs_of_a_right_answer_are_told_where_right_is_defined() -> None:
    assert words.per_right(sample_result()) == list(words.PER_RIGHT)
    record = sample_record()
    none = Figure(value=None, unit="J", method="chrf does not say which answers are right")
    for model in (record["teacher"], *record["baselines"], record["student"]):
        model.update(joules_per_right_answer=none, cpu_seconds_per_right_answer=none)
    models = {k: record[k] for k in ("teacher", "baselines", "student")}
    assert words.per_right(sample_result(**models)) == []


def test_a_student_that_costs_more_does_not_pay() -> None:
    record = sample_record()
    record["student"].update(cpu_seconds_per_answer=measured(0.05, 0.01, "s"), joules_per_answer=joules(0.05))
    never = Figure(value=None, unit="answers", source="derived", method="nothing is saved")
    result = sample_result(student=record["student"], ratios=[], break_even_answers=never)
    assert words.saving_text(result).startswith("It does not pay")
    assert "never paid back" in words.pay_back(result)
    assert words.arithmetic(result) == ""


def test_what_verify_found_reads_as_words() -> None:
    share, nats = Figure(value=1.0, unit="share"), Figure(value=0.03, unit="nats")
    found = words.verification_rows(
        sample_result(verify={"same_choice": share, "max_log_prob_difference": nats, "a_b": nats})
    )
    assert [name for name, _ in found] == [
        "prompts with the same answer",
        "difference in log-probability, largest",
        "a b",
    ]
    assert (found[0][1].value, found[0][1].unit) == (100, "%") and found[1][1] == nats


def test_names_in_sentences() -> None:
    result = sample_result()
    assert "with the adapted teacher (q4_0, llama.cpp), 11.0" in words.saving_text(result)
    assert savings.in_a_sentence(result.student) == "student"


def test_machine_facts_that_are_bare_numbers_have_a_name() -> None:
    lines = words.limits_text(sample_result(machine={"processor": "AMD EPYC", "threads used": "2"}))
    assert any("this machine: AMD EPYC, threads used 2." in line for line in lines)


def test_an_unmeasured_break_even_is_not_called_never() -> None:
    record = sample_record()
    record["student"]["joules_per_answer"] = None
    unknown = Figure(value=None, unit="answers", source="derived", method="joules were not measured")
    result = sample_result(student=record["student"], ratios=[], break_even_answers=unknown)
    assert "not measured" in words.pay_back(result) and "never" not in words.pay_back(result)


def test_the_arithmetic_is_shown_only_where_it_adds_up() -> None:
    assert "22.7\N{NO-BREAK SPACE}kJ for the making ÷ (144\N{NO-BREAK SPACE}mJ" in words.arithmetic(sample_result())
    wrong = Figure(value=7.0, unit="answers", source="derived")
    assert words.arithmetic(sample_result(break_even_answers=wrong)) == ""


def test_estimated_joules_are_a_named_limit() -> None:
    assert any("estimated" in line for line in words.limits_text(sample_result()))
