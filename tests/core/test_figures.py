"""Intervals over items: the bootstrap behind every score and every median."""

from __future__ import annotations

import numpy as np
import pytest

from lightbulb.core.figures import bootstrap


def mean(rows: np.ndarray) -> np.ndarray:
    return rows.mean(axis=1)


def ratio(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    return ours.mean(axis=1) / theirs.mean(axis=1)


def test_of_a_mean_it_is_the_interval_that_theory_gives():
    items = np.random.default_rng(3).normal(5.0, 2.0, 400)
    low, high = bootstrap([items], mean)
    half = 1.96 * items.std() / 20
    assert (low, high) == pytest.approx((items.mean() - half, items.mean() + half), abs=0.1 * half)


def test_columns_are_resampled_together():
    items = np.random.default_rng(4).uniform(1, 9, 50)
    assert bootstrap([3 * items, items], ratio) == pytest.approx((3, 3))
    alone = bootstrap([3 * items, items[::-1]], ratio)
    assert alone[0] < 2.7 and alone[1] > 3.3


def test_the_seed_decides():
    items = np.random.default_rng(5).normal(size=30)
    assert bootstrap([items], mean, seed=1) == bootstrap([items], mean, seed=1) != bootstrap([items], mean, seed=2)


def test_one_item_shows_no_spread():
    assert bootstrap([[4.0], [2.0]], ratio) == (2.0, 2.0)
