"""Questions that none of the answers fits: apart from what is learned, divided between validation and test."""

from __future__ import annotations

import pytest
from test_load import jsonl

from lightbulb.core.errors import TaskError
from lightbulb.tasks.load import load_task
from lightbulb.tasks.stored import read_task, write_task

SORTS = ("red", "green", "blue")


def rows(n: int, none: int = 0, start: int = 0) -> list[dict]:
    asked = [
        {"prompt": f"which is number {i}, {SORTS[i % 3]}?", "completion": SORTS[i % 3]} for i in range(start, start + n)
    ]
    return asked + [{"prompt": f"how is the weather {i}?", "completion": " oos"} for i in range(start, start + none)]


def keys(*splits) -> list[str]:
    return [e.key() for split in splits for e in split]


def test_they_are_no_answer_and_none_is_learned(tmp_path):
    task = load_task(jsonl(tmp_path / "a.jsonl", rows(300, 100)), none_label="oos")
    assert task.answers == tuple(sorted(SORTS)) and task.kind == "choose"
    assert "oos" not in {e.completion.strip() for e in (*task.train, *task.validation, *task.test)}
    none = task.outside
    assert none.label == "oos" and none.validation_share == none.test_share == 0.25
    assert len(none.validation) + len(none.test) == 100 and 35 < len(none.test) < 65
    every = keys(task.train, task.validation, task.test, none.validation, none.test)
    assert len(set(every)) == len(every) == 400
    assert "100 questions labelled 'oos'" in " ".join(task.findings) and "'oos'" in task.summary


def test_a_split_keeps_those_that_it_came_with(tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    jsonl(folder / "train.jsonl", rows(300, 60))
    jsonl(folder / "test.jsonl", rows(30, 20, start=1000) + rows(0, 1))  # one that train has, too
    none = load_task(str(folder), none_label="oos").outside
    assert len(none.test) == 21 and none.test_share == pytest.approx(21 / 51)
    assert len(none.validation) == 59 and none.validation_share == pytest.approx(1 / 6)


def test_where_only_test_has_them_there_are_none_to_choose_by(tmp_path):
    jsonl(tmp_path / "test.jsonl", rows(30, 20, start=1000))
    task = load_task(jsonl(tmp_path / "a.jsonl", rows(300)), test=str(tmp_path / "test.jsonl"), none_label="oos")
    assert len(task.outside.test) == 20 and task.outside.validation == ()
    assert any("none of those labelled 'oos' is left to choose by" in f for f in task.findings)


def test_a_question_that_has_an_answer_elsewhere_is_no_such_question(tmp_path):
    data = rows(300, 40) + [{"prompt": "which is number 7, green?", "completion": "oos"}]
    none = load_task(jsonl(tmp_path / "a.jsonl", data), none_label="oos").outside
    assert not any("green" in e.prompt for e in (*none.validation, *none.test))


@pytest.mark.parametrize(
    "data, more, told",
    [
        (rows(60), {}, "no example has the completion 'oos'; there are 'red', 'green', 'blue'"),
        ([{"prompt": f"say {i}", "completion": f"it is {i}"} for i in range(50)] + rows(0, 9), {}, "of the kind gen"),
        (rows(60, 9), {"kind": "generate"}, "this task is of the kind generate"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, data, more, told):
    with pytest.raises(TaskError, match=told) as refused:
        load_task(jsonl(tmp_path / "a.jsonl", data), none_label="oos", **more)
    assert refused.value.where == "`none_label`" and refused.value.hint


def test_they_are_kept_on_disk_and_part_of_what_a_task_is(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", rows(300, 100))
    task, without = load_task(path, none_label="oos"), load_task(path)
    write_task(task, tmp_path)
    read = read_task(tmp_path)
    assert read == task and read.outside == task.outside and read.reading == {"none_label": "oos"}
    assert task.fingerprint == read.fingerprint != without.fingerprint and "oos" in {a.strip() for a in without.answers}
