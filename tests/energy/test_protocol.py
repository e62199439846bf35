"""The measure protocol on a clock that only its subjects move."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest

from lightbulb.energy import protocol
from lightbulb.energy.estimate import estimate_joules
from lightbulb.energy.meter import Meter
from lightbulb.energy.protocol import Subject, idle_watts, measure_answers, measure_blocks, summarise, warm_up


class Clock:
    """Stands in for the module `time`, and for the meter's clocks."""

    def __init__(self):
        self.seconds = self.cpu = 0.0

    def perf_counter(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def work(self, seconds: float) -> None:
        self.seconds += seconds
        self.cpu += seconds


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(protocol, "time", clock)
    return clock


def meter_on(clock: Clock) -> Meter:
    return Meter((), clock=clock.perf_counter, cpu_clock=lambda: clock.cpu, threads=2)


def steady(clock: Clock, name: str, seconds: float, prompts: int = 64) -> Subject:
    def answer(prompt: str) -> tuple[int, int]:
        clock.work(seconds)
        return 10, 2

    return Subject(name, ["p"] * prompts, answer)


def test_windows_hold_whole_rounds_and_last_at_least_five_seconds(clock):
    trials = measure_answers([steady(clock, "a", 0.3), steady(clock, "b", 0.1)], meter_on(clock), trials=5, seed=0)
    assert trials["a"].cpu_seconds == pytest.approx([0.3] * 5) and trials["b"].wall_seconds == pytest.approx([0.1] * 5)
    figures = summarise(trials["a"])
    assert (
        figures["tokens_per_second"].value == pytest.approx(40) and figures["joules_per_answer"].source == "estimated"
    )

    tables = measure_blocks(lambda: given([steady(clock, "a", 0.3)]), meter_on(clock), trials=4, seed=0)
    for sample in (t["a"] for t in tables):
        assert sample.reading.wall_seconds >= 5 and sample.answers % 17 == 0  # 5 s / 0.3 s: 17 prompts a round
        assert (sample.prompt_tokens, sample.output_tokens) == (10 * sample.answers, 2 * sample.answers)


@contextmanager
def given(subjects):
    yield subjects


def test_warm_up_goes_on_until_it_is_steady_and_not_for_ever(clock):
    spent = []

    def settling(prompt: str) -> tuple[int, int]:
        spent.append(max(0.6, 3.0 * 0.5 ** len(spent)))  # each a call of its own round
        clock.work(spent[-1])
        return 1, 1

    assert warm_up(Subject("a", ["p"], settling)) == pytest.approx(0.6)
    assert spent[:2] == [3.0, 1.5] and spent[-2:] == [0.6, 0.6]
    calls = []

    def restless(prompt: str) -> tuple[int, int]:
        calls.append(1)
        clock.work(0.6 if len(calls) % 2 else 6)
        return 1, 1

    warm_up(Subject("a", ["p"], restless))
    assert len(calls) == 1 + protocol.WARM_UP_ROUNDS


def test_every_block_opens_anew_and_mirrors_its_order(clock):
    opened, closed, order = [], [], []

    @contextmanager
    def fresh():
        opened.append(len(order))

        def subject(name: str) -> Subject:
            def answer(prompt: str) -> tuple[int, int]:
                if not order or order[-1] != name:
                    order.append(name)
                clock.work(1.0)
                return 1, 1

            return Subject(name, ["p"] * 5, answer)

        yield [subject(name) for name in "abcd"]
        closed.append(len(order))

    tables = measure_blocks(fresh, meter_on(clock), trials=5, seed=3)
    assert len(tables) == 5 and len(opened) == len(closed) == 3
    visits = [list(table) for table in tables]  # in the order of the windows
    assert visits[1] == visits[0][::-1] and visits[3] == visits[2][::-1]
    assert any(visits[0] != visits[n] for n in (2, 4)) and all(sorted(v) == list("abcd") for v in visits)


def test_a_steady_drift_cancels_in_a_block(clock):
    """A machine that slows down throughout: the same model twice is within a thousandth of itself."""

    def drifting(name: str) -> Subject:
        def answer(prompt: str) -> tuple[int, int]:
            clock.work(0.1 * (1 + clock.seconds / 1000))
            return 1, 1

        return Subject(name, ["p"] * 64, answer)

    tables = measure_blocks(lambda: given([drifting("a"), drifting("b")]), meter_on(clock), trials=10, seed=1)
    logs = [np.log(t["a"].reading.wall_seconds / t["a"].answers) for t in tables]
    others = [np.log(t["b"].reading.wall_seconds / t["b"].answers) for t in tables]
    differences = np.subtract(logs, others)
    assert np.abs(differences).min() > 0.003  # every single trial is off
    assert np.abs(differences.reshape(5, 2).mean(1)).max() < 0.001


def test_idle_with_the_estimate_is_what_the_formula_says(clock):
    watts = idle_watts(meter_on(clock))
    formula = estimate_joules(0.0, 1.0, threads=2)
    assert (watts.value, watts.low, watts.high) == pytest.approx((formula.value, formula.low, formula.high))
    assert watts.unit == "W" and watts.source == "estimated"


def test_first_tokens_are_told_where_the_subject_tells_them(clock):
    times: list[float] = []

    def answer(prompt: str) -> tuple[int, int]:
        clock.work(1.0)
        times.append(0.25)
        return 1, 1

    subject = Subject("a", ["p"], answer, first_tokens=times)
    (table, *_) = measure_blocks(lambda: given([subject]), meter_on(clock), trials=4, seed=0)
    assert table["a"].first_token_seconds == 0.25
    (table, *_) = measure_blocks(lambda: given([steady(clock, "a", 1.0)]), meter_on(clock), trials=4, seed=0)
    assert table["a"].first_token_seconds is None
