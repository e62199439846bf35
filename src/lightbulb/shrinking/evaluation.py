"""Carrying out trials: the steps of each, within the time that it may take; and whether the teacher is worth it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import RunFailure
from lightbulb.core.facts import ScoreFacts
from lightbulb.core.figures import Figure
from lightbulb.passes.calibrate import Calibrate
from lightbulb.pipeline.recipe import Execution, Step
from lightbulb.shrinking.candidate import DECODER, Outcome, Trial
from lightbulb.shrinking.floor import Floor
from lightbulb.shrinking.kinds import kind_named
from lightbulb.shrinking.kinds.base import Setting
from lightbulb.shrinking.plan import Plan
from lightbulb.shrinking.steps import TEACHER_VALIDATION, file_steps, training_steps
from lightbulb.shrinking.student_time import StudentTime
from lightbulb.tasks.chance import at_chance, chance, enough
from lightbulb.tasks.metrics import wilson

LEAST_TEACHER = 0.05  # a teacher that got nothing right on validation, and surely less than this, is no yardstick
BEGINNINGS = {"probe": "probe", "trained": "trained in full", "exported": "exported"}  # of why an outcome is what it is


StepsOf = Callable[[Trial], tuple[list[Step], float]]


class StepEvaluator:
    """Trials as steps of a run.

    Args:
        steps_of: the steps of a trial, the last of which scores, and the seconds that the training among them may
            take
    """

    def __init__(self, execution: Execution, steps_of: StepsOf):
        self.execution, self.steps_of = execution, steps_of

    def evaluate(self, trial: Trial) -> Outcome:
        steps, seconds = self.steps_of(trial)
        decoder = trial.candidate.kind == DECODER
        training = trial.candidate.label if trial.fidelity == "exported" else steps[-2].label
        for s in steps:
            evaluation = self.execution.perform(s, seconds=seconds if s.label == training else None)
        counted = [s.label for s in steps if not decoder or s.label in (training, steps[-1].label)]
        taken = sum(self.execution.run.cost(self.execution.made[label]).seconds for label in counted)
        cost = self._answer_cost(evaluation)
        return Outcome(trial, recorded_score(evaluation), cost, taken, BEGINNINGS[trial.fidelity])

    def _answer_cost(self, evaluation: Artifact) -> Figure:
        spent, answers = self.execution.run.cost(evaluation).cpu_seconds, evaluation.facts_as(ScoreFacts).num_prompts
        method = "the evaluation's CPU time / its answers"
        if spent.value is None or not answers:
            return Figure(value=None, unit="s", source="derived", method=method)
        return spent.scaled(1 / answers, "s", method)


def early_steps(setting: Setting, execution: Execution, left: Callable[[], float]) -> StepsOf:
    """The steps of kinds that need no teacher, and twice the seconds that they should take, if so many are left."""

    def steps_of(trial: Trial) -> tuple[list[Step], float]:
        kind, now = kind_named(trial.candidate.kind), replace(setting, made=frozenset(execution.made))
        return kind.steps(trial.candidate, now), min(2 * kind.seconds(trial.candidate, now), left())

    return steps_of


def student_steps(
    time: StudentTime, runtime: str, calibration: Callable[[Plan], Calibrate | None] = lambda plan: None
) -> StepsOf:
    """The steps of students, the teacher's being done. calibration: of a decoder's file."""

    def steps_of(trial: Trial) -> tuple[list[Step], float]:
        candidate, layers = trial.candidate, trial.candidate.layers
        if candidate.kind != DECODER:
            return kind_named(candidate.kind).steps(candidate, time.setting), time.other_seconds(candidate)
        plan = time.plan_for(layers) if candidate.feed_forward == 1 else time.plan_for(layers).narrower
        if trial.fidelity == "exported":
            return file_steps(candidate, plan, runtime, calibration(plan)), time.recovery_seconds(layers)
        if trial.fidelity == "probe":
            return training_steps(candidate, plan, probe=True), time.probe_seconds(layers)
        return training_steps(candidate, plan), time.training_seconds(layers)

    return steps_of


def recorded_score(evaluation: Artifact) -> Figure:
    return evaluation.facts_as(ScoreFacts).score


def check_teacher(execution: Execution, floor: Floor, alone: bool = True) -> Figure:
    """The teacher's score on validation. One that is only not shown to have learned anything may still have students
    that do: what is handed out is judged on test.

    Args:
        alone: whether no other kind is there that may be handed out without it

    Raises:
        RunFailure: the teacher has learned nothing
    """
    evaluation, task = execution.made[TEACHER_VALIDATION], execution.run.task
    facts = evaluation.facts_as(ScoreFacts)
    teacher, items = facts.score, facts.items
    examples = task.split("validation", items)
    worst = chance(task, examples)
    telling = enough(worst, items) if task.kind == "choose" else wilson(0, items)[1] < LEAST_TEACHER
    no_better = teacher.value is None or floor.sign * (teacher.value - worst) <= 0
    if alone and telling and no_better and (why := at_chance(task, teacher, examples)):
        raise RunFailure(
            f"the adapted teacher has learned nothing: its {task.metric} is {teacher} on {items:,} validation items, "
            f"and {why}",
            hint="give more examples or time, or a milder `metric` such as chrf, and another `out`",
        )
    return teacher
