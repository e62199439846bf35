"""Sharing out the time that is left after the teacher: how long students train, and how long each training may take."""

from __future__ import annotations

import math
from dataclasses import replace

from lightbulb.shrinking.candidate import Candidate
from lightbulb.shrinking.cost_model import CANDIDATE_COST, PROBE_SHARE, CostModel
from lightbulb.shrinking.kinds import kind_named
from lightbulb.shrinking.kinds.base import Setting
from lightbulb.shrinking.plan import Plan
from lightbulb.shrinking.time_budget import TimeBudget

PROBED_LONGER = 1.5  # so many times as long as planned a probe may take
FASTEST = 0.75  # a slowdown below is not believed: what comes is planned for at least so much of the time


class StudentTime:
    """The students' time. Every answer that depends on the clock is decided once and remembered.

    Args:
        slowdown: how many times slower than planned the teacher was
        setting: of the job, for kinds that are no decoders
    """

    def __init__(self, plan: Plan, time_budget: TimeBudget, slowdown: float, setting: Setting):
        self.plan, self.time_budget = plan, time_budget
        self.costs: CostModel = plan.costs.slowed(max(FASTEST, slowdown))
        self.setting = replace(setting, plan=plan, costs=self.costs)

    @property
    def left(self) -> float:
        """Seconds left beside the proof."""
        return self.time_budget.left - self.plan.reserve(self.costs.slowdown, self.time_budget.left)

    def plan_for(self, layers: int) -> Plan:
        """The plan of a student of so many layers, as far as the time allows when it is first asked for."""
        epochs = self.time_budget.decide_once(f"epochs of {layers} layers", lambda: self._epochs(layers))
        return self.plan.model_copy(update={"distill_epochs": epochs})

    def _epochs(self, layers: int) -> float:
        epochs = self.plan.epochs_for(layers)
        if CANDIDATE_COST * self.costs.student(epochs, layers) <= self.left:
            return epochs
        return min(epochs, self.costs.longest_student(layers, self.left / CANDIDATE_COST)[0])

    def _student(self, layers: int) -> float:
        """What a student of so many layers takes."""
        return self.costs.student(self.plan_for(layers).distill_epochs, layers)

    def allows_student(self, layers: int, after_probe_of: int | None = None, probes: int = 1) -> bool:
        """Whether there is time for a student of so many layers that has a chance; with `after_probe_of` also for that
        many `probes` of another depth before."""
        before = 0.0 if after_probe_of is None else probes * PROBE_SHARE * self._student(after_probe_of)
        key = f"{layers} layers" + ("" if after_probe_of is None else f" after a probe of {after_probe_of}")
        return self.time_budget.fits(key, lambda: before + self._least(layers), lambda: self.left)

    def allows_other(self, candidate: Candidate) -> bool:
        """Whether there is time for a candidate of another kind."""
        return self.time_budget.fits(candidate.label, lambda: self.other_seconds(candidate), lambda: self.left)

    def other_seconds(self, candidate: Candidate) -> float:
        """What a candidate of another kind takes."""
        return kind_named(candidate.kind).seconds(candidate, self.setting)

    def answer_seconds(self, layers: int) -> float:
        """About what an answer of a decoder of so many layers takes from its file."""
        return self.costs.times.answer_file * self.costs.times.share(layers)

    def allows_another_type(self, layers: int) -> bool:
        """Whether there is time to put a trained student into another type."""
        seconds = self._recovery(layers) + self.costs.check(layers)
        return self.time_budget.fits(f"another type for {layers} layers", lambda: seconds, lambda: self.left)

    def allows_narrower(self, candidate: Candidate) -> bool:
        """Whether there is time for a student with less of its feed-forward, trained on from the wider one."""
        plan = self.plan_for(candidate.layers).narrower
        seconds = self.costs.student(plan.distill_epochs, self.plan.shape.worth(candidate))
        return self.time_budget.fits(candidate.size, lambda: seconds, lambda: self.left)

    def allows_recurrent(self, candidate: Candidate) -> bool:
        """Whether there is time for a student with recurrent layers: about as long as one with attention takes."""
        return self.time_budget.fits(candidate.size, lambda: self._student(candidate.layers), lambda: self.left)

    def _least(self, layers: int) -> float:
        """What a student of so many layers takes that has just a chance, its probe included."""
        return CANDIDATE_COST * self.costs.shortest_student(layers)

    def enough_seconds(self) -> float:
        """Of the whole run, with which a student would have had a chance."""
        if not self.plan.space.depths:
            return self.plan.enough_seconds or self.time_budget.max_seconds
        needed = min(map(self._least, self.plan.space.depths)) + self.plan.reserve(self.costs.slowdown, math.inf)
        return max(self.time_budget.max_seconds, self.time_budget.spent() + needed)

    def probe_seconds(self, layers: int) -> float:
        """The longest that a probe of so many layers may take."""
        return PROBED_LONGER * PROBE_SHARE * self._student(layers)

    def training_seconds(self, layers: int) -> float:
        """The longest that the full training of a student may take: what is left beside all that must follow."""
        return self.left - self._recovery(layers) - self.costs.check(layers)

    def recovery_seconds(self, layers: int) -> float:
        """The longest that its recovery in the type of the file may take."""
        return self.left - self.costs.check(layers)

    def _recovery(self, layers: int) -> float:
        return self.costs.recovery(self.plan_for(layers).distill_epochs, layers)
