"""Which columns of a table hold the work, and rows turned into examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lightbulb.core.errors import TaskError
from lightbulb.tasks.cells import cell, whole_cell
from lightbulb.tasks.conversations import BAD_ANSWER, EMPTY, NO_TEXT, NOT_TEXT, LeftOut, as_example, role_of, turns_in
from lightbulb.tasks.lines import Table
from lightbulb.tasks.names import (
    CHAT_NAMES,
    COMPLETION_NAMES,
    IMAGES,
    NUMBERING,
    PAIRS,
    PREFERENCES,
    PROMPT_NAMES,
    SYSTEM,
    TEXT_NAMES,
    UNREAD,
    folded,
)
from lightbulb.tasks.readers import documents
from lightbulb.tasks.task import Example, TaskKind, counted


@dataclass(frozen=True, slots=True)
class Columns:
    """Column names. Exactly one of these holds: `chat`, `text`, or both `prompt` and `completion`.

    Attributes:
        prompt: several (instruction and input) are joined by a blank line
        completion: of the answer
        chat: of conversations
        text: of documents
        group: names what a row belongs to, where asked
        system: beside a chat, its system message
        images: their rows are no text
        good: whether an answer is a good one
    """

    prompt: tuple[str, ...] = ()
    completion: str | None = None
    chat: str | None = None
    text: str | None = None
    group: str | None = None
    system: str | None = None
    images: tuple[str, ...] = ()
    good: str | None = None

    def __str__(self) -> str:
        grouped = f", kept together by {self.group}" if self.group else ""
        if self.chat or self.text:
            return f"column {self.chat or self.text}{grouped}"
        return f"prompt = {' + '.join(self.prompt)}, completion = {self.completion}{grouped}"


@dataclass(frozen=True, slots=True)
class Row:
    """An example of a table.

    Attributes:
        example: the piece of work
        key: the example's, computed once
        place: it came from (file:line)
        group: what must stay on one side of a split, as the pieces of one document must, or what the user says by a
            column
    """

    example: Example
    key: str
    place: str
    group: str


def find_columns(
    table: Table,
    kind: TaskKind | None = None,
    prompt: str | None = None,
    completion: str | None = None,
    group: str | None = None,
) -> Columns:
    """Finds the columns by name, or checks the named ones.

    Args:
        table: with the columns
        kind: of the task; None: not known yet
        prompt: name of the column; found when None
        completion: likewise; for kind "text" the column of text
        group: a column of what must not be on two sides of a split

    Raises:
        TaskError: there is no such column; lists what is there
    """
    for parameter, name in (("prompt", prompt), ("completion", completion), ("group", group)):
        if name is not None and name not in table.columns:
            raise TaskError(
                f"no column {name!r}; columns here: {_listed(table.columns)}",
                where=table.where,
                hint=f"`{parameter}` with one of these",
            )
    return replace(_work_columns(table, kind, prompt, completion, group), group=group)


def _work_columns(
    table: Table, kind: TaskKind | None, prompt: str | None, completion: str | None, group: str | None
) -> Columns:
    named = {folded(name): name for name in reversed(table.columns)}

    def known(names: Sequence[str], taken: Sequence[str | None] = ()) -> str | None:
        return next((named[n] for n in names if n in named and named[n] not in taken), None)

    if kind == "text":
        text = completion or known(TEXT_NAMES)
        if text is None:
            raise TaskError(
                f"no column of text; columns here: {_listed(table.columns)}",
                where=table.where,
                hint="`completion=COLUMN` names the column that holds the text",
            )
        return Columns(text=text)
    images = tuple(named[name] for name in IMAGES if name in named)
    if prompt is None and completion is None and (chat := known(CHAT_NAMES)):
        return Columns(chat=chat, system=known(SYSTEM), images=images)
    preferred = _preference(named)[0] if completion is None else None
    answer = completion or preferred or known(COMPLETION_NAMES, [prompt])
    question = prompt or known(PROMPT_NAMES, [answer])
    if not (prompt or completion or (question and answer)):
        pairs = ((named[q], named[a]) for q, a in PAIRS if q in named and a in named)
        question, answer = next(pairs, (question, answer))
    if preferred and not question:
        return Columns(chat=preferred, system=known(SYSTEM), images=images)
    if question and answer:
        both = "instruction", "input"  # the two halves of one prompt in instruction-tuning sets
        halves = prompt is None and folded(question) == both[0] and both[1] in named and named[both[1]] != answer
        return Columns(
            prompt=(question, named[both[1]]) if halves else (question,),
            completion=answer,
            images=tuple(name for name in images if name not in (question, answer)),
            good=_verdict(table, named) if completion is None and folded(answer) == "completion" else None,
        )
    others = {*table.columns} - {named.get("text"), group, *NUMBERING}
    if kind is None and prompt is None and completion is None and "text" in named and not others:
        return Columns(text=named["text"])
    missing = "prompt and completion" if not (question or answer) else "completion" if question else "prompt"
    raise TaskError(
        f"no column for the {missing}; columns here: {_listed(table.columns)}",
        where=table.where,
        hint="`prompt=COLUMN` `completion=COLUMN`" + ("; or `kind=text`, to learn the text" if "text" in named else ""),
    )


def _verdict(table: Table, named: dict[str, str]) -> str | None:
    """The column of TRL's unpaired preferences that says whether a completion is a good one."""
    label = named.get("label")
    return label if label and all(isinstance(cells.get(label), bool) for _, cells in table.rows) else None


def _preference(named: dict[str, str]) -> tuple[str | None, str | None]:
    """The columns of the better and the worse of two answers."""
    pairs = ((named[better], named[worse]) for better, worse in PREFERENCES if better in named and worse in named)
    return next(pairs, (None, None))


def unread(table: Table, columns: Columns) -> list[str]:
    """What stands beside the columns that are read and belongs to the work, in sentences."""
    named = {folded(name): name for name in reversed(table.columns)}
    findings = []
    better, worse = _preference(named)
    if better and better in (columns.completion, columns.chat):
        findings.append(f"preferences: {better} is what is learned, {worse} is not looked at")
    asked = [cells.get(name) for name in columns.prompt for _, cells in table.rows]
    indented = sum(isinstance(a, str) and a.lstrip("\r\n").startswith(("\t", "  ")) and bool(a.strip()) for a in asked)
    if indented and any("\n" in str(cells.get(columns.completion or "")).strip() for _, cells in table.rows):  # code?
        findings.append(f"{counted(indented, 'prompt')} with an indented beginning: learned, and asked, without it")
    for name in (named[n] for n in UNREAD if n in named):
        taken = (*columns.prompt, columns.completion, columns.chat, columns.text, columns.group, columns.system)
        count = sum(bool(_filled(cells.get(name))) for _, cells in table.rows)
        if name not in taken and count:
            findings.append(f"column {name} is filled in {count:,} rows and not read: prompts are learned without it")
    return findings


def rows_of(table: Table, columns: Columns) -> tuple[list[Row], list[LeftOut]]:
    """Examples of a table, and the rows that give none.

    Raises:
        TaskError: a cell or a conversation that cannot be read; names file and line
    """
    rows, left = list[Row](), list[LeftOut]()
    for line, cells in table.rows:
        place = table.place(line)
        examples: list[Example] = []
        if columns.text:
            examples = _texts(cells.get(columns.text), place)
        else:
            found = _example(cells, columns, place)
            if isinstance(found, Example) and any(_filled(cells.get(name)) for name in columns.images):
                found = LeftOut(place, NOT_TEXT, found.completion.strip())
            if isinstance(found, Example) and columns.good and cells.get(columns.good) is False:
                found = LeftOut(place, BAD_ANSWER)
            if isinstance(found, LeftOut):
                left.append(found)
                continue
            examples = [found]
        if not examples:
            left.append(LeftOut(place, NO_TEXT))
        keys = [example.key() for example in examples]
        group = cell(cells.get(columns.group), place, columns.group, nested=True) if columns.group else ""
        if table.whole:
            group = table.where
        rows += [Row(example, key, place, group or keys[0]) for example, key in zip(examples, keys, strict=True)]
    return rows, left


def _texts(value: Any, place: str) -> list[Example]:
    text = cell(value, place, "text")
    return [Example("", piece) for _, piece in documents(enumerate(text.splitlines()))]


def _filled(value: Any) -> bool:
    return bool(value.strip() if isinstance(value, str) else value) and value == value


def _example(cells: dict[str, Any], columns: Columns, place: str) -> Example | LeftOut:
    if columns.chat:
        value = cells.get(columns.chat)
        if not _filled(value):
            return LeftOut(place, EMPTY)
        turns = turns_in(value) or [None]
        if columns.system and _filled(cells.get(columns.system)) and role_of(turns[0]) != "system":
            turns = [{"role": "system", "content": cells[columns.system]}, *turns]
        return as_example(turns, place)
    asked, answered = [cells.get(name) for name in columns.prompt], cells.get(columns.completion or "")
    before, after = turns_in(asked[0], certain=True) if len(asked) == 1 else None, turns_in(answered, certain=True)
    if before or after:
        before = before or [{"role": "user", "content": "\n\n".join(str(a) for a in asked if _filled(a))}]
        after = after or ([{"role": "assistant", "content": answered}] if _filled(answered) else [])
        whole = len(after) > 1 and role_of(after[0]) != "assistant"  # the conversation, its prompt included
        return as_example(after if whole else [*before, *after], place)
    prompt = "\n\n".join(filter(None, (cell(a, place, n) for a, n in zip(asked, columns.prompt, strict=True))))
    answer = whole_cell(answered, place, columns.completion or "", nested=True)
    return Example(prompt, answer) if prompt and answer.strip() else LeftOut(place, EMPTY, answer.strip())


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(columns[:30]) or "none"
