"""The thresholds of cascades: how much is answered early, and what the joint decision keeps."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from conftest import tiny_task

from lightbulb.passes.cascade import NEVER, Answered, choose, shares_of
from lightbulb.tasks.metrics import retention
from lightbulb.tasks.task import Example

ANSWERS = tiny_task("choose").answers
EXAMPLES = [Example(f"text {i}", ANSWERS[i % 5]) for i in range(600)]
TASK = replace(tiny_task("choose"), validation=tuple(EXAMPLES))


def stage(right: float, seed: int, knows: bool = True) -> Answered:
    """Answers of which so many are right. knows: whether its probability tells which."""
    rng, texts, sure = random.Random(seed), [], []
    for e in EXAMPLES:
        good = rng.random() < right
        texts.append(e.completion if good else rng.choice([a for a in ANSWERS if a != e.completion]))
        sure.append(rng.uniform(0.6, 1) if good and knows else rng.uniform(0.2, 0.7))
    return Answered(texts, np.array(sure, np.float32))


def joint(stages: list[Answered], thresholds: list[float]) -> list[str]:
    """What a cascade answers, told anew."""
    found = []
    for i in range(len(EXAMPLES)):
        number = next((n for n, t in enumerate(thresholds) if stages[n].probabilities[i] >= t), len(thresholds))
        found.append(stages[number].texts[i])
    return found


@pytest.mark.parametrize("rights", [(0.6, 0.95), (0.6, 0.8, 0.95)])
def test_the_joint_decision_surely_keeps_what_was_asked(rights):
    stages = [stage(right, seed) for seed, right in enumerate(rights)]
    thresholds, shares, kept = choose(TASK, EXAMPLES, stages, 0.05)
    again = retention("accuracy", joint(stages, thresholds), stages[-1].texts, [e.completion for e in EXAMPLES])
    assert kept == again and kept.low >= 0.95 and len(thresholds) == len(rights) - 1
    assert shares == shares_of(stages, thresholds)
    assert sum(shares) == pytest.approx(1) and shares[0] > 0.3 and all(share > 0.02 for share in shares)
    bolder = choose(TASK, EXAMPLES, stages, 0.2)
    assert bolder.shares[-1] < shares[-1], "the best one is asked less where more may be lost"


def test_a_stage_that_does_not_know_what_it_knows_is_not_asked():
    stages = [stage(0.6, 0), stage(0.5, 1, knows=False), stage(0.95, 2)]
    made = choose(TASK, EXAMPLES, stages, 0.01)
    assert made.thresholds[1] == NEVER and made.shares[1] == 0
