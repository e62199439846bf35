"""The proof of a student: costs first, because they tell how many test items there is time for; then the scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lightbulb.pipeline.recipe import Execution
from lightbulb.shrinking.goal import Goal
from lightbulb.shrinking.plan import FEWEST_TESTED, REPORT_SECONDS, TaskStats, measuring
from lightbulb.shrinking.steps import cost_steps, measured_roles, test_steps
from lightbulb.shrinking.time_budget import TimeBudget

LATE = 0.05  # of the time: a tenth over is allowed, and half of that is left for what the arithmetic misses
# Seconds of answering test items with two threads / seconds of measuring the same answers with one, seen in the ledgers
# of four runs: 0.67 to 0.94, median 0.73 (docs/lab-notes.md). More threads are not counted on: they may share cores.
TWO_THREADS = 0.8


def evaluate_choice(
    execution: Execution,
    student: str | None,
    stats: TaskStats,
    time_budget: TimeBudget,
    goal: Goal,
    say: Callable[[str], None],
) -> None:
    """Measures the costs of the student and of the stock files, then scores as many test items as the time allows."""
    steps = cost_steps(student, measuring(time_budget.max_seconds), goal.runtime)
    costs = execution.perform(*steps)
    each = [seconds_each(costs.facts[role], stats) for role in measured_roles(steps[-1]).values()]

    def items() -> int:
        seconds = time_budget.left + LATE * time_budget.max_seconds - REPORT_SECONDS
        return items_in_time(each, stats.test_examples, seconds, goal.threads)

    tested = time_budget.decide_once("test items", items)
    if tested < stats.test_examples:
        say(f"time for {tested:,} test items, of {stats.test_examples:,} different ones")
    answer_test(
        execution, student, dict(zip(measured_roles(steps[-1]), each, strict=True)), tested, stats, time_budget, goal
    )


def answer_test(
    execution: Execution,
    student: str | None,
    each: Mapping[str, float],
    items: int,
    stats: TaskStats,
    time_budget: TimeBudget,
    goal: Goal,
) -> None:
    """Scores the files on test, the slowest first. Each gets its part of the time left, by the seconds `each` takes for
    an item; one that is slower than it was answers fewer items, and so do those after it."""
    limit = None if items == stats.test_examples else items
    for label in sorted(each, key=lambda label: -each[label]):
        later = sum(each[other] for other in each if f"{other}-test" not in execution.made)
        seconds = time_budget.left + LATE * time_budget.max_seconds - REPORT_SECONDS
        test = next(s for s in test_steps(student, limit, goal.runtime) if s.source == label)
        made = execution.perform(test, seconds=seconds * each[label] / later)
        if (answered := made.facts["items"]) < min(limit or answered + 1, len(execution.run.task.test)):
            limit = answered


def seconds_each(figures: Mapping[str, Any], stats: TaskStats) -> float:
    """Seconds that a file takes for one test item on one thread, from its measured costs."""
    if stats.kind == "text":  # costs are measured on beginnings of documents
        return stats.test_tokens / max(1, stats.test_examples) / figures["tokens_per_second"]["value"]
    return figures["seconds_per_answer"]["value"]


def items_in_time(each: Sequence[float], items: int, seconds: float, threads: int) -> int:
    """How many of `items` files that take `each` seconds an item answer one after the other in `seconds`."""
    a_round = sum(each) * (TWO_THREADS if threads > 1 else 2 * TWO_THREADS)
    return min(items, max(FEWEST_TESTED, int(seconds / a_round)))
