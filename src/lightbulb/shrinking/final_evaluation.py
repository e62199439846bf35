"""The proof of a student: costs first, because they tell how many test items there is time for; then the scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lightbulb.core.facts import CostFacts, ScoreFacts
from lightbulb.core.figures import Figure
from lightbulb.pipeline.recipe import Execution
from lightbulb.shrinking.candidate import Candidate
from lightbulb.shrinking.cost_model import TaskStats
from lightbulb.shrinking.drafts import FEWEST_TESTED, REPORT_SECONDS, measuring_windows
from lightbulb.shrinking.goal import Goal
from lightbulb.shrinking.steps import cost_steps, roles, test_step
from lightbulb.shrinking.time_budget import TimeBudget

LATE = 0.05  # of the time: a tenth over is allowed, and half of that is left for what the arithmetic misses
# Seconds of answering test items with two threads / seconds of measuring the same answers with one, seen in the ledgers
# of four runs: 0.67 to 0.94, median 0.73 (docs/lab-notes.md). More threads are not counted on: they may share cores.
TWO_THREADS = 0.8


@dataclass(frozen=True)
class FinalEvaluation:
    """Costs and test scores of the files that may be handed out.

    Attributes:
        files: students and stock files
        windows_for: seconds of a run for which windows of measuring are long enough
    """

    execution: Execution
    files: Sequence[Candidate]
    stats: TaskStats
    time_budget: TimeBudget
    goal: Goal
    windows_for: float

    def perform(self, say: Callable[[str], None]) -> None:
        """Measures the costs of all files, then scores as many test items as the time allows."""
        costs = self.execution.perform(
            *cost_steps(
                self.files, measuring_windows(self.windows_for, len(self.files)), self.goal.runtime, self.goal.abstain
            )
        )
        figures = costs.facts_as(CostFacts).roles
        each = {c: seconds_each(figures[role], self.stats) for c, role in roles(self.files).items()}

        def items() -> int:
            return items_in_time(list(each.values()), self.stats.test_examples, self._left(), self.goal.threads)

        tested = self.time_budget.decide_once("test items", items)
        if tested < self.stats.test_examples:
            say(f"time for {tested:,} test items, of {self.stats.test_examples:,} different ones")
        self._answer_test(each, None if tested == self.stats.test_examples else tested)

    def _answer_test(self, each: Mapping[Candidate, float], limit: int | None) -> None:
        """Scores the files on test, the slowest first. Each gets its part of the time left, by the seconds `each` takes
        for an item; one that is slower than it was answers fewer items, and so do those after it."""
        made = self.execution.made
        for candidate in sorted(each, key=lambda c: -each[c]):
            later = sum(each[other] for other in each if other.test_label not in made)
            seconds = self._left() * each[candidate] / later
            test = test_step(candidate, limit, self.goal.runtime)
            answered = self.execution.perform(test, seconds=seconds).facts_as(ScoreFacts).items
            if answered < min(limit or answered + 1, len(self.execution.run.task.test)):
                limit = answered

    def _left(self) -> float:
        budget = self.time_budget
        return budget.left + LATE * budget.max_seconds - REPORT_SECONDS


def seconds_each(figures: Mapping[str, Figure], stats: TaskStats) -> float:
    """Seconds that a file takes for one test item on one thread, from its measured costs."""
    if stats.kind == "text":  # costs are measured on beginnings of documents
        return stats.test_tokens / max(1, stats.test_examples) / _timed(figures["tokens_per_second"])
    return _timed(figures["seconds_per_answer"])


def _timed(figure: Figure) -> float:
    assert figure.value is not None  # there is a clock everywhere
    return figure.value


def items_in_time(each: Sequence[float], items: int, seconds: float, threads: int) -> int:
    """How many of `items` files that take `each` seconds an item answer one after the other in `seconds`."""
    a_round = sum(each) * (TWO_THREADS if threads > 1 else 2 * TWO_THREADS)
    return min(items, max(FEWEST_TESTED, int(seconds / a_round)))
