"""format-task: gives a model the task's form, so that teacher, baselines and student answer in the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from lightbulb.core.artifact import Artifact
from lightbulb.core.facts import FormatFacts
from lightbulb.formats.gguf.tokenizer import ROLES, chat_template_of
from lightbulb.models.form import PLAIN_TEMPLATE, TEXT_TEMPLATE, render, turns_of
from lightbulb.models.loading import copy_tokenizer, load_tokenizer
from lightbulb.models.phrases import add_phrases, phrases_for
from lightbulb.models.templates import compiled, is_plain, marks_of
from lightbulb.models.vocabulary import add_answers
from lightbulb.passes.base import Context
from lightbulb.passes.model_pass import ModelPass

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

# The day that a template which asks for the date is told when it is frozen: the one that Llama's own falls back to
DAY = datetime(2024, 7, 26)
FROZEN = (
    "the chat template works with more than the conversation (tools, dates, thinking), which each program fills in "
    "its own way: it is frozen as it reads for these conversations"
)


class FormatTask(ModelPass):
    """Every answer of a closed set becomes one token, and so do phrases of written answers; tasks without chat get a
    chat template without marks of roles.

    Attributes:
        phrases: at most so many, in a task whose answers are written
    """

    name: ClassVar[str] = "format-task"
    version: ClassVar[int] = 3
    facts_type: ClassVar = FormatFacts
    computes: ClassVar[bool] = False

    phrases: int = Field(default=0, ge=0)

    def change(self, model: PreTrainedModel, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        task = context.task
        facts: dict[str, Any] = {}
        if task.kind == "choose":
            facts["answer_ids"] = add_answers(source.path, out, model, task.answers)
        elif phrases := phrases_for(task, source.path, self.phrases):
            add_phrases(source.path, out, model, phrases)
            facts["phrases"] = len(phrases)
        else:
            copy_tokenizer(source.path, out)
        tokenizer = load_tokenizer(out)
        if any(e.messages for e in task.train):
            every = [turns_of(e) for e in (*task.train, *task.validation, *task.test)]
            for turns in every:
                render(tokenizer, turns)  # a template that refuses one must not do so after the training
            if frozen := frozen_template(out, tokenizer, every):
                facts["findings"] = [FROZEN]
                tokenizer.chat_template = frozen
                tokenizer.save_pretrained(out)
        else:
            tokenizer.chat_template = TEXT_TEMPLATE if task.kind == "text" else PLAIN_TEMPLATE
            tokenizer.save_pretrained(out)
        return facts


def frozen_template(
    folder: Path, tokenizer: PreTrainedTokenizerFast, conversations: Sequence[Sequence[Mapping[str, str]]]
) -> str | None:
    """A template that every program renders into the text that the model's own gives for `conversations`.

    Args:
        folder: of the model
        tokenizer: with the model's own template
        conversations: turns of each, {"role", "content"}

    Returns:
        None where its own is as plain already, or where no plain one does.
    """
    template = chat_template_of(folder)
    if template is None or is_plain(template):
        return None
    given = {f"{role}_token": getattr(tokenizer, f"{role}_token") or "" for role in ROLES}
    own = compiled(template, DAY)

    def text(turns: Sequence[Mapping[str, str]], answered: bool) -> str:
        return str(own.render(messages=turns, add_generation_prompt=answered, tools=None, documents=None, **given))

    marks = marks_of(text, conversations)
    return marks.as_jinja() if marks else None
