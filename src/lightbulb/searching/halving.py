"""Successive halving (Jamieson and Talwalkar 2016): many students train shortly, the better third goes on three times
as long, and so on. Pure: scores and costs in, what is tried next out.

Where the cheapest that reaches a score is asked for, "better" is no single number: of the students that may still reach
it those on the front of score against cost go on, from the cheapest to the best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lightbulb.core.figures import Figure
from lightbulb.searching.student import Student
from lightbulb.shrinking.floor import Floor, holds_with_margin
from lightbulb.shrinking.strategy import GAP_CLOSED

ETA = 3  # one of so many goes on, for so many times as long
FINALISTS = 3


@dataclass(frozen=True)
class Trial:
    """A student to be trained and scored. rung: 0 first; each trains ETA times as long as the one before."""

    student: Student
    rung: int


@dataclass
class Tried:
    """What came of a student.

    Attributes:
        rung: the last that it was scored at
        score: on validation, after that
        why: it is no finalist
    """

    student: Student
    rung: int
    score: Figure
    why: str = ""

    @property
    def value(self) -> float:
        return math.nan if self.score.value is None else self.score.value


@dataclass
class Halving:
    """Asked for trials and told what came of them; asked again before it was told all, it says the rest.

    Attributes:
        students: of the first rung
        cost_of: of an answer, in one unit
        floor: what a score must reach
        reference: the parent's score on validation
        asks_for_a_score: the cheapest that holds the floor is wanted; else the best score
        finalists: how many are left at the end
    """

    students: Sequence[Student]
    cost_of: Callable[[Student], float]
    floor: Floor
    reference: Figure
    asks_for_a_score: bool
    finalists: int = FINALISTS
    tried: dict[Student, Tried] = field(default_factory=dict)
    rung: int = 0

    def __post_init__(self) -> None:
        self._alive = list(self.students)

    @property
    def rungs(self) -> int:
        """How many there are."""
        return len(rung_sizes(len(self.students), self.finalists))

    @property
    def alive(self) -> list[Student]:
        """That are still in it, cheapest first."""
        return sorted(self._alive, key=self.cost_of)

    def ask(self) -> list[Trial]:
        """The trials that are next, in any order; none where the search is over."""
        if self.rung >= self.rungs:
            return []
        return [Trial(s, self.rung) for s in self._alive if s not in self.tried or self.tried[s].rung < self.rung]

    def tell(self, trial: Trial, score: Figure) -> None:
        """What a trial came to."""
        self.tried[trial.student] = Tried(trial.student, trial.rung, score)
        if not self.ask():
            self._halve()

    def stop(self, why: str) -> None:
        """Ends it where it stands: the best of those that were scored are left. why: in a sentence."""
        scored = [s for s in self._alive if s in self.tried]
        self.rung = self.rungs
        self._keep(self._best(scored, self.finalists), why)

    def _halve(self) -> None:
        sizes = rung_sizes(len(self.students), self.finalists)
        self.rung += 1
        count = sizes[self.rung] if self.rung < len(sizes) else self.finalists
        self._keep(self._best(self._alive, count), "")

    def _keep(self, best: Sequence[Student], why: str) -> None:
        for student in self._alive:
            if student not in best and student in self.tried:
                self.tried[student].why = self._reason(student, best) + (f"; {why}" if why else "")
        self._alive = [s for s in self._alive if s in best]

    def _best(self, students: Sequence[Student], count: int) -> list[Student]:
        """Those that go on."""
        if not self.asks_for_a_score:
            return sorted(students, key=lambda s: (-self._signed(s), self.cost_of(s)))[:count]
        hopeful = [s for s in students if self.may_reach(s)]
        pools = [hopeful, [s for s in students if s not in hopeful]]
        chosen: list[Student] = []
        for pool in pools:
            while pool and len(chosen) < count:
                front = self.front(pool)
                chosen += spread(front, count - len(chosen))
                pool = [s for s in pool if s not in front]
        return chosen

    def front(self, students: Sequence[Student]) -> list[Student]:
        """Those that no other beats in score at no more cost, cheapest first."""
        found: list[Student] = []
        for student in sorted(students, key=lambda s: (self.cost_of(s), -self._signed(s))):
            if not found or self._signed(student) > self._signed(found[-1]):
                found.append(student)
        return found

    def may_reach(self, student: Student) -> bool:
        """Whether it holds the floor if the rest of training closes most of its distance to the parent."""
        value, best = self._signed(student), self.floor.sign * (self.reference.value or 0.0)
        hoped = value + GAP_CLOSED * max(0.0, best - value)
        return hoped >= self.floor.sign * self.needed

    def holds(self, score: Figure) -> bool:
        """Whether a score is better than the floor by its margin."""
        return holds_with_margin(self.floor, score, self.needed)

    @property
    def needed(self) -> float:
        """The score that must be reached: a share of the best that was seen, or the score that was asked for."""
        best = self.floor.best([self.reference.value, *(t.score.value for t in self.tried.values())])
        return self.floor.score(best)

    def _signed(self, student: Student) -> float:
        value = self.floor.sign * self.tried[student].value
        return -math.inf if math.isnan(value) else value

    def _reason(self, student: Student, best: Sequence[Student]) -> str:
        beats = [s for s in self.front(list(self.tried)) if self.cost_of(s) <= self.cost_of(student)]
        better = [s for s in beats if self._signed(s) >= self._signed(student) and s != student]
        if self.asks_for_a_score and not self.may_reach(student):
            return f"not near {self.needed:.4g} after its training"
        if better:
            return f"{better[-1].name} scores as well or better for no more"
        return f"{len(best)} others went on" if self.asks_for_a_score else "others score better"


def rung_sizes(students: int, finalists: int = FINALISTS) -> list[int]:
    """How many students each rung has: a third of the one before, until no more than the finalists are left."""
    sizes = [students]
    while sizes[-1] > ETA * finalists:
        sizes.append(-(-sizes[-1] // ETA))
    if students > finalists:
        sizes.append(max(finalists, -(-sizes[-1] // ETA)))
    return sizes


def spread(ordered: Sequence[Student], count: int) -> list[Student]:
    """`count` of them, the first and the last among them, evenly between."""
    if len(ordered) <= count:
        return list(ordered)
    if count == 1:
        return [ordered[-1]]
    return [ordered[round(n * (len(ordered) - 1) / (count - 1))] for n in range(count)]
