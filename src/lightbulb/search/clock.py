"""What the time allows: asked once and remembered, so that a resumed run decides as its first attempt did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lightbulb.store import read_json, write_json

Decision = TypeVar("Decision", bool, int, float)


class Clock:
    """`spent()`: seconds of the run so far, earlier attempts included. `place`: the JSON file that keeps decisions."""

    def __init__(self, place: Path, spent: Callable[[], float], max_seconds: float):
        self.place, self.spent, self.max_seconds = place, spent, max_seconds
        self.decided: dict[str, bool | int | float] = read_json(place) if place.exists() else {}

    @property
    def left(self) -> float:
        return self.max_seconds - self.spent()

    def once(self, what: str, decide: Callable[[], Decision]) -> Decision:
        """What was decided about `what` before, or what `decide()` says now."""
        if what not in self.decided:
            self.decided[what] = decide()
            write_json(self.place, self.decided)
        return self.decided[what]  # type: ignore[return-value]

    def allows(self, what: str, seconds: float) -> bool:
        return self.once(what, lambda: seconds <= self.left)
