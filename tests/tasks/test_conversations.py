"""Conversations in every form they come in; what is no text is named with its count, and so is a class it takes."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest
from conftest import write_rows
from samples import published

from lightbulb.core.errors import TaskError
from lightbulb.tasks.load import load_task
from lightbulb.tasks.task import Message

SORTS = ("heat", "light", "music")


def turns(
    i: int, role: str = "role", content: str = "content", user: str = "user", bot: str = "assistant"
) -> list[dict]:
    return [{role: user, content: f"question number {i}"}, {role: bot, content: SORTS[i % 3]}]


def parted(i: int) -> list[dict]:
    return [{**t, "content": [{"type": "text", "text": t["content"], "image": None}]} for t in turns(i)]


FORMS: dict[str, Any] = {
    "openai": lambda i: {"messages": turns(i)},
    "capitals": lambda i: {"Messages": turns(i, user="User", bot="Assistant")},
    "sharegpt": lambda i: {"conversations": turns(i, "from", "value", "human", "gpt"), "id": i},
    "gemini": lambda i: {"messages": [{"role": t["role"], "parts": [{"text": t["content"]}]} for t in turns(i)]},
    "parts": lambda i: {"messages": parted(i)},
    "parts as text": lambda i: {"messages": [{**t, "content": [t["content"]]} for t in turns(i)]},
    "json in a cell": lambda i: {"messages": json.dumps(turns(i))},
    "python in a cell": lambda i: {"messages": repr(turns(i))},
    "object in a cell": lambda i: {"messages": json.dumps({"messages": turns(i)})},
    "trl": lambda i: {"prompt": turns(i)[:1], "completion": turns(i)[1:]},
    "trl in cells": lambda i: {"prompt": json.dumps(turns(i)[:1]), "completion": json.dumps(turns(i)[1:])},
    "trl, plain answer": lambda i: {"prompt": turns(i)[:1], "completion": SORTS[i % 3]},
    "trl, plain prompt": lambda i: {"prompt": f"question number {i}", "completion": turns(i)[1:]},
    "preferences": lambda i: {"prompt": turns(i)[:1], "chosen": turns(i)[1:], "rejected": turns(i + 1)[1:]},
    "preferences, whole": lambda i: {"prompt": "x", "chosen": turns(i), "rejected": turns(i + 1)},
    "preferences, no prompt": lambda i: {"chosen": turns(i), "rejected": turns(i + 1)},
    "preferences of openai": lambda i: {
        "input": {"messages": turns(i)[:1]},
        "preferred_output": turns(i)[1:],
        "non_preferred_output": turns(i + 1)[1:],
    },
    "contents": lambda i: {"contents": [{"role": t["role"], "parts": [{"text": t["content"]}]} for t in turns(i)]},
    "hh": lambda i: {
        "chosen": f"\n\nHuman: question number {i}\n\nAssistant: {SORTS[i % 3]}",
        "rejected": f"\n\nHuman: question number {i}\n\nAssistant: no",
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(tmp_path, form):
    task = load_task(str(write_rows(tmp_path / "t.jsonl", [FORMS[form](i) for i in range(60)])))
    same = load_task(str(write_rows(tmp_path / "same.jsonl", [FORMS["openai"](i) for i in range(60)])))
    assert task.answers == SORTS and task.fingerprint == same.fingerprint
    assert any("preferences: " in f for f in task.findings) == (len({"rejected", "input"} & {*FORMS[form](0)}) > 0)


def test_plain_preferences(tmp_path):
    rows = [{"prompt": f"q {i}", "chosen": SORTS[i % 3], "rejected": "no"} for i in range(60)]
    task = load_task(str(write_rows(tmp_path / "t.jsonl", rows)))
    assert task.answers == SORTS and not task.train[0].messages
    rows = [{"prompt": f"q {i}", "completion": SORTS[i % 3], "label": i % 10 > 0} for i in range(60)]
    task = load_task(str(write_rows(tmp_path / "t.jsonl", rows)))
    assert any("6 rows with an answer that is marked as bad dropped" in f for f in task.findings)
    assert len(task.train) + len(task.validation) + len(task.test) == 54


def test_text_that_looks_like_a_conversation_stays_text(tmp_path):
    rows = [{"prompt": f'[{{"a": {i}}}]', "completion": [{"role": "admin", "name": f"n{i}"}]} for i in range(30)]
    task = load_task(str(write_rows(tmp_path / "t.jsonl", rows)))
    assert not task.train[0].messages and task.metric == "json-match"


def test_system_messages(tmp_path):
    rows = [{"system": "be short", "conversations": turns(i, "from", "value", "human", "gpt")} for i in range(30)]
    assert load_task(str(write_rows(tmp_path / "t.jsonl", rows))).train[0].messages[0] == Message("system", "be short")
    rows = [{"messages": [{"role": "developer", "content": "be short"}, *turns(i)]} for i in range(30)]
    assert load_task(str(write_rows(tmp_path / "t.jsonl", rows))).train[0].messages[0] == Message("system", "be short")


def test_what_no_prompt_is_made_of_is_told(tmp_path):
    rows = [{"context": "a page", "question": f"q {i}", "answer": SORTS[i % 3]} for i in range(30)]
    found = load_task(str(write_rows(tmp_path / "t.jsonl", rows))).findings
    assert "column context is filled in 30 rows and not read: prompts are learned without it" in found
    rows = [{"tools": [{"name": "f"}] if i < 9 else [], "messages": turns(i)} for i in range(30)]
    assert any(
        "column tools is filled in 9 rows" in f for f in load_task(str(write_rows(tmp_path / "t.jsonl", rows))).findings
    )


def test_spreadsheets_of_conversations(tmp_path):
    with (tmp_path / "t.csv").open("w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["id", "messages"])
        writer.writerows([i, json.dumps(turns(i))] for i in range(60))
    assert load_task(str(tmp_path / "t.csv")).answers == SORTS


CALL = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "get_weather", "arguments": "{}"}}]}
IMAGE = {"type": "image_url", "image_url": {"url": "x"}}
ASKED = {"role": "user", "content": "how warm is it"}
SUN = {"role": "assistant", "content": "sunny"}
ODD = {
    "a call": ({"messages": [ASKED, CALL]}, "calls of tools", "a call of get_weather"),
    "a call before": ({"messages": [ASKED, CALL, {"role": "tool", "content": "7"}, SUN]}, "calls of tools", "sunny"),
    "an old call": (
        {"messages": [ASKED, {"role": "assistant", "function_call": {"name": "f"}}]},
        "calls of tools",
        "a call of f",
    ),
    "an image": ({"messages": [{"role": "user", "content": [IMAGE]}, SUN]}, "not text", "sunny"),
    "an image beside": ({"image": "x.png", "messages": [ASKED, SUN]}, "not text", "sunny"),
    "a refusal": ({"messages": [ASKED, {"role": "assistant", "content": [{"type": "refusal"}]}]}, "not text", None),
    "no answer": ({"messages": [ASKED, SUN, ASKED]}, "no answer at the end", None),
    "an empty answer": ({"messages": [ASKED, {"role": "assistant", "content": " "}]}, "empty", None),
    "nothing": ({"messages": []}, "empty", None),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_left_out_is_counted_and_named(tmp_path, name):
    row, why, answer = ODD[name]
    rows = [{"messages": turns(i)} for i in range(60)] + [row] * 12
    task = load_task(str(write_rows(tmp_path / "t.jsonl", rows)))
    assert len(task.train) + len(task.validation) + len(task.test) == 60 and task.answers == SORTS
    assert any(f.startswith("12 rows with ") and why in f and f.endswith("t.jsonl:61)") for f in task.findings)
    lost = [f for f in task.findings if "only dropped rows have" in f]
    assert [f"'{answer}' (12)" in f for f in lost] == ([True] if answer else [])


def test_mostly_calls_is_no_task_of_text(tmp_path):
    rows = [{"messages": turns(i)} for i in range(20)] + [{"messages": [ASKED, CALL]}] * 40
    with pytest.raises(TaskError, match="40 of 60 rows have calls of tools") as e:
        load_task(str(write_rows(tmp_path / "t.jsonl", rows)))
    assert str(e.value.where).endswith("t.jsonl:21") and "text" in str(e.value.hint)


@pytest.mark.parametrize(
    "bad", ["hello", "[1, 2]", "[{'role': 'user'", {"role": "critic"}, [{"role": "critic"}], "[" * 9999]
)
def test_what_is_no_conversation(tmp_path, bad):
    with pytest.raises(TaskError, match="not a conversation") as e:
        load_task(
            str(write_rows(tmp_path / "t.jsonl", [{"messages": turns(i)} for i in range(20)] + [{"messages": bad}]))
        )
    assert str(e.value.where).endswith("t.jsonl:21")


@pytest.mark.parametrize("name", ["trl_conv.jsonl", "parts.jsonl", "messages.csv"])
def test_reported_files(name):
    task = load_task(str(published(f"cases/{name}")))
    assert task.answers == SORTS and len(task.train) + len(task.validation) + len(task.test) == 90
