"""Scores that need no learning."""

from __future__ import annotations

import pytest

from lightbulb.tasks import metrics
from lightbulb.tasks.chance import at_chance, chance, enough
from lightbulb.tasks.task import Example, Task


def task(kind: str, metric: str, answers: tuple[str, ...] = ()) -> Task:
    return Task("t", kind, metric, (), (), (), answers)


def examples(**counts: int) -> list[Example]:
    return [Example(f"{answer} {n}", answer) for answer, count in counts.items() for n in range(count)]


def test_in_a_closed_set_it_is_the_most_frequent_answer_or_a_guess():
    assert chance(task("choose", "accuracy", ("a", "b")), examples(a=70, b=30)) == 0.7
    assert chance(task("choose", "accuracy", ("a", "b", "c", "d")), examples(a=1, b=1, c=1, d=1)) == 0.25
    three = task("choose", "macro-f1", ("a", "b", "c"))
    assert chance(three, examples(a=90, b=5, c=5)) == pytest.approx(max(1 / 3, (2 * 0.9 / 1.9) / 3))


def test_what_is_frequent_is_what_training_shows():
    """One test item does not make its own answer the one to give."""
    train = tuple(examples(a=9, b=1))
    some = Task("t", "choose", "accuracy", train, (), (), ("a", "b", "c"))
    assert chance(some, examples(b=1)) == pytest.approx(1 / 3)
    assert at_chance(some, metrics.score("accuracy", ["b"], ["b"]), examples(b=1)) == ""


def test_elsewhere_it_is_nothing_right_or_bytes_all_alike():
    assert chance(task("generate", "json-match"), examples(a=9)) == 0
    assert chance(task("text", "bits-per-byte"), examples(a=9)) == 8


@pytest.mark.parametrize("right, learned", [(72, False), (76, False), (85, True), (60, False)])
def test_a_score_whose_interval_holds_chance_shows_no_learning(right, learned):
    some = examples(a=70, b=30)
    answers = [e.completion if n < right else "?" for n, e in enumerate(some)]
    score = metrics.score("accuracy", answers, [e.completion for e in some])
    assert score.value == right / 100
    said = at_chance(task("choose", "accuracy", ("a", "b")), score, some)
    assert (said == "") == learned
    assert learned or "always answering 'a' or guessing gives 0.700" in said


def test_few_items_condemn_nobody_who_is_above_chance():
    some = examples(a=5, b=5)
    score = metrics.score("accuracy", [e.completion for e in some[:7]] + ["?"] * 3, [e.completion for e in some])
    assert score.low < 0.5 < score.value and not enough(0.5, 10) and enough(0.5, 20)
    two = task("choose", "accuracy", ("a", "b"))
    assert at_chance(two, score, some) == ""
    half = metrics.score("accuracy", ["a"] * 10, [e.completion for e in some])
    assert at_chance(two, half, some) and not enough(0.2, 1)


def test_one_right_answer_is_learning_where_any_can_be_written():
    some = examples(a=40)
    for answers, learned in ((["x"] * 40, False), (["a"] + ["x"] * 39, True)):
        score = metrics.score("exact-match", answers, [e.completion for e in some])
        assert (at_chance(task("generate", "exact-match"), score, some) == "") == learned
