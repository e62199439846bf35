"""The parent of all students: the adapted teacher of the main job, or what a recipe makes; scored, its vocabulary
trimmed, its logits kept."""

from __future__ import annotations

from dataclasses import dataclass

from lightbulb.core.errors import RecipeError, UserError
from lightbulb.core.figures import Figure
from lightbulb.models.spec import ModelSpec
from lightbulb.passes.teacher_logits import CacheLogits
from lightbulb.passes.trim_vocab import TrimVocab
from lightbulb.pipeline.recipe import Execution, Recipe, step
from lightbulb.searching.cost_files import Parents
from lightbulb.searching.goal import SearchGoal
from lightbulb.searching.steps import LOGITS, SCORES, TRIMMED
from lightbulb.shrinking.evaluation import check_teacher
from lightbulb.shrinking.job import teach
from lightbulb.shrinking.plan import Plan
from lightbulb.shrinking.prepare import Say
from lightbulb.shrinking.steps import TEACHER, TEACHER_VALIDATION, on_validation
from lightbulb.shrinking.time_budget import TimeBudget

OWN = (
    *(TRIMMED, LOGITS, SCORES, TEACHER_VALIDATION),
    *("student-cut", "student", "rounded", "rounded-whole", "rounded-file", "verify", "test", "answer-costs"),
)  # steps of the search
ORDERED = ("adapt-elastic",)  # passes that train the first channels, heads and layers to matter most


@dataclass(frozen=True)
class Parent:
    """What students are cut from.

    Attributes:
        models: with either vocabulary
        score: on validation
        slowdown: how many times slower than planned the machine was
        ordered: it was trained so that the first channels and heads matter most
    """

    models: Parents
    score: Figure
    slowdown: float
    ordered: bool


def check_parent(spec: ModelSpec) -> None:
    """Refuses what the search cannot cut, before anything is trained.

    Raises:
        UserError: a layer of it has another mixer than attention
    """
    if any(layer.mixer != "attention" for layer in spec.layers):
        raise UserError(
            f"a search cuts decoders whose layers all have attention, and this {spec.family} has others",
            where="`model`",
            hint="`lightbulb shrink` cuts its layers",
        )


def check_parent_recipe(recipe: Recipe) -> None:
    """Refuses a recipe that does not end with a model.

    Raises:
        RecipeError: its last step makes something else, or has a label that the search needs
    """
    if (makes := recipe.steps[-1].build().makes) != "model":
        raise RecipeError(
            f"the parent is the last step of its recipe, and {recipe.steps[-1].label!r} makes no model but {makes}",
            where="`parent`",
            hint="end the recipe with the step that trains the parent",
        )
    for s in recipe.steps:
        if s.label in OWN:
            raise RecipeError(
                f"the search makes its own step {s.label!r}", where="`parent`", hint="give that step another label"
            )


def make_parent(
    execution: Execution, plan: Plan, goal: SearchGoal, recipe: Recipe | None, time: TimeBudget, say: Say
) -> Parent:
    """Performs the parent's steps.

    Raises:
        RunFailure: it has learned nothing
    """
    slowdown, label = 1.0, TEACHER
    if recipe is None:
        slowdown = teach(execution, plan, time, say)
    else:
        execution.perform(*recipe.steps)
        label = recipe.steps[-1].label
        execution.perform(step(TEACHER_VALIDATION, on_validation(plan), label), step(TRIMMED, TrimVocab(), label))
        if "distill" in plan.space.methods:
            execution.perform(step(LOGITS, CacheLogits(), TRIMMED))
    full = execution.made[label]
    return Parent(
        models=Parents(trimmed=execution.made[TRIMMED], full=full),
        score=check_teacher(execution, goal.floor(execution.run.task.metric)),
        slowdown=slowdown,
        ordered=recipe is not None and any(s.pass_ in ORDERED for s in recipe.steps),
    )
