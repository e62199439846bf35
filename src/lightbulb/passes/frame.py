"""frame: gives a model the task's form, so that teacher, baselines and student answer in the same way."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from lightbulb.artifact import Artifact
from lightbulb.models.form import PLAIN_TEMPLATE, TEXT_TEMPLATE, render, turns_of
from lightbulb.models.loading import copy_tokenizer, load_model, load_tokenizer, save_model
from lightbulb.models.vocabulary import add_answers
from lightbulb.passes.base import Context, Pass


class Frame(Pass):
    """Every answer of a closed set becomes one token; tasks without chat get a chat template without marks of roles."""

    name: ClassVar[str] = "frame"
    version: ClassVar[int] = 2

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        task, facts = context.task, {}
        model = load_model(source.path)
        if task.kind == "choose":
            facts["answer_ids"] = add_answers(source.path, out, model, task.answers)
        else:
            copy_tokenizer(source.path, out)
        tokenizer = load_tokenizer(out)
        if any(e.messages for e in task.train):
            for example in (*task.train, *task.validation, *task.test):
                render(tokenizer, turns_of(example))  # a template that refuses one must not do so after the training
        else:
            tokenizer.chat_template = TEXT_TEMPLATE if task.kind == "text" else PLAIN_TEMPLATE
            tokenizer.save_pretrained(out)
        save_model(model, out)
        return facts | {"parameters": sum(p.numel() for p in model.parameters())}
