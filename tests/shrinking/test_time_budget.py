"""The clock: asked once, remembered across attempts."""

from __future__ import annotations

from lightbulb.pipeline.decisions import Decisions, StepBudget
from lightbulb.shrinking.time_budget import TimeBudget


def allows(time_budget: TimeBudget, what: str, seconds: float) -> bool:
    return time_budget.decide_once(what, lambda: seconds <= time_budget.left)


def test_what_was_decided_once_stays(tmp_path):
    spent, place = [10.0], tmp_path / "clock.json"
    time_budget = TimeBudget(Decisions(place), lambda: spent[0], 100.0)
    assert time_budget.left == 90 and allows(time_budget, "a rung", 90) and not allows(time_budget, "a wider one", 91)
    assert time_budget.decide_once("items", lambda: 50) == 50
    spent[0] = 99.0
    resumed = TimeBudget(Decisions(place), lambda: spent[0], 100.0)
    assert allows(resumed, "a rung", 90) and not allows(resumed, "a wider one", 0)
    assert resumed.decide_once("items", lambda: 7) == 50
    assert not allows(resumed, "another", 2)


def test_a_step_is_shortened_on_disk_first(tmp_path):
    place, spent = tmp_path / "clock.json", [0.0]
    budget = StepBudget(10.0, lambda: spent[0], Decisions(place), "teacher shortened to")
    assert budget.left() == 10
    spent[0] = 12.0
    assert budget.left() == -2
    budget.shorten(limit=5)
    budget.shorten(other=[1, 2])
    assert Decisions(place).get("teacher shortened to") == {"limit": 5, "other": [1, 2]}
    budget.shorten(limit=4)
    assert Decisions(place).get("teacher shortened to") == {"limit": 4, "other": [1, 2]}
    assert Decisions(place).get("another") is None
