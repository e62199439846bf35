"""Which students to try: one-off scores add up to an expected loss, parts add up to a cost, and each layer takes what
is best for both at one exchange rate (the knapsack of Puzzle, Bercovich et al. 2024, by its Lagrangian).

Sums of one-off scores are no forecast of what a student scores after its recovery: they say which students of one cost
are worth a training. Beside the mixed ones stand the two that a person would try: fewer layers, and all layers
narrower.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lightbulb.core.facts import BlockFacts
from lightbulb.models.spec import LayerSpec
from lightbulb.searching.space import Space
from lightbulb.searching.student import Cut, Student, Types, even

CostOf = Callable[[Student], float]
ROUNDS = 40  # of the search for an exchange rate
LEAST = 1e-4  # nats: no part is worth less, whatever a small sample says
SLACK = 1.001  # over a limit that a student may be, for sums of floats


@dataclass(frozen=True)
class Proposal:
    """A student that is worth a trial.

    Attributes:
        rise: what its loss rises by, by its one-off scores (nats a target)
        how: it was found
    """

    student: Student
    rise: float
    how: str


class Prior:
    """Expected losses and costs of students.

    Args:
        space: what may be tried
        facts: one-off scores of the parent's parts
        cost_of: joules or another cost of a student's answer, a sum over its layers
        layers: of the parent
    """

    def __init__(self, space: Space, facts: BlockFacts, cost_of: CostOf, layers: Sequence[LayerSpec]):
        self.space, self.facts, self.cost_of = space, facts, lru_cache(maxsize=None)(cost_of)
        self._first_alike = [
            next(n for n, other in enumerate(layers) if _sizes(other) == _sizes(layer)) for layer in layers
        ]
        self.options = space.options
        self.rises_LO = np.array([[self._rise(i, *option) for option in self.options] for i in range(space.layers)])
        self.without_L = np.maximum(np.array(facts.without), LEAST)
        self._by_types = {types: self._costs(types) for types in space.types}

    def rise(self, student: Student) -> float:
        """What its loss rises by, if its changes only add up."""
        places = {option: n for n, option in enumerate(self.options)}
        kept = {c.layer: self.rises_LO[c.layer, places[c.feed_forward, c.groups]] for c in student.layers}
        gone = sum(rise for i, rise in enumerate(self.without_L) if i not in kept)
        return float(sum(kept.values()) + gone + self._of_types(student.types))

    def _rise(self, layer: int, feed_forward: float, groups: float) -> float:
        facts = self.facts
        found = 0.0 if feed_forward == 1 else max(LEAST, facts.feed_forward[str(feed_forward)][layer])
        return found + (0.0 if groups == 1 else max(LEAST, facts.groups[str(groups)][layer]))

    def _of_types(self, types: Types) -> float:
        rounded = self.facts.rounded
        return sum(max(0.0, rounded.get(role, {}).get(name, 0.0)) for role, name in types)

    def _costs(self, types: Types) -> tuple[float, np.ndarray]:
        """What a file costs without layers, and what each layer adds, by its option [L, O]."""

        def cost(layer: int, option: tuple[float, float], times: int) -> float:
            cut = Cut(layer=layer, feed_forward=option[0], groups=option[1])
            return self.cost_of(Student(layers=(cut,) * times, types=types))

        base = 2 * cost(0, self.options[0], 1) - cost(0, self.options[0], 2)
        adds = {i: [cost(i, o, 1) - base for o in self.options] for i in sorted(set(self._first_alike))}
        return base, np.array([adds[i] for i in self._first_alike])

    def proposals(self, limits: Sequence[float]) -> list[Proposal]:
        """For each limit of the cost up to three students: what the scores say is best, fewer layers, all layers
        narrower. Each once."""
        found: dict[Student, Proposal] = {}
        for limit in limits:
            for proposal in self._at(limit):
                found.setdefault(proposal.student, proposal)
        return list(found.values())

    def _at(self, limit: float) -> Iterator[Proposal]:
        ways = {"layer by layer": self._mixed, "fewer layers": self._fewer, "all layers narrower": self._narrower}
        for how, way in ways.items():
            if how == "layer by layer" and self.space.alike:
                continue
            by_types = [s for types in self.space.types if (s := way(limit, types)) is not None]
            if by_types:
                best = min(by_types, key=self.rise)
                yield Proposal(best, self.rise(best), how)

    def _mixed(self, limit: float, types: Types) -> Student | None:
        return self._within(limit, types, range(len(self.options)))

    def _fewer(self, limit: float, types: Types) -> Student | None:
        return self._within(limit, types, [0])

    def _narrower(self, limit: float, types: Types) -> Student | None:
        found = [Student(layers=even(self.space.layers, *option), types=types) for option in self.options[1:]]
        fitting = [s for s in found if self.cost_of(s) <= SLACK * limit]
        return min(fitting, key=self.rise, default=None)

    def _within(self, limit: float, types: Types, among: Sequence[int]) -> Student | None:
        """The best choice of options of all layers whose cost is within the limit."""
        base, each_LO = self._by_types[types]
        least = float(each_LO[:, list(among)].min())
        low, high = 0.0, 1e3 * float(self.without_L.max() + 1) / max(1e-30, least)
        best: np.ndarray | None = None
        for _ in range(ROUNDS):
            rate = math.sqrt(max(low, 1e-6 * high) * high)  # nats for a unit of cost
            chosen = self._choice(rate, each_LO, among)
            if self._cost(base, each_LO, chosen) <= SLACK * limit:
                best, high = chosen, rate
            else:
                low = rate
        if best is None:
            return None
        best = self._filled(best, base, each_LO, among, SLACK * limit)
        cuts = [
            Cut(layer=i, feed_forward=self.options[o][0], groups=self.options[o][1])
            for i, o in enumerate(best.tolist())
            if o >= 0
        ]
        return Student(layers=tuple(cuts), types=types)

    def _filled(
        self, chosen_L: np.ndarray, base: float, each_LO: np.ndarray, among: Sequence[int], limit: float
    ) -> np.ndarray:
        """The choice with what is left of the limit spent: the change of one layer that saves most loss for its cost,
        again and again."""
        chosen_L, layers = chosen_L.copy(), np.arange(len(chosen_L))
        rises_LO, costs_LO = self.rises_LO[:, list(among)], each_LO[:, list(among)]
        while True:
            kept_L = chosen_L >= 0
            now_L = np.where(kept_L, self.rises_LO[layers, chosen_L], self.without_L)
            paid_L = np.where(kept_L, each_LO[layers, chosen_L], 0.0)
            saved_LO, more_LO = now_L[:, None] - rises_LO, costs_LO - paid_L[:, None]
            fits_LO = (saved_LO > 0) & (self._cost(base, each_LO, chosen_L) + more_LO <= limit)
            if not fits_LO.any():
                return chosen_L
            worth_LO = np.where(fits_LO, saved_LO / np.maximum(more_LO, 1e-30), -np.inf)
            layer, option = np.unravel_index(worth_LO.argmax(), worth_LO.shape)
            chosen_L[layer] = among[int(option)]

    def _choice(self, rate: float, each_LO: np.ndarray, among: Sequence[int]) -> np.ndarray:
        """The option of each layer that is best at an exchange rate; -1: none of it. The most valuable layer stays."""
        paid_LO = self.rises_LO[:, list(among)] + rate * each_LO[:, list(among)]
        option_L = paid_LO.argmin(1)
        stays = paid_LO.min(1) <= self.without_L
        if not stays.any():
            stays[(self.without_L - paid_LO.min(1)).argmax()] = True
        return np.where(stays, np.array(among)[option_L], -1)

    @staticmethod
    def _cost(base: float, each_LO: np.ndarray, chosen_L: np.ndarray) -> float:
        kept = np.flatnonzero(chosen_L >= 0)
        return base + float(each_LO[kept, chosen_L[kept]].sum())


def _sizes(layer: LayerSpec) -> tuple[int, ...]:
    return layer.heads, layer.kv_heads, layer.head_width, layer.feed_forward or 0


def limits_between(least: float, most: float, count: int) -> list[float]:
    """`count` costs from the least to the most, each the same share below the next."""
    if count == 1:
        return [most]
    return [most * (least / most) ** (n / (count - 1)) for n in range(count)]
