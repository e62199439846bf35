"""Where a task meets a model: what of the task this model cannot learn or read as it stands, before any training."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from lightbulb.core.errors import TaskError
from lightbulb.core.files import read_json
from lightbulb.models.form import render, turns_of
from lightbulb.models.loading import load_tokenizer
from lightbulb.tasks.task import Example, Task, counted
from lightbulb.tasks.tidy import IN_PROMPTS, without_end
from lightbulb.train.data import MAX_LENGTH

ADDED = 8  # tokens that a tokenizer or the plain form may add to a text
TEMPLATE_BYTES = 1024  # more than a chat template adds to the turns of a conversation


def prepared(task: Task, folder: Path) -> Task:
    """The task for the model in `folder`: completions without the model's own marks of begin and end, and findings of
    what is too long for it.

    Raises:
        TaskError: nothing else is left of a completion
    """
    tokenizer = load_tokenizer(folder)
    task, findings = _without_own_marks(task, tokenizer)
    findings += own_marks(task, tokenizer)
    findings += too_long(task, tokenizer, int(read_json(folder / "config.json")["max_position_embeddings"]))
    return replace(task, findings=(*task.findings, *findings))


def too_long(task: Task, tokenizer: PreTrainedTokenizerFast, context_length: int) -> list[str]:
    """What loses its beginning or its end, in sentences with counts.

    Args:
        task: whose examples are looked at
        tokenizer: the model's
        context_length: positions that the model knows
    """
    longest = min(MAX_LENGTH, context_length)
    if task.kind == "text":
        texts = [e.completion for e in task.train]
        long = [n for n in _lengths(texts, tokenizer, longest) if n > longest]
        return [f"{_of(len(long), len(texts), 'document')} longer than {longest:,} tokens: the rest is not learned"] * (
            len(long) > 0
        )
    chat = any(e.messages for e in task.train)
    every = (*task.train, *task.validation, *task.test)
    written = _lengths([e.completion for e in every], tokenizer, longest // 2) if task.kind == "generate" else []
    answers = [min(n + 1, longest // 2) for n in written] or [1] * len(every)
    prompts = list(_prompt_lengths(every, tokenizer, longest - max(answers) - ADDED, chat))
    findings = []
    cut = [p for p, answer in zip(prompts, answers, strict=True) if p + answer > longest]
    if cut:
        room, unread = longest - min(answers), sum(p >= context_length for p in prompts)
        where = "in training and in every answer" if unread == len(cut) else "in training"
        if 0 < unread < len(cut):
            where += f", and {unread:,} of them in every answer"
        findings.append(
            f"{_of(len(cut), len(every), 'prompt')} longer than the {room:,} tokens there is room for (the longest has"
            f" {max(cut):,}): they lose their beginning {where}; if what decides stands there, put it at the end or"
            " shorten them"
        )
    if long := [n for n in written if n + 1 > longest // 2]:
        findings.append(
            f"{_of(len(long), len(every), 'completion')} longer than the {longest // 2 - 1:,} tokens that are learned"
            f" of one (the longest has {max(long):,}): they lose their end"
        )
    return findings


def own_marks(task: Task, tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """Special tokens of the model that stand in the data as text, in sentences: it does not read them as text."""
    marks = sorted(filter(None, tokenizer.all_special_tokens), key=len, reverse=True)
    findings = []
    for noun in ("prompt", "completion") if marks else ():
        wanted = [t for t in marks if noun == "completion" or not IN_PROMPTS.fullmatch(t)]  # those were told before
        pattern, found = re.compile("|".join(map(re.escape, wanted)) or r"(?!)"), []
        for e in (*task.train, *task.validation, *task.test):
            text = e.completion if noun == "completion" else "\n".join([e.prompt, *(m.content for m in e.messages)])
            if mark := pattern.search(text):
                found.append(mark[0])
        if found:
            findings.append(
                f"{counted(len(found), noun)} with special tokens of this model ({found[0]}): it reads them as such,"
                " not as text"
            )
    return findings


def _without_own_marks(task: Task, tokenizer: PreTrainedTokenizerFast) -> tuple[Task, list[str]]:
    """Completions that end in the text of the model's EOS, or begin with that of its BOS, without these."""
    end, begin = tokenizer.eos_token, tokenizer.bos_token
    seen: list[str] = []

    def bare(e: Example) -> Example:
        text = without_end(e.completion, (end,)) if end else e.completion
        while begin and text.lstrip().startswith(begin):
            text = text.lstrip()[len(begin) :]
        if text == e.completion:
            return e
        if not text.strip():
            raise TaskError(
                f"a completion is nothing but {e.completion.strip()!r}, a special token of this model",
                where=f"the prompt {e.prompt[:60]!r}",
                hint="remove that row",
            )
        seen.append(e.completion.strip()[-20:])
        return replace(e, completion=text)

    train, validation, test = (tuple(map(bare, split)) for split in (task.train, task.validation, task.test))
    if not seen:
        return task, []
    answers = tuple(sorted({e.completion for e in (*train, *validation, *test)})) if task.answers else ()
    finding = (
        f"{counted(len(seen), 'completion')} with this model's own end or begin of text ('...{seen[0]}'): taken off"
    )
    task = replace(task, train=train, validation=validation, test=test, answers=answers)
    return task, [finding]


def _lengths(texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, room: int) -> list[int]:
    """Tokens of each text; of one that surely fits in `room`, its bytes (a token holds one or more)."""
    sizes = [len(text.encode()) for text in texts]
    large = [i for i, size in enumerate(sizes) if size >= room]
    if large:
        for i, ids in zip(large, tokenizer([texts[i] for i in large]).input_ids, strict=True):
            sizes[i] = len(ids)
    return sizes


def _prompt_lengths(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast, room: int, chat: bool
) -> Iterator[int]:
    """As `_lengths`, of prompts in the form that `format-task` gives them: a plain one ends with one more token."""
    plain = ["" if e.messages or chat else e.prompt for e in examples]
    for e, size in zip(examples, _lengths(plain, tokenizer, room), strict=True):
        if not chat:
            yield size + 1
        elif sum(len(m.content.encode()) for m in e.messages) + len(e.prompt.encode()) + TEMPLATE_BYTES < room:
            yield 0
        else:
            yield len(tokenizer(render(tokenizer, turns_of(e))).input_ids)


def _of(some: int, every: int, noun: str) -> str:
    return f"{some:,} of {counted(every, noun)} {'is' if some == 1 else 'are'}"
