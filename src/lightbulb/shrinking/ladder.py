"""Kinds of student that need no teacher: tried one after the other before anything else is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lightbulb.shrinking.candidate import Candidate, Choice, Outcome, Trial, other_kinds
from lightbulb.shrinking.floor import Floor, holds_with_margin


class CheapestFirst:
    """Tries candidates in their order. Where the floor needs no reference it stops at the first that holds it with a
    margin; else all are tried, because the best of them may be what the others are held against.

    allows: whether there is time for a candidate. say: hears what came of each.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        floor: Floor,
        allows: Callable[[Candidate], bool],
        say: Callable[[str], None],
    ):
        self.floor, self.allows, self.say = floor, allows, say
        self._left = list(candidates)
        self._tried: list[Outcome] = []
        self._held: Outcome | None = None

    def ask(self) -> Trial | None:
        """The next candidate that there is time for."""
        while self._left and not self._held:
            if self.allows(self._left[0]):
                return Trial(self._left[0], "exported")
            self._left.pop(0)
        return None

    def tell(self, outcome: Outcome) -> None:
        """Its score on validation: taken where it is enough by itself."""
        self.say(f"{outcome.trial.name}: {outcome.score} on validation")
        self._tried.append(outcome)
        self._left.pop(0)
        if self.floor.keep is None and holds_with_margin(self.floor, outcome.score, self.floor.score(None)):
            outcome.why += "; holds the floor with a margin: taken, and nothing that costs more is tried"
            outcome.chosen, self._held = True, outcome
            self.say("  holds the floor with a margin: taken, and nothing that costs more is tried")

    def choice(self) -> Choice:
        """What held a floor of its own; else no candidate, and what was tried."""
        tried = tuple(self._tried)
        return Choice(self._held.trial.candidate if self._held else None, tried, other_kinds(tried))
