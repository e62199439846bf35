"""The measure protocol on a clock that only its subjects move."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given as given_cases
from hypothesis import strategies as st
from simulated_clock import Clock, meter_on

from lightbulb.energy.estimate import estimate_joules
from lightbulb.energy.meter import Meter
from lightbulb.measuring import protocol
from lightbulb.measuring.protocol import (
    FEWEST_TRIALS,
    LONGEST_WINDOW,
    MOST_TRIALS,
    SHORTEST_WINDOW,
    Subject,
    idle_watts,
    measure_blocks,
    measuring_seconds,
    warm_up,
    windows_within,
)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(protocol, "time", clock)
    return clock


def steady(clock: Clock, name: str, seconds: float, prompts: int = 64) -> Subject:
    def answer(prompt: str) -> tuple[int, int]:
        clock.work(seconds)
        return 10, 2

    return Subject(name, ["p"] * prompts, answer)


def test_windows_hold_whole_rounds_and_last_at_least_five_seconds(clock):
    both = [steady(clock, "a", 0.3), steady(clock, "b", 0.1)]
    tables = measure_blocks(lambda: given(both), meter_on(clock), trials=4, seed=0)
    for sample in (t["a"] for t in tables):
        assert sample.reading.wall_seconds >= 5 and sample.answers % 17 == 0  # 5 s / 0.3 s: 17 prompts a round
        assert (sample.prompt_tokens, sample.output_tokens) == (10 * sample.answers, 2 * sample.answers)
        assert sample.reading.cpu_seconds.value == pytest.approx(0.3 * sample.answers)
    for sample in (t["b"] for t in tables):
        assert sample.answers % 17 == 0 and sample.reading.wall_seconds == pytest.approx(0.1 * sample.answers)


def test_short_windows_go_on_with_other_prompts_the_same_for_all(clock):
    """Blocks see prompts in turn; both trials of a block, and all subjects in it, see the same."""
    seen: dict[str, list[list[int]]] = {"a": [], "b": []}

    def subject(name: str, seconds: float) -> Subject:
        def answer(prompt: int) -> tuple[int, int]:
            seen[name][-1].append(prompt)
            clock.work(seconds)
            return 1, 1

        return Subject(name, range(7), answer)

    class Windows(Meter):
        def window(self, label: str):
            seen[label.split()[-1]].append([])
            return super().window(label)

    for rounds in seen.values():
        rounds.append([])  # of warming up
    meter = Windows((), clock=clock.perf_counter, cpu_clock=lambda: clock.cpu, threads=2)
    both = [subject("a", 1.0), subject("b", 0.25)]
    measure_blocks(lambda: given(both), meter, trials=8, seed=0, fewest_prompts=2, window_seconds=1.0)
    # a block warms up after its windows are over, so what its last window saw is followed by the next one's warming
    shown = [[sorted(set(w[: 2 if name == "a" else 4])) for w in seen[name][1:]] for name in "ab"]
    assert shown[0] == shown[1]
    assert shown[0] == [sorted({2 * block % 7, (2 * block + 1) % 7}) for block in range(4) for _ in range(2)]


def test_calls_of_many_prompts_share_blocks_with_calls_of_one(clock):
    """A call of 500 answers in 3 ms beside one of a single answer in 100 ms, and a slow one of 20 in half a second:
    each window lasts as long as asked for, the costs of an answer come out right, and rounds are as long as those of
    the same batch allow."""
    models = [("one", 0.1, 1, 64), ("slower", 0.2, 1, 64), ("cheap", 0.003, 500, 7), ("bulky", 0.5, 20, 40)]
    seen: dict[str, list[int]] = {name: [] for name, *_ in models}

    def subject(name: str, seconds: float, batch: int, prompts: int) -> Subject:
        def answer(prompt: int) -> tuple[int, int]:
            seen[name].append(prompt)
            clock.work(seconds)
            return 10 * batch, batch

        return Subject(name, range(prompts), answer, batch)

    tables = measure_blocks(lambda: given([subject(*m) for m in models]), meter_on(clock), trials=8, seed=0,
                            fewest_prompts=2, window_seconds=3.0)  # fmt: skip
    for name, seconds, batch, prompts in models:
        calls_of_a_round = {"one": 15, "slower": 15, "cheap": 7, "bulky": 6}[name]
        for sample in (table[name] for table in tables):
            assert 3.0 <= sample.reading.wall_seconds < 3.0 + calls_of_a_round * seconds + 1e-6
            assert sample.answers % (batch * calls_of_a_round) == 0
            assert sample.reading.cpu_seconds.value / sample.answers == pytest.approx(seconds / batch)
            assert (sample.prompt_tokens, sample.output_tokens) == (10 * sample.answers, sample.answers)
        assert len(set(seen[name])) == min(prompts, 4 * calls_of_a_round), "four blocks go on where the last one ended"


@given_cases(st.floats(1, 1e4), st.integers(1, 12))
def test_windows_fit_the_time_where_it_is_enough_for_an_interval(seconds, files):
    trials, window = windows_within(seconds, files)
    assert trials in (FEWEST_TRIALS, MOST_TRIALS) and SHORTEST_WINDOW <= window <= LONGEST_WINDOW
    least = measuring_seconds(files, FEWEST_TRIALS, SHORTEST_WINDOW)
    assert measuring_seconds(files, trials, window) <= max(seconds, least) + 1e-9
    assert windows_within(2 * seconds, files) >= (trials, window)


def test_measuring_takes_what_is_said(clock):
    """Against a simulated run of four files; a long answer makes a window longer."""
    for each in (0.01, 2.0):
        begin = clock.seconds
        four = [steady(clock, name, each) for name in "abcd"]

        @contextmanager
        def opened(subjects=four):
            clock.sleep(4 * protocol.OPENING_SECONDS)
            yield subjects

        measure_blocks(opened, meter_on(clock), trials=8, seed=0, fewest_prompts=2, window_seconds=1.5)
        said = measuring_seconds(4, 8, 1.5, 2 * each)
        assert clock.seconds - begin == pytest.approx(said, rel=0.15), each


@contextmanager
def given(subjects):
    yield subjects


def test_warm_up_goes_on_until_it_is_steady_and_not_for_ever(clock):
    spent = []

    def settling(prompt: str) -> tuple[int, int]:
        spent.append(max(0.6, 3.0 * 0.5 ** len(spent)))  # each a call of its own round
        clock.work(spent[-1])
        return 1, 1

    assert warm_up(Subject("a", ["p"], settling), 5.0) == pytest.approx(0.6)
    assert spent[:2] == [3.0, 1.5] and spent[-2:] == [0.6, 0.6]
    calls = []

    def restless(prompt: str) -> tuple[int, int]:
        calls.append(1)
        clock.work(0.6 if len(calls) % 2 else 6)
        return 1, 1

    warm_up(Subject("a", ["p"], restless), 5.0)
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
