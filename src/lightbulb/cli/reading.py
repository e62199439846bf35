"""Options of all verbs that read a task."""

from __future__ import annotations

from dataclasses import dataclass

from lightbulb.cli.options import Omittable
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

    test: Omittable[str] = None
    kind: Omittable[TaskKind] = None
    metric: Omittable[str] = None
    prompt: Omittable[str] = None
    completion: Omittable[str] = None
    group: Omittable[str] = None
