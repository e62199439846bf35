"""Asking a runtime the questions of a task: how, and how long prompts and answers may be."""

from __future__ import annotations

from collections.abc import Sequence

from lightbulb.runtimes.base import Runtime
from lightbulb.runtimes.exchange import Answers
from lightbulb.tasks.task import Example, Task


def answer_prompts(runtime: Runtime, task: Task, prompts: Sequence[str], longest: int) -> Answers:
    """Answers a task's prompts: by its closed set, or freely.

    Args:
        runtime: with the model opened
        task: whose answers or kind decide how
        prompts: what the runtime rendered
        longest: `longest_answer(task)`, which reads the whole train split: not for every prompt of a measurement
    """
    if task.kind == "choose":
        return runtime.answer(prompts, task.answers)
    return runtime.generate(prompts, longest)


def longest_answer(task: Task) -> int:
    """A bound on the tokens of an answer that all but one in a thousand of the train split keep: a model that never
    ends its answers costs this much for each."""
    lengths = sorted(most_tokens(e.completion) for e in task.train)
    return min(512, lengths[(len(lengths) * 999 - 1) // 1000] + 16)


def most_tokens(text: str) -> int:
    """Two ASCII characters a token is dense even for code; digits, and bytes of other scripts, may be one each."""
    dense = sum(1 for byte in text.encode() if byte > 127 or 48 <= byte <= 57)
    return dense + (len(text.encode()) - dense) // 2


def longest_exchange(task: Task, examples: Sequence[Example]) -> int:
    """A bound on the tokens of any prompt with its answer, in steps of 256: a token holds a byte or more (in a trimmed
    vocabulary often no more), and a chat template gets 256."""
    texts = (
        sum(len(m.content.encode()) for m in e.messages) or len((e.prompt or e.completion).encode()) for e in examples
    )
    answer = 0 if task.kind == "text" else longest_answer(task)
    return 256 * (2 + (max(texts, default=0) + answer) // 256)
