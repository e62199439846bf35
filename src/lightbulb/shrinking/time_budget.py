"""What the time allows: asked once and remembered, so that a resumed run decides as its first attempt did."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from lightbulb.pipeline.decisions import Decisions

Decision = TypeVar("Decision", bool, int, float)


class TimeBudget:
    """What is left of the time given, and what was decided by it.

    Args:
        spent: seconds of the run so far, earlier attempts included
    """

    def __init__(self, decisions: Decisions, spent: Callable[[], float], max_seconds: float):
        self.decisions, self.spent, self.max_seconds = decisions, spent, max_seconds

    @property
    def left(self) -> float:
        return self.max_seconds - self.spent()

    def fits(self, key: str, seconds: Callable[[], float], left: Callable[[], float]) -> bool:
        """Whether what is called `key` and takes `seconds()` fits into `left()`, as it was decided the first time."""

        def why() -> str:
            return f"it takes {seconds():.0f} s, and {left():.0f} s are left for it"

        return self.decide_once(key, lambda: seconds() <= left(), why)

    def decide_once(self, key: str, decide: Callable[[], Decision], why: Callable[[], str] | None = None) -> Decision:
        """What was decided about `key` before, or what `decide()` says now.

        Args:
            why: the reason; without it the time left
        """
        return self.decisions.decide_once(key, decide, why or self._left_of_all)  # type: ignore[no-any-return]

    def _left_of_all(self) -> str:
        return f"{self.left:.0f} s of {self.max_seconds:.0f} s are left"
