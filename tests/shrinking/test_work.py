"""The work that a plan counts on is the work that is done."""

from __future__ import annotations

from dataclasses import replace

import pytest
from conftest import tiny_task

from lightbulb.core.artifact import Artifact
from lightbulb.core.progress import Silent
from lightbulb.models.loading import load_tokenizer
from lightbulb.passes.base import Context
from lightbulb.passes.format_task import FormatTask
from lightbulb.shrinking.prepare import task_stats
from lightbulb.tasks.task import Example, Message
from lightbulb.train.data import encode_split


def chat(example: Example) -> Example:
    turns = (Message("system", "Be short."), Message("user", example.prompt))
    return replace(example, messages=turns)


@pytest.mark.parametrize("kind", ["generate", "chat", "text"])
def test_tokens_are_counted_in_the_form_that_is_taught(kind, tiny_folder, tmp_path):
    """A chat template brings marks of roles and often a system message: a short turn may be the least of its tokens."""
    task = tiny_task("generate" if kind == "chat" else kind)
    if kind == "chat":
        task = replace(task, **{s: tuple(map(chat, task.split(s))) for s in ("train", "validation", "test")})
    model = Artifact(path=tiny_folder, kind="model", key="m", made_by="test")
    (formatted := tmp_path / "formatted").mkdir()
    FormatTask().apply(model, formatted, Context(task, 0, Silent(), tmp_path))
    asked = replace(task, train=task.test)
    taught = encode_split(asked, "train", load_tokenizer(formatted), None, 512)
    answers = 0 if kind == "text" else sum(len(e.targets) for e in taught)
    assert task_stats(task, model).test_tokens == pytest.approx(sum(len(e.ids) for e in taught) - answers, rel=0.03)
