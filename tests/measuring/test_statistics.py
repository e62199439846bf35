"""Intervals that hold: simulated invocations, whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lightbulb.core.figures import Figure, bootstrap
from lightbulb.measuring import statistics
from lightbulb.measuring.statistics import cases, median_figure, paired_difference, paired_ratio, within_noise

TRUTH = 1.6


def invocations(count: int, between: float, block: float, trial: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Costs of two models whose log ratio moves with the invocation, the block of two trials, and the trial."""
    rng = np.random.default_rng(7)
    found = []
    for _ in range(count):
        shared = rng.normal(0, between) + np.repeat(rng.normal(0, block, 5), 2)
        theirs = np.exp(rng.normal(0, 0.2)) * np.exp(rng.normal(0, trial, 10))
        found.append((TRUTH * theirs * np.exp(shared + rng.normal(0, trial, 10)), theirs))
    return found


def coverage(figures: list[Figure]) -> float:
    return sum(f.low <= TRUTH <= f.high for f in figures) / len(figures)


def test_the_interval_holds_in_other_invocations_where_a_bootstrap_over_trials_does_not():
    seen = invocations(300, between=0.04, block=0.02, trial=0.003)
    ours = [paired_ratio(a, b, "", block=2) for a, b in seen]
    plain = [bootstrap([(a / b).tolist()], lambda x: np.median(x, axis=-1)) for a, b in seen[:60]]
    assert coverage(ours) >= 0.95
    assert sum(low <= TRUTH <= high for low, high in plain) / len(plain) < 0.9
    assert np.median([f.high / f.low for f in ours]) < 1.25  # and it is not merely wide


def test_without_the_floor_it_is_student_s_interval(monkeypatch):
    from scipy import stats

    monkeypatch.setattr(statistics, "RATIO_FLOOR", 0.0)
    (ours, theirs), *_ = invocations(1, 0.01, 0.02, 0.01)
    figure = paired_ratio(ours, theirs, "", block=2)
    means = np.log(ours / theirs).reshape(5, 2).mean(1)
    low, high = stats.t.interval(0.95, 4, loc=means.mean(), scale=stats.sem(means))
    assert (figure.low, figure.high) == pytest.approx((math.exp(low), math.exp(high)), rel=1e-9)
    assert figure.value == pytest.approx(math.exp(means.mean()))


@given(
    st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=2, max_size=12),
    st.integers(1, 3),
    st.floats(0.01, 100),
)
@settings(max_examples=50)
def test_turned_over_it_is_the_reciprocal_and_units_do_not_matter(pairs, block, unit):
    assume(len(pairs) > block)
    ours, theirs = zip(*pairs, strict=True)
    figure = paired_ratio(ours, theirs, "", block=block)
    turned = paired_ratio([unit * x for x in theirs], [unit * x for x in ours], "", block=block)
    assert (turned.value, turned.low, turned.high) == pytest.approx((1 / figure.value, 1 / figure.high, 1 / figure.low))


@pytest.mark.parametrize("block", [2, 3])
def test_one_block_has_no_ratio(block):
    assert paired_ratio([2.0] * block, [1.0] * block, "", block=block).value is None


def test_a_difference_holds_in_other_invocations_too():
    """What is saved an answer, of what the dearer one takes 1.6 times."""
    seen = invocations(300, between=0.04, block=0.02, trial=0.003)
    relative = [paired_difference((a / b).tolist(), np.ones(10).tolist(), "J", block=2) for a, b in seen]
    assert sum(f.low <= TRUTH - 1 <= f.high for f in relative) / len(relative) >= 0.95
    assert np.median([f.high - f.low for f in relative]) < 0.25 * TRUTH
    assert relative[0].value == pytest.approx(float(np.mean(seen[0][0] / seen[0][1])) - 1)
    assert paired_difference([2.0, 2.0], [1.0, 1.0], "J", block=2).value is None  # one block shows no spread


def test_within_noise():
    same = paired_ratio([1.0, 1.001, 0.999, 1.0], [1.0, 1.0, 1.0, 1.0], "")
    other = paired_ratio([2.0, 2.001, 1.999, 2.0], [1.0, 1.0, 1.0, 1.0], "")
    assert within_noise(same) and not within_noise(other)
    assert other.high / other.low >= math.exp(2 * 1.95 * statistics.RATIO_FLOOR)  # equal trials prove nothing


@pytest.mark.parametrize("ours, theirs", [([1.0, -0.1], [1.0, 1.0]), ([1.0], [1.0]), ([1.0, 2.0], [0.0, 1.0])])
def test_what_vanishes_in_the_noise_has_no_ratio(ours, theirs):
    figure = paired_ratio(ours, theirs, "paired")
    assert figure.value is None and "noise" in figure.method and within_noise(figure)


def test_an_estimate_keeps_the_interval_of_its_watts():
    counter = Figure(value=2.0, unit="J")
    estimate = Figure(value=2.0, low=1.0, high=5.0, unit="J", source="estimated")
    assert cases(counter).tolist() == [2, 2, 2] and cases(estimate).tolist() == [2, 1, 5]
    assert cases(Figure(value=None, unit="J")) is None
    exact = median_figure([1.0, 2.0, 3.0], "J", "")
    wide = median_figure(np.array([[1.0, 0.5, 2.5], [2.0, 1.0, 5.0], [3.0, 1.5, 7.5]]), "J", "", source="estimated")
    assert exact.value == wide.value == 2.0
    assert (wide.low, wide.high) == (exact.low / 2, exact.high * 2.5)
