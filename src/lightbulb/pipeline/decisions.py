"""What the clock decided during a run: on disk before it is acted on, so that a resumed run does the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightbulb.core.events import Decided, Stream
from lightbulb.core.files import read_json, write_json
from lightbulb.pipeline.ledger import Cost


class Decisions:
    """Decisions by name, JSON-able.

    Args:
        place: the file that keeps them
        events: hear of new ones, when they are on disk
    """

    def __init__(self, place: Path, events: Stream | None = None):
        self.place, self.events = place, events or Stream()
        self.known: dict[str, Any] = read_json(place) if place.exists() else {}

    def get(self, name: str) -> Any:
        """What was decided, or None."""
        return self.known.get(name)

    def put(self, name: str, value: Any, why: str = "") -> None:
        """Decides `name`, or decides it anew."""
        self.known[name] = value
        write_json(self.place, self.known)
        self.events.emit(Decided(by="clock", what=name, value=value, why=why))

    def forget(self) -> None:
        """Takes back all that was decided."""
        self.known.clear()
        self.place.unlink(missing_ok=True)

    def decide_once(self, name: str, decide: Callable[[], Any], why: Callable[[], str] = lambda: "") -> Any:
        """What was decided before, or what is decided now.

        Args:
            name: of the decision
            decide: gives the value
            why: gives the reason; asked after `decide`
        """
        if name not in self.known:
            value = decide()
            self.put(name, value, why())
        return self.known[name]


class StepBudget:
    """The `Budget` of one step.

    Args:
        seconds: in all its attempts together
        spent: gives those spent so far
        decisions: where it is written what the step was shortened to
        name: of that decision
    """

    def __init__(self, seconds: float, spent: Callable[[], float], decisions: Decisions, name: str):
        self.seconds, self.spent, self.decisions, self.name = seconds, spent, decisions, name

    def left(self) -> float:
        return self.seconds - self.spent()

    def shorten(self, **parameters: Any) -> None:
        why = f"{self.left():.0f} s are left of the {self.seconds:.0f} s that this step may take"
        self.decisions.put(self.name, {**(self.decisions.get(self.name) or {}), **parameters}, why)


class EnergyBudget(StepBudget):
    """The `Budget` of a step that may take no more than some joules either: at the power so far they are seconds.

    Args:
        joules: in all its attempts together
        cost: gives what was spent so far
        seconds: in all its attempts together
        decisions: where it is written what the step was shortened to
        name: of that decision
    """

    def __init__(self, joules: float, cost: Callable[[], Cost], seconds: float, decisions: Decisions, name: str):
        super().__init__(seconds, lambda: cost().seconds, decisions, name)
        self.joules, self.cost = joules, cost

    def left(self) -> float:
        cost = self.cost()
        if not cost.joules.value:  # nothing was spent yet, or it cannot be known
            return super().left()
        return min(super().left(), cost.seconds * (self.joules / cost.joules.value - 1))
