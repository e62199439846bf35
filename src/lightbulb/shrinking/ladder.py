"""Kinds of student that need no teacher: tried one after the other before anything else is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from lightbulb.shrinking.candidate import Candidate, Choice, Outcome, Trial, other_kinds
from lightbulb.shrinking.floor import Floor, holds_with_margin


class CheapestFirst:
    """Tries candidates in their order, then what follows from them (cascades). Where the floor needs no reference it
    stops at the first that holds it with a margin, what is cut from it, and what follows; else all are tried, because
    the best of them may be what the others are held against.

    Args:
        allows: whether there is time for a candidate
        follow: the candidates that follow from what was tried
        say: hears what came of each
        last: whether no language model comes after them, so that the best of them is the reference
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
        self._missed: list[str] = []

    def ask(self) -> Trial | None:
        """The next candidate that there is time for."""
        while True:
            while self._left:
                if self.allows(self._left[0]):
                    return Trial(self._left[0], "exported")
                self._miss(self._left.pop(0))
            if self._followed:
                return None
            self._followed, self._left = True, list(self.follow(self._tried, self.floor))

    def tell(self, outcome: Outcome) -> None:
        """Its score on validation: nothing that costs more is tried where that is enough by itself."""
        self.say(f"{outcome.trial.name}: {outcome.score} on validation")
        self._tried.append(outcome)
        self._left.pop(0)
        enough = self.floor.keep is None and holds_with_margin(self.floor, outcome.score, self.floor.score(None))
        if enough and not self._followed:
            self._left = [c for c in self._left if c.fewer_layers(outcome.trial.candidate)]
            self.say("  that is enough: nothing that costs more is tried")

    def choice(self) -> Choice:
        """The cheapest that holds the floor, and where nothing comes after, else the best; no candidate, and what was
        tried, where something does."""
        tried, taken = tuple(self._tried), None
        if self.floor.keep is None or self.last:
            reference = self.floor.best(o.score.value for o in tried)
            taken = cheapest_that_holds(tried, self.floor, self.floor.score(reference), self._note)
        if taken is None and self.last:
            taken = max(tried, key=lambda o: self.floor.sign * (o.score.value or 0), default=None)
        if taken:
            taken.chosen = True
        return Choice(taken.trial.candidate if taken else None, tried, other_kinds(tried), missed=tuple(self._missed))

    def _miss(self, candidate: Candidate) -> None:
        self._missed.append(f"the time does not allow to try {candidate.name}")
        self.say(self._missed[-1])

    def _note(self, why: str, outcome: Outcome) -> None:
        self.say(f"  {outcome.trial.name}: {why}")
        outcome.why += f"; {why}"


def cheapest_that_holds(
    outcomes: Sequence[Outcome], floor: Floor, needed: float, note: Callable[[str, Outcome], None]
) -> Outcome | None:
    """Of what was tried the cheapest that holds `needed` with a margin.

    Args:
        note: hears of each why it is taken or not
    """
    able = [o for o in outcomes if holds_with_margin(floor, o.score, needed)]
    taken = min(able, key=answer_cost, default=None)
    for outcome in outcomes:
        if outcome is taken:
            note("holds the floor with a margin: taken", outcome)
        elif outcome in able:
            note("holds the floor, and costs more than another that does", outcome)
        else:
            note(f"does not hold {needed:.4g} with a margin", outcome)
    return taken


def answer_cost(outcome: Outcome) -> float:
    """CPU seconds of an answer on validation; what was not measured is no bargain."""
    seconds = outcome.cpu_seconds_per_answer.value
    return math.inf if seconds is None else seconds
