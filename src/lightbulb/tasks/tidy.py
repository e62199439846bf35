"""Completions as a model should learn them: without marks of a chat template, with the blanks that matter."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from lightbulb.tasks.columns import Row
from lightbulb.tasks.task import SplitName, TaskKind, counted

ENDS = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|return|>",
    "<|end_of_turn|>",
    "<|END_OF_TURN_TOKEN|>",
    "<｜end▁of▁sentence｜>",
    "<end_of_turn>",
    "<turn|>",
    "<eos>",
    "<EOS>",
    "[EOS]",
)
BEGINNINGS = (
    r"<\|begin_of_text\|>",
    r"<\|startoftext\|>",
    r"<｜begin▁of▁sentence｜>",
    r"<bos>",
    r"<BOS>",
    r"\[BOS\]",
    r"<\|im_start\|>(?:assistant)?",
    r"<start_of_turn>(?:model)?",
    r"<\|turn>(?:model)?",
    r"<\|start_header_id\|>assistant<\|end_header_id\|>\n?",
    r"<\|assistant\|>",
    r"<\|Assistant\|>",
    r"<｜Assistant｜>",
    r"\[/INST\]",
)
IN_PROMPTS = re.compile(
    r"<\|im_start\|>|<\|im_end\|>|<\|start_header_id\|>|<\|eot_id\|>|<start_of_turn>|<end_of_turn>|\[/?INST\]|<<SYS>>"
    r"|<\|(?:user|system|assistant|endoftext|end)\|>"
)
HTML_ENDS, HTML_BEGINNINGS = "</s>", "<s>"  # of Llama and Mistral, and of struck-out text
TURN = re.compile(r"(?:### ?)?(?:Assistant|Response|Answer|Output|AI|Bot)\s*:", re.IGNORECASE)
SplitRows = dict[SplitName, list[Row]]


def without_marks(rows: SplitRows, findings: list[str]) -> SplitRows:
    """Takes off the marks with which chat templates begin and end an answer: a model would learn to write them as text,
    and every answer would be wrong by them. Marks in prompts stay, and are reported.

    Args:
        rows: by split
        findings: gets a sentence for each kind of mark
    """
    train = [row.example.completion for row in rows.get("train", [])]
    documents = not any(row.example.prompt for row in rows.get("train", []))
    ends: tuple[str, ...] = ENDS
    beginnings: tuple[str, ...] = BEGINNINGS
    if 2 * sum(text.rstrip().endswith(HTML_ENDS) and not _strikes_out(text) for text in train) > len(train):
        ends, beginnings = (*ENDS, HTML_ENDS), (*BEGINNINGS, HTML_BEGINNINGS)
    beginning = re.compile(rf"(?:(?:{'|'.join(beginnings)})\n?)+")
    seen: dict[str, Counter[str]] = {"at the end": Counter(), "at the beginning": Counter()}

    def bare(text: str) -> str:
        if "<" not in text and "[" not in text:
            return text
        body = without_end(text, ends)
        if body != text:
            seen["at the end"][text[len(body) :].strip()] += 1
        if not documents and (found := beginning.match(lead := body.lstrip())):
            seen["at the beginning"][found[0].strip()] += 1
            return lead[found.end() :]
        return body

    rows = _changed(rows, bare)
    for where, marks in seen.items():
        if marks:
            named = ", ".join(repr(mark) for mark, _ in marks.most_common(3))
            number = counted(marks.total(), "document" if documents else "completion")
            findings.append(
                f"{number} with {named} {where}: taken off, because the model's own form has its marks there"
            )
    _tell_marks(rows, findings)
    return _without_empty(rows, findings)


def _strikes_out(text: str) -> bool:
    """Whether `<s>` stands within a text, as in HTML."""
    return HTML_BEGINNINGS in text.lstrip().removeprefix(HTML_BEGINNINGS)


def without_end(text: str, ends: tuple[str, ...]) -> str:
    """`text` without such marks at its end, and without the blanks around them; as it is where it has none."""
    while (body := text.rstrip()).endswith(ends):
        mark = max((end for end in ends if body.endswith(end)), key=len)
        text = body[: -len(mark)].rstrip()
    return text


def with_blanks_that_matter(rows: SplitRows, kind: TaskKind, findings: list[str]) -> SplitRows:
    """Choices and documents without blanks around them. Answers that are written keep the indentation of their first
    line, which code needs.

    Args:
        rows: by split
        kind: of the task
        findings: gets a sentence for what is taken off
    """
    if kind != "generate":
        return _changed(rows, str.strip)
    seen: Counter[str] = Counter()

    def trimmed(text: str) -> str:
        kept = text.rstrip()
        begun = re.match(r"(?:[^\S\n]*\n)*", kept)
        kept = kept[begun.end() :] if begun else kept
        if "\r" in kept:
            seen["lines"] += 1
            kept = kept.replace("\r\n", "\n").replace("\r", "\n")
        first = kept[: len(kept) - len(kept.lstrip())]
        if len(first) > 1 or "\t" in first or (first and f"\n{first}" in kept):
            seen["kept"] += 1
        elif first:
            seen["blank"] += 1
            kept = kept.lstrip()
        seen["ends"] += text != text.rstrip()
        return kept

    rows = _changed(rows, trimmed)
    descriptions = {
        "kept": "with an indented beginning: kept (of the metrics only one of your own sees it)",
        "blank": "with a blank at the beginning: taken off",
        "ends": "with blanks or line ends at the end: taken off, so answers will end without them",
        "lines": "with line ends of Windows: learned as plain ones",
    }
    findings.extend(
        f"{counted(seen[what], 'completion')} {words}" for what, words in descriptions.items() if seen[what]
    )
    return rows


def _changed(rows: SplitRows, change: Callable[[str], str]) -> SplitRows:
    def changed(row: Row) -> Row:
        text = change(row.example.completion)
        if text == row.example.completion:
            return row
        example = replace(row.example, completion=text)
        key = example.key() if not example.prompt else row.key  # a document is known by its text
        return replace(row, example=example, key=key, group=key if row.group == row.key else row.group)

    return {split: [changed(row) for row in held] for split, held in rows.items()}


def _without_empty(rows: SplitRows, findings: list[str]) -> SplitRows:
    empty = [row for held in rows.values() for row in held if not row.example.completion.strip()]
    if empty:
        findings.append(
            f"{counted(len(empty), 'row')} with nothing but such marks dropped (the first is at {empty[0].place})"
        )
    return {split: [row for row in held if row.example.completion.strip()] for split, held in rows.items()}


def _tell_marks(rows: SplitRows, findings: list[str]) -> None:
    every = [row for held in rows.values() for row in held]
    for what, words in (
        (_marked_prompt, "with marks of a chat template ({}): kept as they are; a column of messages would do without"),
        (_turn, "that begin with a turn's name ({}): learned as part of the answer"),
    ):
        found = [(row, mark) for row in every if (mark := what(row))]
        if found:
            noun = "completion" if what is _turn else "prompt" if found[0][0].example.prompt else "document"
            findings.append(
                f"{counted(len(found), noun)} {words.format(found[0][1])} (the first is at {found[0][0].place})"
            )


def _marked_prompt(row: Row) -> str | None:
    example = row.example
    texts: Sequence[str] = [m.content for m in example.messages] or [example.prompt or example.completion]
    return next((mark[0] for text in texts if "<" in text or "[" in text if (mark := IN_PROMPTS.search(text))), None)


def _turn(row: Row) -> str | None:
    found = TURN.match(row.example.completion.lstrip()) if row.example.prompt else None
    return found[0] if found else None
