"""What the passes of classifiers share: the texts and answers of a task, and its metric on logits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lightbulb.core.errors import RecipeError
from lightbulb.core.figures import standard_error
from lightbulb.models.kinds.base import text_of
from lightbulb.tasks import metrics
from lightbulb.tasks.task import SplitName, Task


def texts_and_labels(task: Task, split: SplitName) -> tuple[list[str], np.ndarray]:
    """The texts of a split, and the numbers of their answers.

    Raises:
        RecipeError: the task does not choose
    """
    if task.kind != "choose":
        raise RecipeError(
            f"a classifier chooses one of a closed set of answers, and this task is of the kind {task.kind}",
            hint="use the passes of language models",
        )
    number = {answer: i for i, answer in enumerate(task.answers)}
    examples = task.split(split)
    return [text_of(e) for e in examples], np.array([number[e.completion] for e in examples], np.int64)


def value_of(task: Task, logits: np.ndarray, labels: np.ndarray) -> float:
    """The task's metric of the likeliest answers."""
    predictions, references = _answers(task, logits, labels)
    if task.metric != metrics.MACRO_F1:
        scores = metrics.item_scores(task.metric, predictions, references)
        return sum(scores) / len(scores)
    from sklearn.metrics import f1_score

    return float(f1_score(references, predictions, labels=sorted(set(references)), average="macro", zero_division=0))


def error_of(task: Task, logits: np.ndarray, labels: np.ndarray) -> float:
    """The standard error of that value, from its 95% interval."""
    return standard_error(metrics.score(task.metric, *_answers(task, logits, labels)))


def _answers(task: Task, logits: np.ndarray, labels: np.ndarray) -> tuple[Sequence[str], Sequence[str]]:
    return [task.answers[i] for i in logits.argmax(axis=1)], [task.answers[i] for i in labels]
