"""What the time allows: asked once and remembered, so that a resumed run decides as its first attempt did."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from lightbulb.pipeline.decisions import Decisions

Decision = TypeVar("Decision", bool, int, float)


class TimeBudget:
    """`spent()`: seconds of the run so far, earlier attempts included."""

    def __init__(self, decisions: Decisions, spent: Callable[[], float], max_seconds: float):
        self.decisions, self.spent, self.max_seconds = decisions, spent, max_seconds

    @property
    def left(self) -> float:
        return self.max_seconds - self.spent()

    def fits(self, key: str, seconds: Callable[[], float], left: Callable[[], float]) -> bool:
        """Whether what is called `key` and takes `seconds()` fits into `left()`, as it was decided the first time."""
        return self.decide_once(key, lambda: seconds() <= left())

    def decide_once(self, key: str, decide: Callable[[], Decision]) -> Decision:
        """What was decided about `key` before, or what `decide()` says now."""
        return self.decisions.decide_once(key, decide)  # type: ignore[no-any-return]
