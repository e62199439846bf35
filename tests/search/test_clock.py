"""The clock: asked once, remembered across attempts."""

from __future__ import annotations

from lightbulb.search.clock import Clock


def test_what_was_decided_once_stays(tmp_path):
    spent = [10.0]
    clock = Clock(tmp_path / "clock.json", lambda: spent[0], 100.0)
    assert clock.left == 90 and clock.allows("a rung", 90) and not clock.allows("a wider one", 91)
    assert clock.once("items", lambda: 50) == 50
    spent[0] = 99.0
    resumed = Clock(tmp_path / "clock.json", lambda: spent[0], 100.0)
    assert resumed.allows("a rung", 90) and not resumed.allows("a wider one", 0)
    assert resumed.once("items", lambda: 7) == 50
    assert not resumed.allows("another", 2)
