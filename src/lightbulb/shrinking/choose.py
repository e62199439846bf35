"""Choosing the student: start bold, probe with a short training, back off when the score does not hold.

Every decision hangs on scores on the validation split, which are the same in every run of one plan; the clock is only
asked whether there is time for another try. A later search on measured energy takes the place of `choose`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import RunFailure
from lightbulb.core.figures import Figure
from lightbulb.pipeline.recipe import Execution, Step
from lightbulb.shrinking.floor import Floor
from lightbulb.shrinking.goal import Goal
from lightbulb.shrinking.plan import METHODS, Method, Plan, Precision
from lightbulb.shrinking.steps import depth, quantized, trained
from lightbulb.shrinking.student_time import StudentTime
from lightbulb.tasks.chance import at_chance, chance, enough
from lightbulb.tasks.metrics import wilson

GAP_CLOSED = (
    0.8  # the most of a probe's distance to the teacher that the rest of the training closes (docs/lab-notes.md)
)
LEAST_TEACHER = 0.05  # a teacher that got nothing right on validation, and surely less than this, is no yardstick


@dataclass
class Tried:
    """A candidate: what it is, its score on validation, its cost in seconds, and what became of it."""

    name: str
    layers: int
    score: Figure
    seconds: float
    why: str
    chosen: bool = False


@dataclass
class Choice:
    """`student` labels the quantized model folder, `student`-gguf its file; None where no student could be trained in
    the time, and `why`."""

    student: str | None
    layers: int = 0
    method: Method = "plain"
    grid: Precision = "f16"
    tried: list[Tried] = field(default_factory=list)
    why: str = ""


class Chooser:
    """Walks down the ladder of a plan, the teacher's steps being done. `time`: what is left, and how it is shared."""

    def __init__(
        self, execution: Execution, plan: Plan, goal: Goal, metric: str, time: StudentTime, say: Callable[[str], None]
    ):
        self.execution, self.plan, self.goal = execution, plan, goal
        self.time, self.say = time, say
        self.metric, self.floor = metric, Floor.of(goal, metric)
        self.sign = self.floor.sign
        self.tried: list[Tried] = []
        self.finished: list[tuple[float, Choice, Tried]] = []

    def choose(self) -> Choice:
        teacher = self._score(self.execution.made["teacher-validation"])
        self._check_teacher(teacher)
        floor = self._floor()
        self.say(f"teacher: {teacher} on validation; the student must hold {floor:.4g}")
        method = self.plan.methods[0] if len(self.plan.methods) == 1 else None
        held = False
        for place, layers in enumerate(self.plan.depth_schedule):
            floor = self._floor()
            if not self.time.allows_student(layers):
                break
            last = not self.finished and not self._time_for_a_wider_one(place, method)
            if method is None or not last:
                probe, method = self._probe(layers, method)
                if not last and not self._promises(self._score(probe), teacher, floor):
                    self._note(f"back off: too far below {floor:.4g} for a probe")
                    continue
            if held := self._finish(layers, method):
                break
        return self._best(held)

    def _time_for_a_wider_one(self, place: int, method: Method | None) -> bool:
        """Whether the next rung could still be finished after a probe of this one."""
        if place == len(self.plan.depth_schedule) - 1:
            return False
        layers, wider = self.plan.depth_schedule[place : place + 2]
        return self.time.allows_student(wider, after_probe_of=layers, probes=1 if method else 2)

    def _probe(self, layers: int, method: Method | None) -> tuple[Artifact, Method]:
        """A short training of `layers` layers; the first time also without the teacher, to see whether it is needed.

        Plain training must be better by a standard error: the logits are there by now, and what they add shows late,
        when plain training has long learned its examples by heart (docs/lab-notes.md, banking77 of 2026-11-22).
        """
        scores: dict[Method, Artifact] = {}
        for m in (method,) if method else METHODS:
            label = f"probe-{layers}-{m}"
            steps = trained(layers, m, self.time.plan_for(layers), label, probe=True)
            scores[m] = self._perform(steps, label, self.time.probe_seconds(layers))
            self._try(f"{depth(layers)}, {m}, probe", layers, label, scores[m], "probe")
        if method is None:
            distilled, plain = (self._score(scores[m]) for m in ("distill", "plain"))
            gain = self.sign * ((distilled.value or 0) - (plain.value or 0))
            method = "distill" if gain > -self._standard_error(plain) else "plain"
            help_ = "help" if gain > 0 else "may help yet" if method == "distill" else "do not help"
            self._note(f"the teacher's logits {help_} ({gain:+.3g}): go on with {method}")
        return scores[method], method

    def _finish(self, layers: int, method: Method) -> bool:
        """Trains in full and puts on the grid, boldest first; True when the exported file holds the floor."""
        label = f"student-{layers}-{method}"
        plan = self.time.plan_for(layers)
        full = self._perform(trained(layers, method, plan, label), label, self.time.training_seconds(layers))
        self._try(f"{depth(layers)}, {method}", layers, label, full, "trained in full")
        for grid in self.plan.grids:
            student, steps = quantized(label, method, grid, plan, self.goal.runtime)
            evaluation = self._perform(steps, student, self.time.recovery_seconds(layers))
            score = self._score(evaluation)
            tried = self._try(f"{depth(layers)}, {method}, {grid}", layers, steps[0].label, evaluation, "exported")
            floor = self._floor()
            self.finished.append((self.sign * (score.value or 0), Choice(student, layers, method, grid), tried))
            if self._holds(score, floor, -self._margin(score)):
                self._note("holds the floor with a margin: taken")
                return True
            if not self._holds(self._score(full), floor, 0) or not self.time.allows_another_grid(layers):
                break  # it did not hold before rounding either: a finer grid cannot help
        self._note(f"back off: the exported file does not hold {floor:.4g} with a margin")
        return False

    def _perform(self, steps: list[Step], training: str, seconds: float) -> Artifact:
        """The artifact of the last step, of which the one called `training` may take `seconds`."""
        for s in steps:
            made = self.execution.perform(s, seconds=seconds if s.label == training else None)
        return made

    def _best(self, held: bool) -> Choice:
        """The student that held the floor, which is the last one; else the one that scored best."""
        if not self.finished:
            minutes = math.ceil(self.time.enough_seconds() / 60)
            why = f"the time did not allow a student that has a chance; about {minutes} minutes would do"
            self.say(why)
            return Choice(None, tried=self.tried, why=why)
        _, choice, tried = self.finished[-1] if held else max(self.finished, key=lambda f: f[0])
        tried.chosen = True
        choice.tried = self.tried
        return choice

    def _floor(self) -> float:
        """The worst score that still does, after the best that was trained so far: the teacher, or what beat it."""
        teacher = self._score(self.execution.made["teacher-validation"])
        return self.floor.score(self.floor.best(score.value for score in (teacher, *(t.score for t in self.tried))))

    def _check_teacher(self, teacher: Figure) -> None:
        """Raises RunFailure for a teacher that has learned nothing. One that is only not shown to have learned anything
        may still have students that do: what is handed out is judged on test."""
        task, items = self.execution.run.task, self.execution.made["teacher-validation"].facts["items"]
        examples = task.split("validation", items)
        worst = chance(task, examples)
        told = enough(worst, items) if task.kind == "choose" else wilson(0, items)[1] < LEAST_TEACHER
        no_better = teacher.value is None or self.sign * (teacher.value - worst) <= 0
        if told and no_better and (why := at_chance(task, teacher, examples)):
            raise RunFailure(
                f"the adapted teacher has learned nothing: its {self.metric} is {teacher} on {items:,} validation "
                f"items, and {why}",
                hint="give more examples or time, or a milder `metric` such as chrf, and another `out`",
            )

    def _margin(self, score: Figure) -> float:
        """Half a standard error: validation is a sample, and the best of several tries flatters itself."""
        return 0.5 * self._standard_error(score)

    def _standard_error(self, score: Figure) -> float:
        if score.low is None or score.high is None:
            return 0.0
        return (score.high - score.low) / (2 * 1.96)

    def _promises(self, probe: Figure, teacher: Figure, floor: float) -> bool:
        """Whether the full training could bring a probe's score to the floor, a standard error aside."""
        if probe.value is None or teacher.value is None:
            return False
        if self.sign * (probe.value - teacher.value) >= 0:
            return True  # a teacher that a probe beats is no measure of what is within reach
        hoped = probe.value + GAP_CLOSED * (teacher.value - probe.value)
        return self.sign * (hoped - floor) + self._standard_error(probe) >= 0

    def _holds(self, score: Figure, floor: float, slack: float) -> bool:
        return self.sign * ((score.value if score.value is not None else -math.inf) - floor) + slack >= 0

    def _score(self, evaluation: Artifact) -> Figure:
        return Figure(**evaluation.facts["score"])

    def _try(self, name: str, layers: int, label: str, evaluation: Artifact, why: str) -> Tried:
        seconds = sum(self.execution.run.cost(a).seconds for a in (self.execution.made[label], evaluation))
        score = self._score(evaluation)
        self.say(f"{name}: {score} on validation")
        self.tried.append(Tried(name, layers, score, seconds, why))
        return self.tried[-1]

    def _note(self, why: str) -> None:
        self.say(f"  {why}")
        self.tried[-1].why += "; " + why
