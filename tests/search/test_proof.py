"""The proof: as many test items as there is time for, decided once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightbulb.energy.protocol import measuring_seconds
from lightbulb.goal import Goal
from lightbulb.search.clock import Clock
from lightbulb.search.plan import FEWEST_TESTED, Work
from lightbulb.search.proof import LATE, TWO_THREADS, items_in_time, measuring_windows, prove, seconds_each

WORK = Work("choose", 5000, 150_000, 3000, 60_000, 500, 1.0)
ROLES = ("student", "teacher-f16", "teacher-q8_0", "teacher-q4_0")


class Measured:
    """An Execution that finds the same cost for every file."""

    def __init__(self, seconds_per_answer: float):
        self.facts = {role: {"seconds_per_answer": {"value": seconds_per_answer}} for role in ROLES}
        self.limits: set[int | None] = set()

    def perform(self, *steps):
        self.limits |= {s.parameters.get("limit") for s in steps if s.label.endswith("-test")}
        return SimpleNamespace(facts=self.facts)


@pytest.mark.parametrize("spent, tested", [(0.0, None), (800.0, 1200), (999.0, 205), (5000.0, FEWEST_TESTED)])
def test_test_items_are_cut_where_the_time_does_not_allow_all(tmp_path, spent, tested):
    """Four files at 1/16 s an item: 0.2 s for a round."""
    execution, said = Measured(1 / 16), []
    clock = Clock(tmp_path / "clock.json", lambda: spent, 1000.0)
    prove(execution, "student-1", WORK, clock, Goal(), said.append)
    assert execution.limits == {tested}
    assert said == ([] if tested is None else [f"time for {tested:,} test items, of 3,000 different ones"])
    again = Measured(1.0)
    prove(again, "student-1", WORK, Clock(tmp_path / "clock.json", lambda: 0.0, 1000.0), Goal(), said.append)
    assert again.limits == {tested}, "a resumed run tests the same items"


def test_measuring_gets_its_share_of_the_time():
    """A demo of 11 minutes spends about 75 s on four files, an hour has the longest windows."""
    for files in (4, 6):
        assert measuring_seconds(files, *measuring_windows(660, files)) <= 100
    assert measuring_seconds(4, *measuring_windows(660)) <= 75
    assert measuring_windows(3600) == (10, 3.0)


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
    work = Work("text", 10, 1000, 4, 8000, 4, 0.0)
    assert seconds_each({"tokens_per_second": {"value": 100.0}, "seconds_per_answer": {"value": 1.0}}, work) == 20.0
    assert seconds_each({"tokens_per_second": {"value": 100.0}, "seconds_per_answer": {"value": 1.0}}, WORK) == 1.0
    assert 0 < LATE < 0.1
