"""What a model scores that has learned nothing, and whether a score can be told from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lightbulb.core.figures import Figure, human
from lightbulb.tasks import metrics
from lightbulb.tasks.task import Example, Task

BITS_OF_A_BYTE = 8.0  # bits per byte of a model to which all bytes are alike


def chance(task: Task, examples: Sequence[Example]) -> float:
    """The score that needs no learning: in a closed set that of always giving the most frequent answer of the train
    split, or of a uniform guess where that is better; of text that of bytes that are all alike; else 0, nothing
    right."""
    if task.metric == metrics.BITS_PER_BYTE:
        return BITS_OF_A_BYTE
    if task.kind != "choose":
        return 0.0
    references = [e.completion for e in examples]
    constant = metrics.score(task.metric, [_constant(task, examples)] * len(references), references).value or 0.0
    guess = task.metric in (*metrics.PROPORTIONS, metrics.MACRO_F1)
    return max(constant, 1 / len(task.answers)) if guess else constant


def at_chance(task: Task, score: Figure, examples: Sequence[Example]) -> str:
    """Why a score shows no learning, in words; "" where it does.

    Of text the whole interval must be better than chance; in a closed set, too, where the items can tell (`enough`),
    else the score itself. Elsewhere something must be right.

    Args:
        task: that was scored
        score: in its metric
        examples: that it is the score of
    """
    if score.value is None:
        return "it has no score"
    worst = chance(task, examples)
    low, high = (score.value if end is None else end for end in (score.low, score.high))
    if task.metric == metrics.BITS_PER_BYTE:
        return "" if high < worst else f"bytes that are all alike take {worst:g} bits each"
    if task.kind != "choose":
        return "" if score.value > 0 else "nothing was right"
    if (low if enough(worst, len(examples)) else score.value) > worst:
        return ""
    return f"always answering {_constant(task, examples)!r} or guessing gives {human(worst)}"


def enough(worst: float, items: int) -> bool:
    """Whether so many items tell a model half-way between a share `worst` and all right from one at `worst`."""
    return items > 0 and metrics.wilson(int(items * (1 + worst) / 2), items)[0] > worst


def _constant(task: Task, examples: Sequence[Example]) -> str:
    """The most frequent answer, as far as training could know it."""
    return Counter(e.completion for e in task.train or examples).most_common(1)[0][0]
