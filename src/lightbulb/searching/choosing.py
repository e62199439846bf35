"""Which students are tried at first, for how long, and which one is chosen at the end. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from lightbulb.models.spec import ModelSpec
from lightbulb.searching.goal import SearchGoal
from lightbulb.searching.halving import ETA, Halving, rung_sizes
from lightbulb.searching.prior import Prior, Proposal, limits_between
from lightbulb.searching.record import Point
from lightbulb.searching.space import Space
from lightbulb.searching.student import Student, Types, even
from lightbulb.shrinking.cost_model import CostModel
from lightbulb.shrinking.floor import Floor
from lightbulb.shrinking.plan import Plan
from lightbulb.shrinking.space import DEPTHS
from lightbulb.tasks.task import TaskKind

LEVELS = 24  # of cost, at which students are proposed
APART = 1.1  # times the cost of another of its way that a student is worth a trial beside it
LEAST_EPOCHS, MOST_EPOCHS = 0.02, 4.0  # of the first rung


def first_students(
    prior: Prior, space: Space, kind: TaskKind, limit_of: Callable[[Student], str], count: int
) -> tuple[list[Proposal], list[tuple[Proposal, str]]]:
    """Students from the boldest depth of the main job to its mildest, and the parent's price, by cost.

    Args:
        prior: proposes them
        space: what may be tried
        kind: of the task
        limit_of: which limit a student passes; empty where none
        count: how many are tried

    Returns:
        Those that are tried, and those that pass a limit, with that.
    """
    shares = DEPTHS[kind]
    coarse = Types(attention=space.layer_types[-1], feed_forward=space.layer_types[-1], embedding=space.head_types[-1])

    def of_depth(share: float, types: Types) -> float:
        return prior.cost_of(Student(layers=even(max(1, round(share * space.layers))), types=types))

    limits = limits_between(of_depth(shares[0], coarse), of_depth(1.0, coarse), LEVELS)
    found = prior.proposals(limits)
    over = [(p, why) for p in found if (why := limit_of(p.student))]
    refused = {p.student for p, _ in over}
    fitting = [p for p in found if p.student not in refused]
    return evenly(fitting, prior.cost_of, count), over


def evenly(proposals: Sequence[Proposal], cost_of: Callable[[Student], float], count: int) -> list[Proposal]:
    """`count` of them: of each way in turn, from the least cost to the most, evenly by the logarithm of the cost."""
    by_way: dict[str, list[Proposal]] = {}
    for proposal in sorted(proposals, key=lambda p: cost_of(p.student)):
        found = by_way.setdefault(proposal.how, [])
        if not found or cost_of(proposal.student) > APART * cost_of(found[-1].student):
            found.append(proposal)
        elif proposal.rise < found[-1].rise:  # nearly the same cost: one of them is enough
            found[-1] = proposal
    shares, left = dict.fromkeys(by_way, 0), count
    while left and any(shares[way] < len(found) for way, found in by_way.items()):
        for way in by_way:
            if left and shares[way] < len(by_way[way]):
                shares[way], left = shares[way] + 1, left - 1
    return [p for way, found in by_way.items() for p in _spaced(found, cost_of, shares[way])]


def _spaced(ordered: Sequence[Proposal], cost_of: Callable[[Student], float], count: int) -> list[Proposal]:
    """`count` of them, cheapest first, whose logarithms of the cost are as far apart as may be."""
    left, chosen = list(ordered), list[Proposal]()
    first, last = (math.log(cost_of(p.student)) for p in (ordered[0], ordered[-1]))
    for n in range(count):
        wanted = first + (last - first) * (n + 0.5) / count
        nearest = min(left, key=lambda p: abs(math.log(cost_of(p.student)) - wanted))
        left.remove(nearest)
        chosen.append(nearest)
    return sorted(chosen, key=lambda p: cost_of(p.student))


class Durations:
    """What trials take, by what the plan has timed.

    Args:
        plan: of the main job
        slowdown: of the machine since then
        spec_of: what a student is
    """

    def __init__(self, plan: Plan, slowdown: float, spec_of: Callable[[Student], ModelSpec]):
        self.plan, self.spec_of = plan, spec_of
        self.costs: CostModel = plan.costs.slowed(slowdown)

    def worth(self, student: Student) -> float:
        """How many whole layers take as long."""
        spec = self.spec_of(student)
        return sum(layer.parameters(spec.width) for layer in spec.layers) / self.plan.shape.layer_parameters

    def training(self, student: Student, epochs: float) -> float:
        """Seconds of a training alone."""
        step = self.costs.times.student_step(self.worth(student))
        return self.costs.slowdown * self.costs.stats.steps(epochs) * step

    def beside(self, student: Student) -> float:
        """Seconds of a trial beside its training: passes, and the answers on validation."""
        times, stats = self.costs.times, self.costs.stats
        answers = times.answer_folder * times.share(self.worth(student)) * stats.validation_examples
        return self.costs.slowdown * (3 * times.pass_seconds + answers)

    def first_epochs(self, students: Sequence[Student], seconds: float, workers: int) -> float:
        """Epochs of the first rung with which all rungs together take about so long."""
        epoch = sum(self.training(s, 1.0) for s in students) / len(students)
        beside = sum(self.beside(s) for s in students) / len(students)
        sizes = rung_sizes(len(students))
        waves = [math.ceil(size / workers) for size in sizes]
        room = seconds - beside * sum(waves)
        epochs = room / (epoch * sum(wave * ETA**rung for rung, wave in enumerate(waves)))
        return float(f"{min(MOST_EPOCHS, max(LEAST_EPOCHS, epochs)):.2g}")


def choose(points: Sequence[Point], halving: Halving, goal: SearchGoal, currency: str) -> tuple[Point | None, bool]:
    """Of the points with files the one to be made, and whether it does all that was asked; says of the others why
    not."""
    files = [p for p in points if p.stage == "file" and p.score is not None]
    limits = {p.student.label: goal.over_limits({**p.predicted, **(p.measured or {})}, p.bytes) for p in files}
    within = [p for p in files if not limits[p.student.label]]
    holding = [p for p in within if p.score is not None and halving.holds(p.score)]

    def cost(point: Point) -> float:
        found = point.cost(currency)
        return math.inf if found is None or found.value is None else found.value

    def score(point: Point) -> float:
        return halving.floor.sign * ((point.score.value if point.score else None) or 0.0)

    if goal.asks_for_a_score:
        pool = holding or within
        chosen = min(pool, key=cost, default=None) if holding else max(pool, key=score, default=None)
        reached = bool(holding)
    else:
        chosen, reached = max(within, key=lambda p: (score(p), -cost(p)), default=None), bool(within)
    for point in files:
        if point is chosen:
            point.chosen = True
        elif limits[point.student.label]:
            point.why = limits[point.student.label]
        elif goal.asks_for_a_score and point not in holding:
            point.why = f"does not hold {needed_text(halving.floor, halving.needed)} by half a standard error"
        else:
            point.why = f"{chosen.name} holds it for less" if chosen and goal.asks_for_a_score else "scores less"
    return chosen, reached


def needed_text(floor: Floor, needed: float) -> str:
    """The score that must be held."""
    return f"{needed:.4g}" + ("" if floor.sign > 0 else " (less is better)")
