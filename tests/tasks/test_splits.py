"""Splits by hash are a property of each example alone."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightbulb.core.errors import TaskError
from lightbulb.tasks.columns import Row
from lightbulb.tasks.splits import make_splits, share, without_duplicates
from lightbulb.tasks.task import Example

questions = st.text("abcdefgh ", min_size=1, max_size=12).filter(str.strip)


def row(prompt: str, completion: str = "yes", place: str = "a.jsonl:1", group: str | None = None) -> Row:
    example = Example(prompt, completion)
    return Row(example, example.key(), place, group or example.key())


def distinct(prompts: list[str]) -> list[Row]:
    return without_duplicates([row(p) for p in prompts], "train", [])


def keys(rows: list[Row]) -> set[str]:
    return {r.key for r in rows}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(questions, min_size=8, max_size=200, unique_by=lambda prompt: row(prompt).key),
    st.lists(st.integers(0, 1000), max_size=20),
    st.integers(0, 5),
    st.randoms(use_true_random=False),
)
def test_disjoint_complete_and_blind_to_order(prompts: list[str], again: list[int], seed: int, rng: random.Random):
    rows = [row(p) for p in (*prompts, *(prompts[n % len(prompts)] for n in again))]
    splits = make_splits(rows, None, None, seed)
    parts = [keys(splits.train), keys(splits.validation), keys(splits.test)]
    assert all(parts) and set.union(*parts) == keys(rows)
    assert sum(map(len, parts)) == len(keys(rows)) == sum(map(len, (splits.train, splits.validation, splits.test)))
    rng.shuffle(rows)
    other = make_splits(rows, None, None, seed)
    assert [keys(other.train), keys(other.validation), keys(other.test)] == parts


@given(st.integers(1, 7))
def test_too_few_different_examples_are_refused(n: int):
    with pytest.raises(TaskError, match="at least 8"):
        make_splits([row(f"question {i % n}") for i in range(20)], None, None)


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, 10**6), min_size=200, max_size=300), st.data())
def test_stable_when_others_come_and_go(numbers: set[int], data: st.DataObject):
    rows = [row(f"question {n}") for n in sorted(numbers)]
    fewer = data.draw(st.permutations(rows))[:120]
    whole, part = make_splits(rows, None, None), make_splits(fewer, None, None)
    for name in ("test", "validation"):
        ruled = {r.key for r in fewer if 0 <= share(r.key, 0) - (0.1 if name == "validation" else 0) < 0.1}
        assert keys(getattr(whole, name)) & keys(fewer) == ruled
        assert keys(getattr(part, name)) == ruled or not ruled


def test_shares_are_uniform_and_seeded():
    shares = [share(row(f"q {i}").key, 0) for i in range(4000)]
    assert abs(sum(s < 0.1 for s in shares) - 400) < 80 and abs(sum(shares) / 4000 - 0.5) < 0.02
    assert shares[0] != share(row("q 0").key, 1)


def test_given_test_stays_whole_and_cleans_the_others():
    train, test = [row(f"q {i}") for i in range(40)], [row("q 1"), row("Q  1"), row("new")]
    splits = make_splits(train, [row("new"), row("q 2"), row("own"), row("own")], test)
    assert splits.test == test and [r.example.prompt for r in splits.validation] == ["q 2", "own"]
    assert len(splits.train) == 38 and not keys(splits.train) & keys([*splits.validation, *test])
    assert splits.findings == [
        "test: 1 repeated question kept, because a given test set stays whole",
        "1 train example also in test: removed from train",
        "validation: 1 duplicate removed",
        "1 validation example also in test: removed from validation",
        "1 train example also in validation: removed from train",
    ]


def test_validation_is_capped():
    splits = make_splits([row(f"q {i}") for i in range(12_000)], None, [row("other")])
    assert len(splits.validation) == 1000 and len(splits.train) == 11_000


def grouped(count: int, each: int) -> list[Row]:
    return [row(f"question {g} {i}", group=f"contract {g}") for g in range(count) for i in range(each)]


def groups(rows: list[Row]) -> set[str]:
    return {r.group for r in rows}


@given(st.integers(3, 40), st.integers(3, 30), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_a_group_is_in_one_split_only(count: int, each: int, seed: int):
    splits = make_splits(grouped(count, each), None, None, seed)
    parts = [splits.train, splits.validation, splits.test]
    assert sum(len(groups(p)) for p in parts) == count and all(parts)
    assert sum(map(len, parts)) == count * each


def test_groups_of_a_given_test_leave_the_others():
    test = [row("new 1", group="contract 1"), row("question 2 0")]
    splits = make_splits(grouped(10, 5), None, test)
    assert not groups(splits.test) & groups(splits.train) and "contract 1" not in groups(splits.validation)
    assert splits.findings[:2] == [
        "1 train example also in test: removed from train",
        "5 train examples of a group that is in test: removed from train",
    ]


def test_validation_of_groups_is_capped_by_examples():
    splits = make_splits(grouped(200, 200), None, [row("other")])
    assert 800 < len(splits.validation) <= 1000 and len(groups(splits.validation)) == len(splits.validation) // 200


def test_too_few_groups():
    with pytest.raises(TaskError, match="2 groups, which cannot be cut into 3 splits"):
        make_splits(grouped(2, 20), None, None)
    assert groups(make_splits(grouped(2, 20), None, [row("other")]).train)


def test_ties_by_first_sight():
    findings: list[str] = []
    kept = without_duplicates([row("q", "b", "f:1"), row("q", "a", "f:2"), row("p", "c")], "train", findings)
    assert [r.example.completion for r in kept] == ["b", "c"]
    assert findings == [
        "train: 1 question has conflicting answers; the most frequent answer was kept (the first is at f:1)"
    ]


def labelled(counts: dict[str, int], each: int = 1) -> list[Row]:
    return [
        row(f"{answer} {i}", answer, group=f"{answer} {i // each}" if each > 1 else None)
        for answer, count in counts.items()
        for i in range(count)
    ]


def answers(rows: list[Row]) -> set[str]:
    return {r.example.completion for r in rows}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(3, 40), min_size=2, max_size=8), st.integers(0, 50), st.randoms(use_true_random=False))
def test_every_answer_is_in_every_split(counts: list[int], seed: int, rng: random.Random):
    rows = labelled({f"answer {n}": count for n, count in enumerate(counts)} | {"usual": 150})
    splits = make_splits(rows, None, None, seed, closed=True)
    parts = [splits.train, splits.validation, splits.test]
    assert [answers(part) for part in parts] == [answers(rows)] * 3
    assert sum(map(len, parts)) == len(rows) == len(set.union(*map(keys, parts)))
    rng.shuffle(rows)
    again = make_splits(rows, None, None, seed, closed=True)
    assert [keys(part) for part in (again.train, again.validation, again.test)] == [keys(part) for part in parts]


def test_few_rows_move_for_a_rare_answer():
    rows = labelled({"usual": 197, "rare": 3})
    ruled, moved = make_splits(rows, None, None), make_splits(rows, None, None, closed=True)
    for name in ("validation", "test"):
        assert len(keys(getattr(ruled, name)) ^ keys(getattr(moved, name))) <= 2
        assert [r.example.completion for r in getattr(moved, name)].count("rare") == 1
    assert answers(make_splits(rows, None, labelled({"usual": 5}), closed=True).validation) == {"usual", "rare"}


def test_what_is_too_rare_for_all_splits_is_learned():
    for seed in range(40):
        splits = make_splits(labelled({"usual": 60, "twice": 2, "once": 1}), None, None, seed, closed=True)
        assert {"twice", "once"} <= answers(splits.train)
        assert len(splits.train) + len(splits.validation) + len(splits.test) == 63


@given(st.integers(0, 20))
@settings(max_examples=20, deadline=None)
def test_groups_stay_whole_for_rare_answers(seed: int):
    rows = labelled({"usual": 120, "rare": 12}, each=3)
    splits = make_splits(rows, None, None, seed, closed=True)
    parts = [splits.train, splits.validation, splits.test]
    assert sum(len(groups(part)) for part in parts) == 44 and [answers(part) for part in parts] == [answers(rows)] * 3


def test_a_group_of_a_fifth_of_all_is_not_moved_for_one_answer():
    rows = labelled({"usual": 60})
    rows += [row(f"page {g} line {i}", "rare", group=f"page {g}") for g in range(3) for i in range(40)]
    moved, ruled = make_splits(rows, None, None, closed=True), make_splits(rows, None, None)
    assert all(len(getattr(moved, s)) <= max(len(getattr(ruled, s)), 20) for s in ("validation", "test"))
