"""Which columns of a table hold the work, and rows turned into examples."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lightbulb.errors import TaskError
from lightbulb.tasks.lines import Table
from lightbulb.tasks.names import CHAT_NAMES, COMPLETION_NAMES, NUMBERING, PROMPT_NAMES, TEXT_NAMES, folded
from lightbulb.tasks.readers import documents
from lightbulb.tasks.task import Example, Kind, Message

ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}


@dataclass(frozen=True, slots=True)
class Columns:
    """Column names. Exactly one of these holds: `chat`, `text`, or both `prompt` and `completion`. Several prompt
    columns (instruction and input) are joined by a blank line. group: names what a row belongs to, where asked."""

    prompt: tuple[str, ...] = ()
    completion: str | None = None
    chat: str | None = None
    text: str | None = None
    group: str | None = None

    def __str__(self) -> str:
        grouped = f", kept together by {self.group}" if self.group else ""
        if self.chat or self.text:
            return f"column {self.chat or self.text}{grouped}"
        return f"prompt = {' + '.join(self.prompt)}, completion = {self.completion}{grouped}"


@dataclass(frozen=True, slots=True)
class Row:
    """An example, its key (computed once) and the place it came from (file:line). group: what must stay on one side of
    a split, as the pieces of one document must, or what the user says by a column."""

    example: Example
    key: str
    place: str
    group: str


def find_columns(
    table: Table,
    kind: Kind | None = None,
    prompt: str | None = None,
    completion: str | None = None,
    group: str | None = None,
) -> Columns:
    """Finds the columns by name, or checks the named ones. Raises TaskError that lists what is there."""
    for option, name in (("--prompt", prompt), ("--completion", completion), ("--group", group)):
        if name is not None and name not in table.columns:
            raise TaskError(
                f"no column {name!r}; columns here: {_listed(table.columns)}",
                where=table.where,
                mend=f"{option} with one of these",
            )
    return replace(_work_columns(table, kind, prompt, completion, group), group=group)


def _work_columns(
    table: Table, kind: Kind | None, prompt: str | None, completion: str | None, group: str | None
) -> Columns:
    folded = {name.casefold(): name for name in reversed(table.columns)}

    def known(names: Sequence[str], taken: Sequence[str | None] = ()) -> str | None:
        return next((folded[n] for n in names if n in folded and folded[n] not in taken), None)

    if kind == "text":
        text = completion or known(TEXT_NAMES)
        if text is None:
            raise TaskError(
                f"no column of text; columns here: {_listed(table.columns)}",
                where=table.where,
                mend="--completion COLUMN names the column that holds the text",
            )
        return Columns(text=text)
    if prompt is None and completion is None and (chat := known(CHAT_NAMES)):
        return Columns(chat=chat)
    answer = completion or known(COMPLETION_NAMES, [prompt])
    question = prompt or known(PROMPT_NAMES, [answer])
    if question and answer:
        both = "instruction", "input"  # the two halves of one prompt in instruction-tuning sets
        if prompt is None and question.casefold() == both[0] and both[1] in folded and folded[both[1]] != answer:
            return Columns(prompt=(question, folded[both[1]]), completion=answer)
        return Columns(prompt=(question,), completion=answer)
    others = {*table.columns} - {folded.get("text"), group, *NUMBERING}
    if kind is None and prompt is None and completion is None and "text" in folded and not others:
        return Columns(text=folded["text"])
    missing = "prompt and completion" if not (question or answer) else "completion" if question else "prompt"
    raise TaskError(
        f"no column for the {missing}; columns here: {_listed(table.columns)}",
        where=table.where,
        mend="--prompt COLUMN --completion COLUMN"
        + ("; or --kind text, to learn the text" if "text" in folded else ""),
    )


def rows_of(table: Table, columns: Columns) -> tuple[list[Row], list[str]]:
    """Examples of a table and the places of the rows that were dropped for an empty prompt or completion."""
    rows, dropped = list[Row](), list[str]()
    for line, cells in table.rows:
        place = table.place(line)
        if columns.text:
            examples = _texts(cells.get(columns.text), place)
        elif columns.chat:
            examples = _chat(cells.get(columns.chat), place)
        else:
            prompt = "\n\n".join(filter(None, (_cell(cells.get(name), place, name) for name in columns.prompt)))
            answer = _cell(cells.get(columns.completion or ""), place, columns.completion or "", nested=True)
            examples = [Example(prompt, answer)] if prompt and answer else []
        keys = [example.key() for example in examples]
        group = _cell(cells.get(columns.group), place, columns.group, nested=True) if columns.group else ""
        if table.whole:
            group = table.where
        rows += [Row(example, key, place, group or keys[0]) for example, key in zip(examples, keys, strict=True)]
        if not examples:
            dropped.append(place)
    return rows, dropped


def _texts(value: Any, place: str) -> list[Example]:
    text = _cell(value, place, "text")
    return [Example("", piece) for _, piece in documents(enumerate(text.splitlines()))]


def _chat(value: Any, place: str) -> list[Example]:
    if value is None:
        return []
    turns = list(value) if isinstance(value, list | tuple) else [None]
    messages = []
    for turn in turns:
        said = turn if isinstance(turn, dict) else {}
        role = said.get("role") or said.get("from")
        if not isinstance(role, str) or role not in ROLES:
            raise TaskError(
                "not a conversation: a list of {role, content} with the roles system, user, assistant",
                where=place,
                mend='write [{"role": "user", "content": "..."}, {"role": "assistant", ...}]',
            )
        messages.append(Message(ROLES[role], _cell(said.get("content", said.get("value")), place, "content")))
    asked = [m.content for m in messages[:-1] if m.role == "user"]
    if not asked or not asked[-1] or messages[-1].role != "assistant" or not messages[-1].content:
        return []
    return [Example(asked[-1], messages[-1].content, tuple(messages[:-1]))]


def _cell(value: Any, place: str, name: str, nested: bool = False) -> str:
    """A cell as text: null and NaN are missing (empty); numbers as written; objects as compact JSON where `nested`."""
    if value is None or isinstance(value, float) and math.isnan(value):
        return ""
    if isinstance(value, str):
        text = value.strip()
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif not isinstance(value, dict | list | tuple | bytes):
        text = str(value)
    elif nested and not isinstance(value, bytes):
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    else:
        raise TaskError(
            f"column {name!r} holds {'bytes' if isinstance(value, bytes) else 'a nested value'}, not text",
            where=place,
            mend="--prompt COLUMN --completion COLUMN name other columns",
        )
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as e:
            raise TaskError(
                f"column {name!r} holds half of a surrogate pair: {ascii(text[e.start])}",
                where=place,
                mend="repair or delete that line",
            ) from e
    if "\0" in text:
        raise TaskError(f"column {name!r} holds a NUL character", where=place, mend="repair or delete that line")
    return text


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(columns[:30]) or "none"
