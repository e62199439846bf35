"""Windows of known costs give back these costs."""

from __future__ import annotations

import json

import pytest

from lightbulb.core.figures import Figure
from lightbulb.energy.estimate import estimate_joules, watts_per_thread
from lightbulb.energy.meter import Reading
from lightbulb.measuring.costs import NAMES, SPEEDS, Costs, MeasuredTrial, per_right_answer, ratios, saved
from lightbulb.measuring.protocol import Sample

PROMPT, OUTPUT = 100, 11  # tokens of an answer
READ, WRITE = 0.002, 0.05  # CPU seconds of a prompt token and of an output token
IDLE_SECONDS = 1.25  # wall seconds for each CPU second


def joules_of(cpu: float, wall: float) -> Figure:
    return estimate_joules(cpu, wall, threads=2, family="amd-epyc-gen4")


def counter(cpu: float, wall: float) -> Figure:
    return Figure(value=10 * cpu + 3 * wall, unit="J", scope="chip", method="package-0")


def window(answers: int, output: int, joules=joules_of, factor: float = 1.0) -> Sample:
    cpu = factor * answers * (PROMPT * READ + (output - 1) * WRITE)
    wall = IDLE_SECONDS * cpu
    seconds = Figure(value=cpu, unit="s", scope="process", method="getrusage")
    reading = Reading("w", wall, seconds, joules(cpu, wall), {})
    return Sample(answers, answers * PROMPT, answers * output, reading)


def trials(joules=joules_of, factor: float = 1.0) -> list[MeasuredTrial]:
    return [MeasuredTrial(window(50 + n, 1, joules, factor), window(7 + n, OUTPUT, joules, factor)) for n in range(6)]


def test_prefill_and_decode_come_apart():
    costs = Costs.of(trials(), joules_of(0, 1), {})
    figures = costs.figures("6 windows")
    assert set(figures) == {*NAMES, *SPEEDS}
    assert figures["cpu_seconds_per_prompt_token"].value == pytest.approx(READ)
    assert figures["cpu_seconds_per_output_token"].value == pytest.approx(WRITE)
    assert figures["cpu_seconds_per_answer"].value == pytest.approx(PROMPT * READ + 10 * WRITE)
    assert figures["tokens_per_second_prefill"].value == pytest.approx(1 / (READ * IDLE_SECONDS))
    assert figures["tokens_per_second_decode"].value == pytest.approx(1 / (WRITE * IDLE_SECONDS))
    assert figures["cpu_seconds_per_output_token"].source == "derived"


def test_joules_less_idling_are_those_that_the_work_adds():
    watts = watts_per_thread(("amd-epyc-gen4",))
    idle = joules_of(0, 1)
    figures = Costs.of(trials(), idle, {}).figures("")
    net = figures["net_joules_per_output_token"]
    assert (net.low, net.value, net.high) == pytest.approx(tuple(w * WRITE for w in watts.busy), rel=1e-6)
    gross = figures["joules_per_output_token"]
    assert gross.value == pytest.approx(net.value + 2 * watts.idle[1] * WRITE * IDLE_SECONDS)
    assert gross.source == net.source == "estimated" and net.low < net.value < net.high < gross.high


def test_a_counter_s_idling_makes_the_interval():
    idle = Figure(value=3.0, low=2.5, high=3.5, unit="W")
    figures = Costs.of(trials(counter), idle, {}).figures("")
    gross, net = figures["joules_per_answer"], figures["net_joules_per_answer"]
    cpu = PROMPT * READ + 10 * WRITE
    assert (gross.low, gross.value, gross.high) == pytest.approx(((10 + 3 * IDLE_SECONDS) * cpu,) * 3)
    assert (net.low, net.value, net.high) == pytest.approx(
        tuple((10 + x * IDLE_SECONDS) * cpu for x in (-0.5, 0, 0.5)), rel=1e-9
    )
    assert (gross.source, net.source, gross.scope) == ("measured", "derived", "chip")


def test_what_was_not_measured_is_none_and_says_why():
    def silent(cpu: float, wall: float) -> Figure:
        return Figure(value=None, unit="J", method="rapl: it did not answer")

    only_read = [MeasuredTrial(t.read) for t in trials(silent)]
    figures = Costs.of(only_read, Figure(value=None, unit="W"), {"cpu_seconds": "not here"}).figures("")
    assert figures["joules_per_answer"].value is None and "did not answer" in figures["joules_per_answer"].method
    assert figures["net_joules_per_prompt_token"].value is None
    assert figures["cpu_seconds_per_answer"].method == "not here"
    assert figures["seconds_per_output_token"].value is None
    assert "one token" in figures["tokens_per_second_decode"].method
    assert figures["seconds_per_answer"].value == pytest.approx(PROMPT * READ * IDLE_SECONDS)


def test_ratios_are_paired_and_estimates_span_cpu_and_wall():
    ours, theirs = (Costs.of(trials(factor=f), joules_of(0, 1), {}) for f in (1.5, 1.0))
    found = ratios(ours, theirs)
    assert set(found) == set(NAMES) and all(f.value == pytest.approx(1.5) for f in found.values())
    joules, parts = found["joules_per_answer"], [found["cpu_seconds_per_answer"], found["seconds_per_answer"]]
    assert joules.source == "estimated" and joules.low <= min(p.low for p in parts)
    assert joules.high >= max(p.high for p in parts)
    assert found["net_joules_per_answer"].source == "estimated" and found["seconds_per_answer"].source == "derived"
    measured = ratios(*(Costs.of(trials(counter, f), None, {}) for f in (1.5, 1.0)))
    assert measured["joules_per_answer"].source == "derived" and "net_joules_per_answer" not in measured


def test_costs_of_whole_answers_survive_a_file():
    ours, theirs = (Costs.of_answers([t.write for t in trials(factor=f)]) for f in (1.5, 1.0))
    assert set(ours.series) == {f"{cost}_per_answer" for cost in ("cpu_seconds", "seconds", "joules")}
    cpu = 1.5 * (PROMPT * READ + 10 * WRITE)
    figures = ours.figures("6 windows")
    assert figures["cpu_seconds_per_answer"].value == pytest.approx(cpu)
    assert figures["net_joules_per_answer"].value is None
    again = Costs.from_dict(json.loads(json.dumps(ours.as_dict())))
    assert ratios(again, theirs) == ratios(ours, theirs)
    assert ratios(again, theirs)["joules_per_answer"].source == "estimated"


def test_what_is_saved_is_the_difference():
    ours, theirs = (Costs.of_answers([t.write for t in trials(counter, f)]) for f in (3.0, 1.0))
    found = saved(ours, theirs, "joules_per_answer")
    assert found.value == pytest.approx(2 * (10 + 3 * IDLE_SECONDS) * (PROMPT * READ + 10 * WRITE))
    assert found.low < found.value < found.high and found.unit == "J"
    silent = Costs.of_answers([t.write for t in trials(lambda cpu, wall: Figure(value=None, unit="J"))])
    assert saved(ours, silent, "joules_per_answer").value is None


def test_a_right_answer_costs_those_that_were_not_too():
    cost = Figure(value=3.0, low=2.0, high=4.0, unit="J", source="estimated", scope="machine", method="m")
    right = Figure(value=0.5, low=0.4, high=0.8, unit="share")
    found = per_right_answer(cost, right)
    assert (found.value, found.low, found.high) == pytest.approx((6.0, 2.5, 10.0))
    assert (found.unit, found.source, found.scope) == ("J", "estimated", "machine")
    exact = per_right_answer(Figure(value=3.0, unit="s"), right)
    assert (exact.low, exact.high, exact.source) == (pytest.approx(3.75), pytest.approx(7.5), "derived")
    nothing = per_right_answer(cost, Figure(value=0.0, low=0.0, high=0.1, unit="share"))
    assert nothing.value is None and nothing.method == "nothing was right"
    undefined = per_right_answer(cost, Figure(value=None, unit="share", method="chrf does not say what is right"))
    assert undefined.value is None and "chrf" in undefined.method
