"""Borders between answers are put where the metric is best."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import f1_score

from lightbulb.ops.operating_point import shift_for_macro_f1


def macro_f1(logits_NC: np.ndarray, labels_N: np.ndarray) -> float:
    answers = range(logits_NC.shape[1])
    return float(f1_score(labels_N, logits_NC.argmax(axis=1), average="macro", labels=answers, zero_division=0))


def noisy(answers: int, items: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a model that has learnt how rare each answer is."""
    rng = np.random.default_rng(seed)
    share_C = 0.5 ** np.arange(answers)
    labels_N = rng.choice(answers, items, p=share_C / share_C.sum())
    logits_NC = rng.normal(size=(items, answers)) + 1.5 * np.log(share_C)
    logits_NC[np.arange(items), labels_N] += 1.5
    return logits_NC, labels_N


@pytest.mark.parametrize("seed", range(5))
def test_of_two_answers_no_border_is_better(seed):
    logits_NC, labels_N = noisy(2, 200, seed)
    found = macro_f1(logits_NC + shift_for_macro_f1(logits_NC, labels_N), labels_N)
    margins = np.sort(logits_NC[:, 0] - logits_NC[:, 1])
    borders = [margins[0] - 1, *(margins[1:] + margins[:-1]) / 2, margins[-1] + 1]
    assert found == pytest.approx(max(macro_f1(logits_NC + np.array([0, b]), labels_N) for b in borders))


@pytest.mark.parametrize("answers,items", itertools.product((3, 7), (40, 500)))
def test_of_several_it_is_better_than_before(answers, items):
    logits_NC, labels_N = noisy(answers, items, 1)
    shift_C = shift_for_macro_f1(logits_NC, labels_N)
    found = macro_f1(logits_NC + shift_C, labels_N)
    assert found > macro_f1(logits_NC, labels_N) + 0.01 and shift_C.mean() == pytest.approx(0)
    for answer, by in itertools.product(range(answers), (-0.5, -0.1, 0.1, 0.5)):
        moved_C = shift_C + by * (np.arange(answers) == answer)
        assert macro_f1(logits_NC + moved_C, labels_N) <= found + 0.02, "a border that is hardly better may be left"


def test_what_is_best_stays():
    logits_NC, labels_N = np.eye(3)[[0, 1, 2, 0]] * 5, np.array([0, 1, 2, 0])
    assert not shift_for_macro_f1(logits_NC, labels_N).any()
    assert not shift_for_macro_f1(np.zeros((0, 3)), np.zeros(0, np.int64)).any()
    assert not shift_for_macro_f1(np.zeros((4, 1)), np.zeros(4, np.int64)).any()
