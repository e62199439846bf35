"""What the clock decided during a run: on disk before it is acted on, so that a resumed run does the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightbulb.core.files import read_json, write_json


class Decisions:
    """Decisions by name, JSON-able, in the file `place`."""

    def __init__(self, place: Path):
        self.place = place
        self.known: dict[str, Any] = read_json(place) if place.exists() else {}

    def get(self, name: str) -> Any:
        """What was decided, or None."""
        return self.known.get(name)

    def put(self, name: str, value: Any) -> None:
        """Decides `name`, or decides it anew."""
        self.known[name] = value
        write_json(self.place, self.known)

    def decide_once(self, name: str, decide: Callable[[], Any]) -> Any:
        """What was decided before, or what `decide()` says now."""
        if name not in self.known:
            self.put(name, decide())
        return self.known[name]


class StepBudget:
    """The `Budget` of one step: `seconds` in all its attempts together, `spent()` so far."""

    def __init__(self, seconds: float, spent: Callable[[], float], decisions: Decisions, name: str):
        self.seconds, self.spent, self.decisions, self.name = seconds, spent, decisions, name

    def left(self) -> float:
        return self.seconds - self.spent()

    def shorten(self, **parameters: Any) -> None:
        self.decisions.put(self.name, {**(self.decisions.get(self.name) or {}), **parameters})
