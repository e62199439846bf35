"""What a result says of how it was made: the recipe, what the clock took from it, versions, machine."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

from lightbulb.energy.processor import processor_name, threads_held
from lightbulb.models.kinds.encoder_source import encoder_origin, is_packaged_encoder, resolve_encoder
from lightbulb.models.origin import Origin
from lightbulb.models.resolve import ModelSource, is_packaged
from lightbulb.pipeline.recipe import START, Recipe, Step, TaskOptions
from lightbulb.shrinking.candidate import DECODER, Candidate
from lightbulb.shrinking.goal import Goal
from lightbulb.tasks.task import Task

FROM_EXAMPLES = {"linear", "slots"}  # kinds that look at no model
PINNED = ("lightbulb", "torch", "transformers", "xllamacpp", "lightbulb-filament", "gguf")


def base_of(handed: Candidate | None, model: Origin, encoder: str) -> Origin | None:
    """What is handed out was made from: the user's model, an encoder, or, of n-grams and slots, the
    examples alone."""
    kinds = {c.kind for c in (handed.stages or (handed,))} if handed else set()
    if "encoder" in kinds and DECODER not in kinds:
        return encoder_origin(resolve_encoder(encoder))
    return None if kinds and kinds <= FROM_EXAMPLES else model


def recipe_of(source: ModelSource, task: Task, seed: int, steps: Sequence[Step]) -> Recipe:
    """The recipe that makes the same files from the same model and task again."""
    return Recipe(
        model=model_argument(source),
        task=task.source or task.name,
        seed=seed,
        reading=TaskOptions.model_validate(task.reading),
        step=tuple(steps),
    )


def model_argument(source: ModelSource) -> str:
    """What a recipe must say to name this model again."""
    packaged = is_packaged(source) or is_packaged_encoder(source)
    local = None if packaged else source.path or source.gguf
    return str(local or source.name)


def needed(steps: Mapping[str, Step], wanted: Sequence[str]) -> list[Step]:
    """The steps that lead to `wanted`, in their order: a recipe without the candidates that were given up."""
    keep: set[str] = set()

    def visit(label: str) -> None:
        if label in steps and label not in keep:
            keep.add(label)
            for before in (steps[label].source, *steps[label].inputs.values()):
                visit(before or START)

    for label in wanted:
        visit(label)
    return [s for label, s in steps.items() if label in keep]


def shortened_trainings(recipe: Recipe) -> list[str]:
    """What the clock took from the trainings that led to the result, in sentences."""
    found = []
    for s in recipe.steps:
        cuts = [value.get("cuts") for value in s.parameters.values() if isinstance(value, dict)]
        found += [
            f"{s.label} was shortened to {c[-1][1]:,} steps: the machine was slower than planned" for c in cuts if c
        ]
    return found


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PINNED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine_facts(goal: Goal) -> dict[str, str]:
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor_name() or "unknown",
        "threads held": str(threads_held()),
        "threads used": str(goal.threads),
    }
