"""Kinds of student that need no teacher: tried one after the other before anything else is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from lightbulb.shrinking.candidate import Candidate, Choice, Outcome, Trial, other_kinds
from lightbulb.shrinking.floor import Floor, holds_with_margin


class CheapestFirst:
    """Tries candidates in their order, then what follows from them (cascades). Where the floor needs no reference it
    stops at the first that holds it with a margin, and what follows from it; else all are tried, because the best of
    them may be what the others are held against.

    allows: whether there is time for a candidate. follow: the candidates that follow from what was tried. say: hears
    what came of each. last: whether no language model comes after them, so that the best of them is the reference.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        floor: Floor,
        allows: Callable[[Candidate], bool],
        follow: Callable[[Sequence[Outcome], Floor], Sequence[Candidate]],
        say: Callable[[str], None],
        last: bool = False,
    ):
        self.floor, self.allows, self.follow, self.say, self.last = floor, allows, follow, say, last
        self._left = list(candidates)
        self._followed = False
        self._tried: list[Outcome] = []

    def ask(self) -> Trial | None:
        """The next candidate that there is time for."""
        while True:
            while self._left:
                if self.allows(self._left[0]):
                    return Trial(self._left[0], "exported")
                self._left.pop(0)
            if self._followed:
                return None
            self._followed, self._left = True, list(self.follow(self._tried, self.floor))

    def tell(self, outcome: Outcome) -> None:
        """Its score on validation: nothing that costs more is tried where that is enough by itself."""
        self.say(f"{outcome.trial.name}: {outcome.score} on validation")
        self._tried.append(outcome)
        self._left.pop(0)
        if self.floor.keep is None and self._holds(outcome):
            outcome.why += "; holds the floor with a margin"
            if not self._followed:
                self._left.clear()
                self.say("  holds the floor with a margin: no kind that costs more is tried")

    def choice(self) -> Choice:
        """The cheapest that holds the floor, and where nothing comes after, else the best; no candidate, and what was
        tried, where something does."""
        tried = tuple(self._tried)
        taken = min(filter(self._holds, tried), key=lambda o: o.cpu_seconds_per_answer.value or math.inf, default=None)
        if taken is None and self.last:
            taken = max(tried, key=lambda o: self.floor.sign * (o.score.value or 0), default=None)
        if taken:
            taken.chosen = True
            taken.why += "; taken"
        return Choice(taken.trial.candidate if taken else None, tried, other_kinds(tried))

    def _holds(self, outcome: Outcome) -> bool:
        """Whether it holds the floor, as far as that is known: with `keep`, when all have been tried."""
        known = self.floor.keep is None or (self.last and self._followed)
        reference = self.floor.best(o.score.value for o in self._tried)
        return known and holds_with_margin(self.floor, outcome.score, self.floor.score(reference))
