"""The proof: as many test items as there is time for, decided once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightbulb.core.artifact import Artifact
from lightbulb.core.figures import Figure
from lightbulb.measuring.protocol import measuring_seconds
from lightbulb.pipeline.decisions import Decisions
from lightbulb.shrinking.candidate import Candidate
from lightbulb.shrinking.cost_model import TaskStats
from lightbulb.shrinking.drafts import FEWEST_TESTED, REPORT_SECONDS, measuring_windows
from lightbulb.shrinking.final_evaluation import LATE, TWO_THREADS, FinalEvaluation, items_in_time, seconds_each
from lightbulb.shrinking.goal import Goal
from lightbulb.shrinking.steps import stock_candidates
from lightbulb.shrinking.time_budget import TimeBudget

WORK = TaskStats("choose", 5000, 3000, 60_000, 500, 1.0)
STOCK = stock_candidates(30)
FILES = [Candidate(layers=1, method="plain", quant_type="f16"), *STOCK]
ROLES = ("student", "teacher-f16", "teacher-q8_0", "teacher-q4_0")


def cost(seconds_per_answer: float) -> dict[str, dict]:
    return {"seconds_per_answer": Figure(value=seconds_per_answer, unit="s").model_dump()}


class Measured:
    """An Execution that finds the same cost for every file. `answers(label, limit, seconds)`: items that a file answers
    in the time that it is given; all by default."""

    def __init__(self, seconds_per_answer: float, answers=lambda label, limit, seconds: limit):
        self.facts = {role: cost(seconds_per_answer) for role in ROLES}
        self.answers, self.made, self.given = answers, {}, {}
        self.run = SimpleNamespace(task=SimpleNamespace(test=range(3000)))

    @property
    def limits(self):
        return {limit for limit, _ in self.given.values()}

    def perform(self, *steps, seconds=None):
        for s in steps:
            facts = self.facts
            if s.label.endswith("-test"):
                limit = s.parameters.get("limit")
                self.given[s.source] = (limit, seconds)
                items = self.answers(s.source, limit or 3000, seconds)
                score = Figure(value=0.5, unit="share").model_dump()
                facts = {"score": score, "items": items, "num_prompts": 1, "prompt_tokens": 1, "output_tokens": 1}
            self.made[s.label] = Artifact(path=Path(s.label), kind="figures", key=s.label, made_by="test", facts=facts)
        return self.made[steps[-1].label]


@pytest.mark.parametrize("spent, tested", [(0.0, None), (800.0, 1200), (999.0, 205), (5000.0, FEWEST_TESTED)])
def test_test_items_are_cut_where_the_time_does_not_allow_all(tmp_path, spent, tested):
    """Four files at 1/16 s an item: 0.2 s for a round."""
    execution, said = Measured(1 / 16), []
    time_budget = TimeBudget(Decisions(tmp_path / "clock.json"), lambda: spent, 1000.0)
    FinalEvaluation(execution, FILES, WORK, time_budget, Goal(), time_budget.max_seconds).perform(said.append)
    assert execution.limits == {tested} and len(execution.given) == 4
    assert said == ([] if tested is None else [f"time for {tested:,} test items, of 3,000 different ones"])
    again = Measured(1.0)
    time_budget = TimeBudget(Decisions(tmp_path / "clock.json"), lambda: 0.0, 1000.0)
    FinalEvaluation(again, FILES, WORK, time_budget, Goal(), time_budget.max_seconds).perform(said.append)
    assert again.limits == {tested}, "a resumed run tests the same items"


def test_a_file_that_has_no_time_for_all_items_shortens_those_after_it(tmp_path):
    """The slowest comes first, each has its part of what is left, and the last one has all of that."""
    execution = Measured(1 / 16, lambda label, limit, seconds: 700 if label == "teacher-q8_0" else limit)
    for n, role in enumerate(("teacher-q4_0", "teacher-q8_0", "teacher-f16")):
        execution.facts[role] = cost((n + 1) / 16)
    time_budget = TimeBudget(Decisions(tmp_path / "clock.json"), lambda: 0.0, 2000.0)
    FinalEvaluation(execution, FILES, WORK, time_budget, Goal(), time_budget.max_seconds).perform(lambda text: None)
    assert list(execution.given) == ["teacher-f16", "teacher-q8_0", "student-1-plain-gguf", "teacher-q4_0"] or list(
        execution.given
    ) == ["teacher-f16", "teacher-q8_0", "teacher-q4_0", "student-1-plain-gguf"]
    assert [limit for limit, _ in execution.given.values()] == [None, None, 700, 700]
    left = 2000 * (1 + LATE) - REPORT_SECONDS
    assert [seconds for _, seconds in execution.given.values()] == pytest.approx(
        [left * 3 / 7, left * 2 / 4, left * 1 / 2, left]
    )


def test_without_a_student_the_stock_files_are_proven(tmp_path):
    execution = Measured(1 / 16)
    execution.facts = {"student": execution.facts["student"]} | execution.facts
    time_budget = TimeBudget(Decisions(tmp_path / "c.json"), lambda: 0.0, 1e4)
    FinalEvaluation(execution, STOCK, WORK, time_budget, Goal(), time_budget.max_seconds).perform(lambda text: None)
    assert set(execution.given) == {"teacher-f16", "teacher-q8_0", "teacher-q4_0"}
    assert "verify" in execution.made and "costs" in execution.made


def test_measuring_gets_its_share_of_the_time():
    """A demo of 11 minutes spends no more than 75 s on it, an hour has the longest windows."""
    assert measuring_seconds(4, *measuring_windows(660, 4)) <= 75
    assert measuring_windows(3600, 4) == (10, 3.0)


@given(
    st.lists(st.floats(0.0001, 10), min_size=4, max_size=4),
    st.integers(1, 10_000),
    st.floats(-100, 1e5),
    st.integers(1, 64),
)
def test_what_is_tested_fits(each, items, seconds, threads):
    tested = items_in_time(each, items, seconds, threads)
    assert 1 <= tested <= items
    if tested > FEWEST_TESTED:
        assert tested * sum(each) * TWO_THREADS <= seconds * 1.000001
    assert items_in_time(each, items, seconds, 1) <= tested or threads == 1


def test_documents_are_longer_than_what_costs_were_measured_on():
    stats = TaskStats("text", 10, 4, 8000, 4, 0.0)
    figures = {
        "tokens_per_second": Figure(value=100.0, unit="tokens/s"),
        "seconds_per_answer": Figure(value=1.0, unit="s"),
    }
    assert seconds_each(figures, stats) == 20.0
    assert seconds_each(figures, WORK) == 1.0
    assert 0 < LATE < 0.1
