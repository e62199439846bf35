"""What a run would choose and cost, before anything is trained: arithmetic on the model's shape and a speed probe."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightbulb.core.figures import Figure
from lightbulb.energy.estimate import estimate_joules
from lightbulb.energy.processor import threads_held
from lightbulb.formats.gguf.quant_types import QUANT_TYPES
from lightbulb.models.kinds.encoder_source import check_encoder, folder_of, is_encoder
from lightbulb.models.kinds.encoder_spec import EncoderSpec
from lightbulb.models.resolve import ModelSource
from lightbulb.pipeline.recipe import Execution
from lightbulb.shrinking.candidate import Candidate
from lightbulb.shrinking.cost_model import CANDIDATE_COST
from lightbulb.shrinking.drafts import measuring_windows
from lightbulb.shrinking.floor import Floor
from lightbulb.shrinking.goal import Goal
from lightbulb.shrinking.kinds import candidates_after, kind_named
from lightbulb.shrinking.kinds.base import Setting
from lightbulb.shrinking.origins import model_argument, recipe_of
from lightbulb.shrinking.plan import Plan
from lightbulb.shrinking.prepare import ENCODER_KIND, goal_for
from lightbulb.shrinking.steps import (
    EMBEDDING,
    TEACHER,
    cost_steps,
    file_steps,
    format_steps,
    stock_candidates,
    student_calibration,
    teacher_steps,
    test_step,
    training_steps,
)
from lightbulb.tasks.task import Task

ROWS = 4096  # least vocabulary that trim-vocab leaves; the task's own tokens may be more


@dataclass(frozen=True)
class DryRun:
    """What `shrink` would do: the recipe for the boldest student it would try first, and predictions (estimates).

    Attributes:
        findings: what was noticed in the task, also as this model meets it
    """

    recipe: str
    findings: tuple[str, ...]
    plan: tuple[str, ...]
    depths: tuple[int, ...]
    seconds: Figure
    joules: Figure
    bytes: Figure
    cpu_seconds_ratio: Figure
    goal: str = ""


def predict_run(source: ModelSource, task: Task, goal: Goal, say: Callable[[str], None]) -> DryRun:
    """The recipe if the boldest student holds; seconds from there to all depths tried, never over the time given.

    Args:
        say: hears what the import changed

    Raises:
        ModelError: the runtime does not read the model as its folder does
    """
    if is_encoder(source):
        return predict_encoder_run(source, task, goal_for(source, goal), say)
    from lightbulb.core.progress import Silent
    from lightbulb.energy.meter import Meter
    from lightbulb.pipeline.run import Run
    from lightbulb.shrinking.prepare import prepare, setting_of, start

    meter = Meter(())
    with (
        tempfile.TemporaryDirectory() as folder,
        Run(Path(folder), task, seed=goal.seed, progress=Silent(), meter=meter, threads=goal.threads) as run,
    ):
        execution = Execution(run, model := start(run, source, say))
        first = candidates_after("model", setting_of(run.task, goal, model), goal.kinds)
        plan = prepare(execution, source, goal, say, len(first))
    steps, files = [*format_steps(goal.runtime), *teacher_steps(plan)], stock_candidates(plan.times.layers)
    if plan.space.depths:
        student = plan.space.candidate(plan.space.depths[0], plan.space.methods[0])
        bold_plan = plan.model_copy(update={"distill_epochs": plan.epochs_for(student.layers)})
        files.insert(0, student.in_type(plan.space.quant_types[0]))
        calibrate = student_calibration(task.kind, goal.runtime, goal.abstain, bold_plan)
        steps += [*training_steps(student, bold_plan), *file_steps(files[0], bold_plan, goal.runtime, calibrate)]
    steps += cost_steps(files, measuring_windows(goal.max_seconds, len(files)), goal.runtime, goal.abstain)
    steps += [test_step(c, None, goal.runtime) for c in files]
    recipe = recipe_of(source, task, goal.seed, steps)
    seconds = predicted_seconds(plan, goal)
    return DryRun(
        recipe=recipe.as_toml(),
        findings=run.task.findings,
        plan=(*first_tried(first), *plan.lines),
        depths=plan.space.depths,
        seconds=seconds,
        joules=predicted_joules(seconds, goal),
        bytes=predicted_bytes(plan),
        cpu_seconds_ratio=predicted_ratio(plan),
        goal=Floor.of(goal, task.metric).text,
    )


def predict_encoder_run(source: ModelSource, task: Task, goal: Goal, say: Callable[[str], None]) -> DryRun:
    """The recipe of all that may be tried of an encoder; seconds from the first try to all of them."""
    from lightbulb.passes.encoders import with_cut_texts
    from lightbulb.shrinking.job import nothing_to_try

    spec, fitting = check_encoder(folder_of(source)), with_cut_texts(task, folder_of(source))
    for finding in fitting.findings[len(task.findings) :]:
        say(f"task: {finding}")
    setting = Setting(fitting, goal.runtime, model_argument(source), is_encoder=True, made=frozenset({TEACHER}))
    if not (tried := candidates_after("model", setting, goal.kinds)):
        raise nothing_to_try(goal)
    files = [c for c in tried if not c.is_stock]
    files += stock_candidates(spec.layers, ENCODER_KIND) if len(files) < len(tried) else []
    steps = {s.label: s for c in tried for s in kind_named(c.kind).steps(c, setting)}
    final = [*cost_steps(files, measuring_windows(goal.max_seconds, len(files)), goal.runtime)]
    final += [test_step(c, None, goal.runtime) for c in files]
    each = [kind_named(c.kind).seconds(c, setting) for c in tried]
    seconds = encoder_seconds(each, goal)
    layers = [c.layers for c in tried if c.layers] or [spec.layers]
    return DryRun(
        recipe=recipe_of(source, task, goal.seed, list({**steps, **{s.label: s for s in final}}.values())).as_toml(),
        findings=fitting.findings,
        plan=(f"tried in this order, as far as the time goes: {', '.join(c.name for c in tried)}",),
        depths=tuple(sorted(set(layers) - {spec.layers})),
        seconds=seconds,
        joules=predicted_joules(seconds, goal),
        bytes=encoder_bytes(spec, min(layers)),
        cpu_seconds_ratio=layers_ratio(spec.layers, min(layers), max(layers)),
        goal=Floor.of(goal, task.metric).text,
    )


def encoder_seconds(each: Sequence[float], goal: Goal) -> Figure:
    """From what every candidate of a run of an encoder takes."""
    low, likely = min(each, default=0.0), min(goal.max_seconds, sum(each))
    method = "characters x weights x seconds of reading, seen on another machine; from the first to all candidates"
    high = min(1.1 * goal.max_seconds, max(likely, 3 * sum(each)))
    return Figure(value=likely, low=min(0.3 * low, likely), high=high, unit="s", source="estimated", method=method)


def encoder_bytes(spec: EncoderSpec, layers: int) -> Figure:
    """Of the boldest student, from all that it may weigh to the whole encoder."""
    bits = QUANT_TYPES[EMBEDDING].bits_per_weight / 8
    rows = spec.vocabulary * spec.width
    inside = (spec.parameters - rows) / spec.layers
    value = (inside * layers + min(ROWS, spec.vocabulary) * spec.width) * bits
    return Figure(
        value=value,
        low=0.1 * value,
        high=max(value, spec.parameters * bits),
        unit="bytes",
        source="estimated",
        method="weights x bits; from n-grams to the whole encoder",
    )


def first_tried(candidates: Sequence[Candidate]) -> list[str]:
    """What is tried before the teacher, in a line."""
    names = ", ".join(c.name for c in candidates)
    return (
        [f"before anything else: {names}; enough by themselves where `at_least` is all that is asked"] if names else []
    )


def predicted_seconds(plan: Plan, goal: Goal) -> Figure:
    base = plan.teacher_seconds + plan.check_seconds + plan.logits_seconds + plan.proof_seconds
    each = [plan.costs.student(plan.epochs_for(n), n) for n in plan.space.depths] or [0.0]
    least, most = base + CANDIDATE_COST * each[0], base + CANDIDATE_COST * sum(each)
    likely = min(goal.max_seconds, base + CANDIDATE_COST * sum(each[:2]))
    return Figure(
        value=likely,
        low=min(0.7 * least, likely),
        high=max(likely, min(1.1 * goal.max_seconds, 1.4 * most)),
        unit="s",
        source="estimated",
        method="steps x seconds of a step timed here; boldest student to all depths",
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


def predicted_bytes(plan: Plan) -> Figure:
    shape = plan.shape

    def size(layers: int, quant_type: str) -> float:
        bits, least = (QUANT_TYPES[name].bits_per_weight for name in (quant_type, EMBEDDING))
        embedding = min(ROWS, shape.vocabulary) * shape.width
        return (layers * shape.layer_parameters * bits + embedding * max(bits, least)) / 8

    bold, mild = plan.space.quant_types[0], plan.space.quant_types[-1]
    depths = plan.space.depths or (shape.layers,)
    likely = size(depths[0], bold)
    return Figure(
        value=likely,
        low=likely * 0.95,
        high=size(depths[-1], mild) * 1.05,
        unit="bytes",
        source="estimated",
        method=f"weights x bits of its type; boldest {bold} to mildest {mild}",
    )


def predicted_ratio(plan: Plan) -> Figure:
    """Layers before / after: an answer of a closed set is prefill, and prefill is layers."""
    depths = plan.space.depths or (plan.shape.layers,)
    return layers_ratio(plan.shape.layers, depths[0], depths[-1])


def layers_ratio(layers: int, boldest: int, mildest: int) -> Figure:
    """Of a model to its students of so many layers."""
    value = layers / boldest
    return Figure(
        value=value,
        low=0.7 * layers / mildest,
        high=1.2 * value,
        unit="ratio",
        source="estimated",
        method="layers before / after, boldest to mildest",
    )
