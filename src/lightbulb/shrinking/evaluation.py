"""Carrying out trials: the steps of each, within the time that it may take; and whether the teacher is worth it."""

from __future__ import annotations

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import RunFailure
from lightbulb.core.facts import ScoreFacts
from lightbulb.core.figures import Figure
from lightbulb.pipeline.recipe import Execution, Step
from lightbulb.shrinking.candidate import Outcome, Trial
from lightbulb.shrinking.floor import Floor
from lightbulb.shrinking.kinds import DECODER, kind_named
from lightbulb.shrinking.steps import TEACHER_VALIDATION, file_steps, training_steps
from lightbulb.shrinking.student_time import StudentTime
from lightbulb.tasks.chance import at_chance, chance, enough
from lightbulb.tasks.metrics import wilson

LEAST_TEACHER = 0.05  # a teacher that got nothing right on validation, and surely less than this, is no yardstick
BEGINNINGS = {"probe": "probe", "trained": "trained in full", "exported": "exported"}  # of why an outcome is what it is


class StepEvaluator:
    """Trials of students as steps of a run, the teacher's being done."""

    def __init__(self, execution: Execution, time: StudentTime, runtime: str):
        self.execution, self.time, self.runtime = execution, time, runtime

    def evaluate(self, trial: Trial) -> Outcome:
        steps, seconds = self._steps(trial)
        training = trial.candidate.label if trial.fidelity == "exported" else steps[1].label
        for s in steps:
            evaluation = self.execution.perform(s, seconds=seconds if s.label == training else None)
        counted = [self.execution.made[s.label] for s in steps if s.label in (training, steps[-1].label)]
        taken = sum(self.execution.run.cost(a).seconds for a in counted)
        cost = self._answer_cost(evaluation)
        return Outcome(trial, recorded_score(evaluation), cost, taken, BEGINNINGS[trial.fidelity])

    def _steps(self, trial: Trial) -> tuple[list[Step], float]:
        """The steps, the last of which scores, and the seconds that the training among them may take."""
        candidate, layers = trial.candidate, trial.candidate.layers
        if candidate.kind != DECODER:
            steps = kind_named(candidate.kind).steps(candidate, self.time.plan, self.runtime)
            return steps, self.time.other_seconds(candidate)
        plan = self.time.plan_for(layers)
        if trial.fidelity == "exported":
            return file_steps(candidate, plan, self.runtime), self.time.recovery_seconds(layers)
        if trial.fidelity == "probe":
            return training_steps(candidate, plan, probe=True), self.time.probe_seconds(layers)
        return training_steps(candidate, plan), self.time.training_seconds(layers)

    def _answer_cost(self, evaluation: Artifact) -> Figure:
        spent, answers = self.execution.run.cost(evaluation).cpu_seconds, evaluation.facts_as(ScoreFacts).num_prompts
        method = "the evaluation's CPU time / its answers"
        if spent.value is None or not answers:
            return Figure(value=None, unit="s", source="derived", method=method)
        return spent.scaled(1 / answers, "s", method)


def recorded_score(evaluation: Artifact) -> Figure:
    return evaluation.facts_as(ScoreFacts).score


def check_teacher(execution: Execution, floor: Floor) -> Figure:
    """The teacher's score on validation. Raises RunFailure for one that has learned nothing. One that is only not shown
    to have learned anything may still have students that do: what is handed out is judged on test."""
    evaluation, task = execution.made[TEACHER_VALIDATION], execution.run.task
    facts = evaluation.facts_as(ScoreFacts)
    teacher, items = facts.score, facts.items
    examples = task.split("validation", items)
    worst = chance(task, examples)
    telling = enough(worst, items) if task.kind == "choose" else wilson(0, items)[1] < LEAST_TEACHER
    no_better = teacher.value is None or floor.sign * (teacher.value - worst) <= 0
    if telling and no_better and (why := at_chance(task, teacher, examples)):
        raise RunFailure(
            f"the adapted teacher has learned nothing: its {task.metric} is {teacher} on {items:,} validation items, "
            f"and {why}",
            hint="give more examples or time, or a milder `metric` such as chrf, and another `out`",
        )
    return teacher
