"""From what a user has (a file, a folder, a name) to a Task that is clean, split and scored by a fitting metric."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import get_args

from lightbulb.core.errors import TaskError
from lightbulb.tasks.columns import Columns, Row, find_columns, rows_of, unread
from lightbulb.tasks.conversations import BAD_ANSWER, EMPTY, NO_TEXT, LeftOut
from lightbulb.tasks.demo import home_task
from lightbulb.tasks.lines import Table
from lightbulb.tasks.metrics import BITS_PER_BYTE, MACRO_F1, check_metric, parses_as_json
from lightbulb.tasks.outside import outside_of, take_apart
from lightbulb.tasks.sources import TaskSource, open_source
from lightbulb.tasks.splits import Splits, check_enough, make_splits
from lightbulb.tasks.task import Example, Outside, SplitName, Task, TaskKind, counted
from lightbulb.tasks.tidy import with_blanks_that_matter, without_marks

MOST_ANSWERS = 512
LONGEST_ANSWER_CHARACTERS = 64
EXAMPLES_PER_ANSWER = 5
UNSEEN_ANSWERS = 0.05
SKEWED = 0.8
FEW = 5  # examples of an answer: a score of it would be a guess
RARE = 4  # times fewer than the commonest answer
EACH_COUNTS = 10  # of so few answers each matters to the score


def load_task(
    source: str,
    *,
    test: str | None = None,
    kind: TaskKind | None = None,
    metric: str | None = None,
    prompt: str | None = None,
    completion: str | None = None,
    group: str | None = None,
    none_label: str | None = None,
    seed: int = 0,
) -> Task:
    """Loads examples of work, understands what work they are, and splits them.

    Args:
        source: "home" (the built-in demo), a JSONL, CSV, Parquet or text file, a folder of splits or of text, or a
            Hugging Face `datasets` id
        test: a file with the test split
        kind: "choose", "generate" or "text"; inferred when None
        metric: inferred when None
        prompt: name of the column; found when None
        completion: likewise; for kind "text" the column of text
        group: a column of what must not be on two sides of a split (a patient, a contract)
        none_label: the completion of questions that none of the answers fits: no answer to be learned
        seed: decides splits made by hash, and the demo

    Raises:
        TaskError: the data cannot be used as asked; names file and line
        UserError: an unknown metric
    """
    _check_options(kind, metric)
    columns = {"prompt": prompt, "completion": completion, "group": group}
    options = {"test": test, "kind": kind, "metric": metric, **columns, "none_label": none_label}
    reading = {option: value for option, value in options.items() if value is not None}
    if source == "home":
        return _built_in(test, kind, metric, columns | {"none_label": none_label}, seed)
    task = _task_of(_opened(source, test), kind, metric, columns, none_label, seed)
    return dataclasses.replace(task, source=source, reading=reading)


def _task_of(
    found: TaskSource,
    kind: TaskKind | None,
    metric: str | None,
    columns: Mapping[str, str | None],
    none_label: str | None,
    seed: int,
) -> Task:
    """The task in the tables of a source. Raises TaskError."""
    findings = list(found.findings)
    rows, left = _examples(found, kind, columns, findings)
    rows, outside = _without_none(without_marks(rows, findings), none_label, seed, findings)
    check_enough(len(rows["train"]), len(rows["train"]), rows["train"])
    usual = infer_kind([row.example for row in rows["train"]])
    closed = "choose" in (kind, usual)
    kind = kind or usual
    rows = with_blanks_that_matter(rows, kind, findings)
    if kind == "choose":
        _check_choices(rows)
        _name_lost_answers(rows, left, findings)
    elif outside is not None:
        raise TaskError(
            f"this task is of the kind {kind}: where no answer is chosen from a closed set, none can fail to fit",
            where="`none_label`",
            hint="leave it out, or `kind=choose`",
        )
    task = _as_task(found.name, rows, kind, metric, closed, seed, findings)
    return dataclasses.replace(task, outside=outside)


def _without_none(
    rows: dict[SplitName, list[Row]], label: str | None, seed: int, findings: list[str]
) -> tuple[dict[SplitName, list[Row]], Outside | None]:
    """Rows with answers, and the questions that none of them fits."""
    if label is None:
        return rows, None
    inside, none = take_apart(rows, label.strip())
    return inside, outside_of(inside, none, label.strip(), seed, findings)


def _check_options(kind: str | None, metric: str | None) -> None:
    if kind is not None and kind not in get_args(TaskKind):
        raise TaskError(f"unknown kind {kind!r}", where="`kind`", hint=f"one of {', '.join(get_args(TaskKind))}")
    if metric is not None:
        check_metric(metric)


def _opened(source: str, test: str | None) -> TaskSource:
    """The tables of `source`, its test split replaced by what `test` names."""
    found = open_source(source)
    if test is not None:
        held = open_source(test).tables
        found.tables["test"] = held.get("test") or [table for tables in held.values() for table in tables]
    return found


def _as_task(
    name: str,
    rows: Mapping[SplitName, list[Row]],
    kind: TaskKind,
    metric: str | None,
    closed: bool,
    seed: int,
    findings: list[str],
) -> Task:
    """Clean rows of a known kind, split and scored by a metric. closed: their answers are a closed set."""
    splits = make_splits(
        rows["train"], rows.get("validation"), rows.get("test"), seed, several_answers=kind == "generate", closed=closed
    )
    answers = _answers(splits, findings) if kind == "choose" else ()
    train, validation, test = (
        tuple(row.example for row in split) for split in (splits.train, splits.validation, splits.test)
    )
    metric = _metric(metric, kind, train)
    findings.extend(splits.findings)
    if closed:
        _tell_rare_answers(splits, metric, findings)
    return Task(name, kind, metric, train, validation, test, answers, tuple(findings))


def infer_kind(train: Sequence[Example]) -> TaskKind:
    """ "text" without prompts; "choose" when the answers form a closed set; else "generate".

    Closed: at most 512 answers of at most 64 characters, at least 5 examples an answer on average, and a chance of at
    most 5% that the next example has an answer not yet seen (Good 1953: the share of answers seen exactly once).
    """
    if not any(e.prompt for e in train):
        return "text"
    tally = Counter(e.completion.strip() for e in train)
    once = sum(1 for n in tally.values() if n == 1)
    closed = (
        len(tally) <= MOST_ANSWERS
        and max(map(len, tally)) <= LONGEST_ANSWER_CHARACTERS
        and len(train) >= EXAMPLES_PER_ANSWER * len(tally)
        and once <= UNSEEN_ANSWERS * len(train)
    )
    return "choose" if closed else "generate"


def infer_metric(kind: TaskKind, train: Sequence[Example]) -> str:
    """accuracy, or macro-f1 where one answer is over 80% of train; json-match where 19 of 20 completions are JSON
    objects or arrays, else exact-match; bits-per-byte for text."""
    if kind == "text":
        return BITS_PER_BYTE
    if kind == "choose":
        majority = Counter(e.completion for e in train).most_common(1)[0][1]
        return "macro-f1" if majority > SKEWED * len(train) else "accuracy"
    return "json-match" if sum(parses_as_json(e.completion) for e in train) >= 0.95 * len(train) else "exact-match"


def _built_in(
    test: str | None, kind: TaskKind | None, metric: str | None, columns: Mapping[str, str | None], seed: int
) -> Task:
    task = home_task(seed)
    if test or any(columns.values()) or kind not in (None, task.kind):
        raise TaskError(
            "the built-in task has its own splits, columns and kind",
            where="home",
            hint=f"leave out `test`, `kind`, {' and '.join(f'`{name}`' for name in columns)}",
        )
    reading = {} if metric is None else {"metric": metric}
    return dataclasses.replace(task, metric=_metric(metric, task.kind, task.train), reading=reading)


def _examples(
    found: TaskSource, kind: TaskKind | None, named: Mapping[str, str | None], findings: list[str]
) -> tuple[dict[SplitName, list[Row]], list[LeftOut]]:
    """Rows by split, and those left out; train decides whether all tables are text."""
    rows: dict[SplitName, list[Row]] = {}
    left: list[LeftOut] = []
    used: dict[str, None] = {}
    first = find_columns(found.tables["train"][0], kind, **named)
    asked: TaskKind | None = "text" if first.text else kind
    for split in ("train", "validation", "test"):
        for table in found.tables.get(split, []):
            group = named["group"] if split == "train" or named["group"] in table.columns else None
            columns = find_columns(table, asked, **{**named, "group": group})
            if not first.text and columns.text:
                raise TaskError(
                    f"only text here, but train has {first}", where=table.where, hint="give all splits the same columns"
                )
            used[str(columns)] = None
            kept, dropped = _kept(table, columns, findings)
            rows.setdefault(split, []).extend(kept)
            left.extend(dropped)
    usual = str(Columns(prompt=("prompt",), completion="completion"))
    findings.extend(f"columns: {columns}" for columns in used if columns != usual)
    return rows, left


def _kept(table: Table, columns: Columns, findings: list[str]) -> tuple[list[Row], list[LeftOut]]:
    findings.extend(table.findings)
    rows, left = rows_of(table, columns)
    lost = [row for row in left if row.why != BAD_ANSWER]
    whys = Counter(row.why for row in lost).most_common()
    if len(lost) * 2 > len(table.rows):
        why = whys[0][0]
        raise TaskError(
            f"{whys[0][1]:,} of {len(table.rows):,} rows have {why} ({columns})",
            where=next(row.place for row in lost if row.why == why),
            hint="`prompt=COLUMN` `completion=COLUMN` name the right columns"
            if why in (EMPTY, NO_TEXT)
            else "give rows that text alone asks and answers",
        )
    for why, count in whys + [(BAD_ANSWER, len(left) - len(lost))]:
        if count:
            first = next(row.place for row in left if row.why == why)
            findings.append(f"{counted(count, 'row')} with {why} dropped (the first is at {first})")
    if several := sum(any(m.role == "assistant" for m in row.example.messages) for row in rows):
        findings.append(
            f"{counted(several, 'conversation')} with several answers: the last of each is learned, the others are read"
        )
    findings.extend(unread(table, columns))
    return rows, left


def _check_choices(rows: dict[SplitName, list[Row]]) -> None:
    """Raises TaskError where the answers cannot be chosen from: one answer, no closed set, or new ones in test."""
    tally = Counter(row.example.completion for row in rows["train"])
    where = rows["train"][0].place.rpartition(":")[0]
    if len(tally) == 1:
        raise TaskError(
            f"every answer is {next(iter(tally))!r}: there is nothing to choose",
            where=where,
            hint="add examples of the other answers, or `completion=COLUMN`",
        )
    if sum(1 for n in tally.values() if n == 1) * 2 > len(rows["train"]):
        raise TaskError(
            f"{len(tally):,} different answers in {len(rows['train']):,} examples are no closed set",
            where=where,
            hint="`kind=generate`",
        )
    for split in ("validation", "test"):
        new = [row for row in rows.get(split, []) if row.example.completion not in tally]
        if new:
            labels = ", ".join(repr(label) for label in list(dict.fromkeys(r.example.completion for r in new))[:5])
            places = ", ".join(row.place for row in new[:5]) + (f" and {len(new) - 5:,} more" if len(new) > 5 else "")
            raise TaskError(
                f"answers in {split} that train does not have: {labels}",
                where=places,
                hint="add such examples to train, remove these lines, or `kind=generate`",
            )


def _name_lost_answers(rows: dict[SplitName, list[Row]], left: list[LeftOut], findings: list[str]) -> None:
    """An answer that only rows have which were left out is none that the model will learn."""
    kept = {row.example.completion for split in rows.values() for row in split}
    lost = Counter(row.answer for row in left if row.answer and row.answer not in kept)
    if lost:
        named = ", ".join(f"{answer[:80]!r} ({count:,})" for answer, count in lost.most_common(10))
        more = f" and {len(lost) - 10:,} more" if len(lost) > 10 else ""
        findings.append(f"answers that only dropped rows have, so that none will be given: {named}{more}")


def _answers(splits: Splits, findings: list[str]) -> tuple[str, ...]:
    """All answers, sorted. One that train lost to the cut or to leakage stays a choice and is reported."""
    everything = {row.example.completion for row in [*splits.train, *splits.validation, *splits.test]}
    if lost := sorted(everything - {row.example.completion for row in splits.train}):
        findings.append(f"after splitting, train has no example of {_named(lost)}")
    alike = Counter(answer.casefold() for answer in everything)
    if doubled := sorted(answer for answer in everything if alike[answer.casefold()] > 1):
        findings.append(f"answers that differ only in case: {', '.join(map(repr, doubled[:10]))}")
    return tuple(sorted(everything))


def _tell_rare_answers(splits: Splits, metric: str, findings: list[str]) -> None:
    """Answers that validation, by which a student is chosen, or test has none of, or too few to score."""
    every = (*splits.train, *splits.validation, *splits.test)
    answers = sorted({row.example.completion for row in every})
    for split, rows, so in (
        ("validation", splits.validation, "whether a student still gives it is not looked at when one is chosen"),
        ("test", splits.test, "the score says nothing of it"),
    ):
        tally = Counter(row.example.completion for row in rows)
        if missing := [answer for answer in answers if not tally[answer]]:
            findings.append(f"{split} has no example of {_named(missing)}: {so}")
        usual = tally.most_common(1)[0][1]
        rare = [answer for answer in answers if 0 < tally[answer] < FEW and RARE * tally[answer] < usual]
        few = [f"{answer!r} ({tally[answer]})" for answer in rare]
        if few and (len(answers) <= EACH_COUNTS or metric == MACRO_F1):
            more = f" and {len(few) - 10:,} more" if len(few) > 10 else ""
            findings.append(f"{split} has fewer than {FEW} examples of {', '.join(few[:10])}{more}: give more of them")


def _named(answers: Sequence[str]) -> str:
    return ", ".join(map(repr, answers[:10])) + (f" and {len(answers) - 10:,} more" if len(answers) > 10 else "")


def _metric(metric: str | None, kind: TaskKind, train: Sequence[Example]) -> str:
    if metric is None:
        return infer_metric(kind, train)
    if (metric == BITS_PER_BYTE) != (kind == "text"):
        hint = "leave out `metric`" if kind == "text" else "`kind=text`, or another `metric`"
        raise TaskError(f"metric {metric} does not fit a task of kind {kind}", where="`metric`", hint=hint)
    return metric
