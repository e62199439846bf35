"""The parts of a result that follow from one step or one list each."""

from __future__ import annotations

import shlex
from typing import Any

from lightbulb.core.artifact import Artifact
from lightbulb.core.figures import Figure
from lightbulb.energy.carbon import grams_co2e
from lightbulb.passes import pass_class
from lightbulb.passes.evaluate import Answered, right_of
from lightbulb.pipeline.ledger import Cost
from lightbulb.pipeline.recipe import Execution
from lightbulb.runtimes import title_of
from lightbulb.shrinking.goal import Goal
from lightbulb.shrinking.record import Counts, Difference, LedgerRow, Making
from lightbulb.tasks.metrics import wilson
from lightbulb.tasks.task import Example, Task

SHOWN = 12  # examples in the report


def unanswered(task: Task, items: int) -> list[str]:
    if items == len(task.test):
        return []
    return [f"{items:,} of {len(task.test):,} test items were answered: there was no time for all"]


def too_few_items(task: Task, items: int, keep: float | None) -> list[str]:
    """Where there are too few items for the verdict "kept", however well the student does (Wilson's interval)."""
    if keep is None or task.kind == "text" or (most := wilson(items, items)[0]) >= keep:
        return []
    return [f"{items:,} test items can show at most that {most:.1%} was kept"]


def making(spent: Cost, goal: Goal) -> Making:
    grams = None if spent.joules.value is None else grams_co2e(spent.joules, goal.zone)
    return Making(joules=spent.joules, cpu_seconds=spent.cpu_seconds, seconds=spent.seconds, grams_co2e=grams)


def verification_figures(verify: Artifact | None, runtime: str) -> dict[str, Figure]:
    """What a comparison of a file with its weights found; nothing where there was none."""
    if verify is None:
        return {}
    method = f"exported file in {title_of(runtime)} against the trained model in float32"
    units = {"prompts": "prompts", "mean_log_prob_difference": "nats", "max_log_prob_difference": "nats"}
    return {
        name: Figure(value=value, unit=units.get(name, "share"), method=method)
        for name, value in verify.facts_as(pass_class(verify.made_by).facts_type)
        if isinstance(value, (int, float))
    }


def asking(model: str, question: Example | None, runtime: str) -> str:
    """The command that asks `model` in the form in which it was taught."""
    asked = shlex.quote(question.prompt) if question else '"..."'
    words = f"lightbulb ask {model} {asked}"
    if question and question.messages and question.messages[0].role == "system":
        words += f" --system {shlex.quote(question.messages[0].content)}"
    return words + ("" if runtime == "llamacpp" else f" --runtime {runtime}")


def ledger_row(execution: Execution, artifact: Artifact) -> LedgerRow:
    cost = execution.run.cost(artifact)
    again = f"{cost.attempts} attempts" if cost.attempts > 1 else ""
    return LedgerRow(
        step=execution.run.label_of(artifact),
        made_by=artifact.made_by,
        seconds=cost.seconds,
        cpu_seconds=cost.cpu_seconds,
        joules=cost.joules,
        note=again,
    )


def remainder(overhead: Cost) -> LedgerRow:
    return LedgerRow(
        step="beside the steps",
        seconds=overhead.seconds,
        cpu_seconds=overhead.cpu_seconds,
        joules=overhead.joules,
        note="libraries, planning, choosing",
    )


def counts(task: Task, teacher: Answered, student: Answered) -> Counts | None:
    if task.kind == "text":
        return None
    pairs = list(zip(right_of(task, teacher), right_of(task, student), strict=True))
    return Counts(
        both=pairs.count((True, True)),
        only_teacher=pairs.count((True, False)),
        only_student=pairs.count((False, True)),
        neither=pairs.count((False, False)),
    )


def differences(task: Task, teacher: Answered, student: Answered) -> list[Difference]:
    """Test items that teacher and student answer differently, where either is right first."""
    if task.kind == "text":
        return []
    items = zip(teacher.examples, teacher.predictions, student.predictions, strict=True)
    rows: list[tuple[Any, ...]] = [(e, t, s) for e, t, s in items if t != s]
    rows.sort(key=lambda row: row[0].completion not in row[1:])  # stable: test order within each group
    return [Difference(prompt=e.prompt, reference=e.completion, teacher=t, student=s) for e, t, s in rows[:SHOWN]]


def example_question(task: Task) -> Example | None:
    """A short, harmless question of the task to show how the result is asked; of chats one of few turns."""
    plain = [e for e in task.test if e.prompt and not set(e.prompt) & set('"\\$`!\n')]
    return min(plain, key=lambda e: (len(e.messages), abs(len(e.prompt) - 40)), default=None)
