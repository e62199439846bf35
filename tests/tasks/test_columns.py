"""Which columns hold the work, found or named, and what their cells may be."""

from __future__ import annotations

import pytest
from test_load import SORTS, jsonl, rows

from lightbulb.core.errors import TaskError
from lightbulb.tasks.load import load_task


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("instruction", "output"),
        ("Question", "Answer"),
        ("text", "label"),
        ("input", "category"),
        ("query", "intent"),
        ("User", "Assistant"),
    ],
)
def test_synonyms(tmp_path, question, answer):
    items = [{"id": i, question: r["prompt"], answer: r["completion"]} for i, r in enumerate(rows())]
    task = load_task(jsonl(tmp_path / "a.jsonl", items))
    assert task.kind == "choose" and task.train[0].prompt.startswith("question number")
    assert any(question in f and answer in f for f in task.findings)


def test_instruction_and_input_are_joined(tmp_path):
    items = [{"instruction": "add", "input": f"{i} and 1", "output": str(i + 1)} for i in range(30)]
    task = load_task(jsonl(tmp_path / "a.jsonl", items))
    assert all(e.prompt.startswith("add\n\n") for e in task.train)


def test_named_and_missing_columns(tmp_path):
    source = jsonl(tmp_path / "a.jsonl", [{"q": r["prompt"], "sort": r["completion"], "n": 1} for r in rows()])
    assert load_task(source, prompt="q", completion="sort").answers == SORTS
    with pytest.raises(TaskError, match="columns here: q, sort, n") as e:
        load_task(source)
    assert "`prompt=COLUMN` `completion=COLUMN`" in str(e.value)
    with pytest.raises(TaskError, match="no column 'nope'"):
        load_task(source, prompt="nope", completion="sort")


def test_text_beside_other_columns_is_not_taken_for_all_there_is(tmp_path):
    source = jsonl(tmp_path / "a.jsonl", [{"text": r["prompt"], "sentiment": r["completion"]} for r in rows()])
    with pytest.raises(TaskError, match="columns here: text, sentiment") as e:
        load_task(source)
    assert "`kind=text`" in e.value.hint
    assert load_task(source, kind="text").kind == "text"
    numbered = jsonl(tmp_path / "b.jsonl", [{"": i, "text": r["prompt"], "doc": i % 20} for i, r in enumerate(rows())])
    assert load_task(numbered, group="doc").kind == "text"
    assert load_task(source, completion="sentiment").answers == SORTS


def test_rows_are_kept_together_by_a_column(tmp_path):
    items = [{**r, "patient": i % 12 or None} for i, r in enumerate(rows(240))]
    task = load_task(jsonl(tmp_path / "a.jsonl", items), group="patient")
    patients = {r["prompt"]: r["patient"] for r in items}
    seen = [{patients[e.prompt] for e in split} - {None} for split in (task.train, task.validation, task.test)]
    assert sum(map(len, seen)) == 11 and task.reading == {"group": "patient"}
    assert any("kept together by patient" in f for f in task.findings)
    apart = jsonl(tmp_path / "b.jsonl", [{"prompt": "new", "completion": items[0]["completion"]}])
    assert len(load_task(jsonl(tmp_path / "a.jsonl", items), test=apart, group="patient").test) == 1
    with pytest.raises(TaskError, match="no column 'doctor'"):
        load_task(jsonl(tmp_path / "a.jsonl", items), group="doctor")
    with pytest.raises(TaskError, match="the built-in task"):
        load_task("home", group="patient")


def test_cells_of_every_type(tmp_path):
    items = [{"prompt": i, "completion": {"n": i}} for i in range(30)] + [{"prompt": None, "completion": "x"}]
    task = load_task(jsonl(tmp_path / "a.jsonl", items))
    assert task.metric == "json-match"
    assert all(e.completion == f'{{"n":{e.prompt}}}' for e in task.train)
    assert any("1 row with an empty prompt" in f and ":31" in f for f in task.findings)
    with pytest.raises(TaskError, match="nested value") as e:
        load_task(jsonl(tmp_path / "b.jsonl", [{"prompt": {"a": 1}, "completion": "x"}]))
    assert e.value.where.endswith("b.jsonl:1")
