"""Sharing out the time that is left after the teacher: how long students train, and how long each training may take."""

from __future__ import annotations

import math

from lightbulb.shrinking.plan import (
    CANDIDATE_COST,
    PROBE_SHARE,
    RECOVER_SHARE,
    ROUNDING,
    STUDENT_MENU,
    Plan,
    epochs_for,
    file_check_seconds,
    longest_student,
    student_seconds,
)
from lightbulb.shrinking.time_budget import TimeBudget

PROBED_LONGER = 1.5  # so many times as long as planned a probe may take
FASTEST = 0.75  # a pace below is not believed: what comes is planned for at least so much of the time


class StudentTime:
    """The students' time. `pace`: how many times slower than planned the teacher was.

    Every answer that depends on the clock is decided once and remembered.
    """

    def __init__(self, plan: Plan, time_budget: TimeBudget, slowdown: float):
        self.plan, self.stats, self.time_budget, self.slowdown = plan, plan.stats, time_budget, max(FASTEST, slowdown)

    @property
    def left(self) -> float:
        """Seconds left beside the proof."""
        return self.time_budget.left - self.plan.reserve(self.slowdown, self.time_budget.left)

    def plan_for(self, layers: int) -> Plan:
        """The plan of a student of so many layers, as far as the time allows when it is first asked for."""
        epochs = self.time_budget.decide_once(f"epochs of {layers} layers", lambda: self._epochs(layers))
        return self.plan.model_copy(update={"distill_epochs": epochs})

    def _epochs(self, layers: int) -> float:
        epochs = epochs_for(self.plan, layers)
        if CANDIDATE_COST * self._seconds(epochs, layers) <= self.left:
            return epochs
        return min(
            epochs, longest_student(self.plan.times, self.stats, layers, self.left / self.slowdown / CANDIDATE_COST)[0]
        )

    def _seconds(self, epochs: float, layers: int) -> float:
        return self.slowdown * student_seconds(self.plan.times, self.stats, epochs, layers)

    def student_seconds(self, layers: int) -> float:
        """What a student of so many layers takes."""
        return self._seconds(self.plan_for(layers).distill_epochs, layers)

    def allows_student(self, layers: int, after_probe_of: int | None = None, probes: int = 1) -> bool:
        """Whether there is time for a student of so many layers that has a chance; with `after_probe_of` also for that
        many `probes` of another depth before."""
        before = 0.0 if after_probe_of is None else probes * PROBE_SHARE * self.student_seconds(after_probe_of)
        what = f"{layers} layers" + ("" if after_probe_of is None else f" after a probe of {after_probe_of}")
        return self.time_budget.decide_once(what, lambda: before + self.least_seconds(layers) <= self.left)

    def allows_another_grid(self, layers: int) -> bool:
        """Whether there is time to put a trained student on another grid."""
        seconds = self.recovery_planned(layers) + self.check_planned(layers)
        return self.time_budget.decide_once(f"another grid for {layers} layers", lambda: seconds <= self.left)

    def least_seconds(self, layers: int) -> float:
        """What a student of so many layers takes that has just a chance, its probe included."""
        epochs = [e for e in STUDENT_MENU if self.stats.has_a_chance(e)] or [STUDENT_MENU[0]]
        return CANDIDATE_COST * self._seconds(epochs[-1], layers)

    def enough_seconds(self) -> float:
        """Of the whole run, with which a student would have had a chance."""
        if not self.plan.depth_schedule:
            return self.plan.enough_seconds or self.time_budget.max_seconds
        needed = min(self.least_seconds(layers) for layers in self.plan.depth_schedule) + self.plan.reserve(
            self.slowdown, math.inf
        )
        return max(self.time_budget.max_seconds, self.time_budget.spent() + needed)

    def probe_seconds(self, layers: int) -> float:
        """The longest that a probe of so many layers may take."""
        return PROBED_LONGER * PROBE_SHARE * self.student_seconds(layers)

    def training_seconds(self, layers: int) -> float:
        """The longest that the full training of a student may take: what is left beside all that must follow."""
        return self.left - self.recovery_planned(layers) - self.check_planned(layers)

    def recovery_seconds(self, layers: int) -> float:
        """The longest that its recovery on the grid may take."""
        return self.left - self.check_planned(layers)

    def recovery_planned(self, layers: int) -> float:
        epochs = RECOVER_SHARE * self.plan_for(layers).distill_epochs
        return self.slowdown * ROUNDING * self.stats.steps(epochs) * self.plan.times.student_step(layers)

    def check_planned(self, layers: int) -> float:
        """Export, and the file's answers on validation."""
        times = self.plan.times
        return self.slowdown * (2 * times.pass_seconds + file_check_seconds(times, self.stats, layers))
