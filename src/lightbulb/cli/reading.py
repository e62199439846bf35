"""Options of all verbs that read a task."""

from __future__ import annotations

from dataclasses import dataclass

from lightbulb.tasks.task import TaskKind


@dataclass(frozen=True)
class Columns:
    """How the task is read.

    Attributes:
        test: test split, when it is a file of its own
        kind: inferred from the data when left out
        metric: accuracy, macro-f1, exact-match, json-match, chrf, rouge-l, bits-per-byte or your own module:function
        prompt: column with the question
        completion: column with the answer
        group: column of what must not be in two splits, like a patient or a contract
    """

    test: str | None = None
    kind: TaskKind | None = None
    metric: str | None = None
    prompt: str | None = None
    completion: str | None = None
    group: str | None = None
