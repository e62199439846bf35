"""What a run would choose and cost, before anything is trained: arithmetic on the model's shape and a speed probe."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lightbulb.energy.estimate import estimate_joules
from lightbulb.energy.processor import threads_held
from lightbulb.figures import Figure
from lightbulb.goal import Goal
from lightbulb.models.resolve import ModelSource
from lightbulb.recipe import Reading, Recipe
from lightbulb.search.plan import Plan, Shape, Work, for_layers, measure_trials, student_seconds
from lightbulb.search.steps import cost_steps, quantized, teacher_steps, test_steps, trained
from lightbulb.tasks.task import Task

BITS = {"q4_0": 4.5, "q8_0": 8.5, "f16": 16}  # a weight, its share of the block's scale included
ROWS = 4096  # least vocabulary that trim-vocab leaves; the task's own tokens may be more


@dataclass(frozen=True)
class DryRun:
    """What `shrink` would do: the recipe for the boldest student it would try first, and predictions (estimates)."""

    recipe: str
    ladder: tuple[int, ...]
    seconds: Figure
    joules: Figure
    bytes: Figure
    cpu_seconds_ratio: Figure


def predict_run(source: ModelSource, task: Task, goal: Goal, say: Callable[[str], None] | None = None) -> DryRun:
    """The recipe if the boldest rung holds; seconds from there to all rungs tried, never over the time given. say:
    hears what the import changed. Raises ModelError where the runtime does not read the model as its folder does."""
    from lightbulb.artifact import Artifact
    from lightbulb.models.loading import import_model
    from lightbulb.shrinking import imported_alike, plan_of, shape_of, typed, work_of

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        facts = import_model(source, folder)
        model = Artifact(path=folder, kind="model", key="", made_by="import", facts=facts)
        for told in imported_alike(model, source, task, goal, Path(scratch)):
            (say or (lambda text: None))(f"model: {told}")
        shape, work = shape_of(model), work_of(task, model)
    plan = plan_of(None, shape, work, goal)
    bold = plan.ladder[0]
    method, bold_plan = plan.methods[0], for_layers(plan, shape, work, 1.0, bold)
    label = f"student-{bold}-{method}"
    student, exported = quantized(label, method, plan.grids[0], bold_plan, goal.runtime)
    steps = [
        *teacher_steps(plan),
        *trained(bold, method, bold_plan, label),
        *exported,
        *cost_steps(student, measure_trials(goal.max_seconds), goal.runtime),
        *test_steps(student, None, goal.runtime),
    ]
    recipe = Recipe(
        model=typed(source),
        task=task.source or task.name,
        seed=goal.seed,
        reading=Reading.model_validate(task.reading),
        step=tuple(steps),
    )
    seconds = predicted_seconds(shape, work, plan, goal)
    return DryRun(
        recipe=recipe.as_toml(),
        ladder=plan.ladder,
        seconds=seconds,
        joules=predicted_joules(seconds, goal),
        bytes=predicted_bytes(shape, plan),
        cpu_seconds_ratio=predicted_ratio(shape, plan),
    )


def predicted_seconds(shape: Shape, work: Work, plan: Plan, goal: Goal) -> Figure:
    base = plan.teacher_seconds + plan.proof_seconds
    plans = [for_layers(plan, shape, work, 1.0, n) for n in plan.ladder]
    each = [
        student_seconds(shape, work, p.train_flops, p.distill_epochs, p.batch_size, n, p.answer_flops)
        for p, n in zip(plans, plan.ladder, strict=True)
    ]
    least, most = base + 1.5 * each[0], base + 1.5 * sum(each)
    likely = min(goal.max_seconds, base + 1.5 * sum(each[:2]))
    return Figure(
        value=likely,
        low=min(0.7 * least, likely),
        high=max(likely, min(1.1 * goal.max_seconds, 1.4 * most)),
        unit="s",
        source="estimated",
        method="operations / speed of bare products measured here; boldest student to all rungs",
    )


def predicted_joules(seconds: Figure, goal: Goal) -> Figure:
    """The no-counter estimate at full load over the predicted time."""
    held = threads_held()
    ends = [
        estimate_joules(s * goal.threads, s, held) for s in (seconds.low or 0, seconds.value or 0, seconds.high or 0)
    ]
    return Figure(
        value=ends[1].value,
        low=ends[0].low,
        high=ends[2].high,
        unit="J",
        source="estimated",
        scope=ends[1].scope,
        method=f"{ends[1].method}; over the predicted time",
    )


def predicted_bytes(shape: Shape, plan: Plan) -> Figure:
    def size(layers: int, grid: str) -> float:
        rows = min(ROWS, shape.vocabulary)
        return (layers * shape.layer_parameters * BITS[grid] + rows * shape.width * max(BITS[grid], BITS["q8_0"])) / 8

    bold, mild = plan.grids[0], plan.grids[-1]
    likely = size(plan.ladder[0], bold)
    return Figure(
        value=likely,
        low=likely * 0.95,
        high=size(plan.ladder[-1], mild) * 1.05,
        unit="bytes",
        source="estimated",
        method=f"weights x bits of the grid; boldest rung {bold} to mildest rung {mild}",
    )


def predicted_ratio(shape: Shape, plan: Plan) -> Figure:
    """Layers before / after: an answer of a closed set is prefill, and prefill is layers."""
    value, low = shape.layers / plan.ladder[0], shape.layers / plan.ladder[-1]
    return Figure(
        value=value,
        low=0.7 * low,
        high=1.2 * value,
        unit="ratio",
        source="estimated",
        method="layers before / after, boldest rung to mildest",
    )
