"""A task on disk, as it was read and split: what a run keeps of its data.

`task.json` holds everything but the examples, which are a line each in `train.jsonl`, `validation.jsonl`, `test.jsonl`;
those that no answer fits, where there are such, in `outside-validation.jsonl`, `outside-test.jsonl`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lightbulb.core.facts import TaskFacts
from lightbulb.core.files import new_file, read_json, write_json
from lightbulb.tasks.task import Example, Message, Outside, SplitName, Task

TASK_VERSION = 1
TASK = "task.json"
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
OUTSIDE: tuple[SplitName, ...] = ("validation", "test")


def write_task(task: Task, folder: Path) -> dict[str, Any]:
    """Writes a task into a folder; returns its facts."""
    about = {"name": task.name, "kind": task.kind, "metric": task.metric, "answers": task.answers}
    beside = {} if task.outside is None else _outside_record(task.outside, folder)
    where = {"findings": task.findings, "source": task.source, "reading": task.reading}
    write_json(folder / TASK, about | where | beside)
    for split in SPLITS:
        _write(task.split(split), folder / f"{split}.jsonl")
    facts = TaskFacts(
        task_kind=task.kind,
        metric=task.metric,
        fingerprint=task.fingerprint,
        train=len(task.train),
        validation=len(task.validation),
        test=len(task.test),
        answers=len(task.answers),
        findings=task.findings,
    )
    return facts.record()


def _outside_record(outside: Outside, folder: Path) -> dict[str, Any]:
    """Writes the questions that no answer fits; what task.json says of them."""
    shares = {}
    for split in OUTSIDE:
        examples, share = outside.split(split)
        _write(examples, folder / f"outside-{split}.jsonl")
        shares[f"{split}_share"] = share
    return {"outside": {"label": outside.label, **shares}}


def _write(examples: Sequence[Example], place: Path) -> None:
    with new_file(place) as beside, beside.open("w", encoding="ascii") as file:
        file.writelines(_lines(examples))


def _lines(examples: Sequence[Example]) -> Iterator[str]:
    for e in examples:
        row: dict[str, Any] = {"prompt": e.prompt, "completion": e.completion}
        if e.messages:
            row["messages"] = [{"role": m.role, "content": m.content} for m in e.messages]
        yield json.dumps(row, ensure_ascii=True) + "\n"


def read_task(folder: Path) -> Task:
    """The task that `write_task` wrote.

    Raises:
        RunFailure: task.json cannot be read
    """
    about = read_json(folder / TASK)
    about |= {name: tuple(about[name]) for name in ("answers", "findings")}
    if outside := about.pop("outside", None):
        validation, test = (_examples(folder, f"outside-{split}") for split in OUTSIDE)
        about["outside"] = Outside(**outside, validation=validation, test=test)
    return Task(**about | {split: _examples(folder, split) for split in SPLITS})


def _examples(folder: Path, split: str) -> tuple[Example, ...]:
    with (folder / f"{split}.jsonl").open(encoding="ascii") as lines:
        return tuple(_example(json.loads(line)) for line in lines)


def _example(row: dict[str, Any]) -> Example:
    messages = tuple(Message(m["role"], m["content"]) for m in row.get("messages", ()))
    return Example(row["prompt"], row["completion"], messages)
