"""The main job: a model, a task and a goal in; a small model and its proof out."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lightbulb.artifact import Artifact
from lightbulb.goal import Goal
from lightbulb.models.origin import origin_of
from lightbulb.models.resolve import ModelSource, fingerprint, is_packaged
from lightbulb.recipe import START, Execution, Reading, Recipe, Step
from lightbulb.report.assemble import assemble
from lightbulb.report.record import Result
from lightbulb.run import PLAN, Run
from lightbulb.search.clock import Clock
from lightbulb.search.plan import Plan, Shape, Work, for_layers, make_plan, shortened, student_seconds
from lightbulb.store import new_file, read_json, sha256_of, write_json
from lightbulb.tasks.task import Example, Task

Say = Callable[[str], None]
IMPORT_VERSION = 4
PINNED = ("lightbulb", "torch", "transformers", "xllamacpp", "lightbulb-filament", "gguf")


def start(run: Run, source: ModelSource) -> Artifact:
    """The imported model: the first artifact of a run."""
    from lightbulb.models.loading import import_model

    key = sha256_of(fingerprint(source), "import", IMPORT_VERSION)
    return run.begin(START, key, lambda out, scratch, progress: import_model(source, out, progress))


def check_import(execution: Execution, source: ModelSource, goal: Goal, say: Say) -> None:
    """Frames the model and compares it with its export in the runtime that ships, before anything is trained; says
    what was changed on the way. Raises ModelError, which names the user's model, where the two do not agree."""
    from lightbulb.models.loading import user_file
    from lightbulb.search.steps import import_steps

    for step in import_steps(goal.runtime):
        before = execution.made[step.source or START]
        with user_file(source, before.path):
            execution.perform(step)
    for label in (START, *(s.label for s in import_steps(goal.runtime))):
        for told in execution.made[label].facts.get("findings", []):
            say(f"model: {told}")


def imported_alike(model: Artifact, source: ModelSource, task: Task, goal: Goal, scratch: Path) -> list[str]:
    """As `check_import`, on an imported model outside a run, in the folder `scratch`; returns what was changed."""
    from lightbulb.models.loading import user_file
    from lightbulb.passes.base import Context, Silent
    from lightbulb.search.steps import import_steps

    context = Context(task=task, seed=goal.seed, progress=Silent(), scratch=scratch, threads=goal.threads)
    findings, read = list(model.facts.get("findings", [])), model
    for step in import_steps(goal.runtime):
        pass_, out = step.build(), scratch / step.label
        out.mkdir()
        with user_file(source, read.path):
            facts = pass_.apply(read, out, context)
        findings += facts.get("findings", [])
        read = Artifact(path=out, kind=pass_.makes, key="", made_by=pass_.name, facts=facts)
    return findings


def typed(source: ModelSource) -> str:
    """What a recipe must say to name this model again."""
    local = None if is_packaged(source) else source.path or source.gguf
    return str(local or source.name)


def claim(run: Run, source: ModelSource, goal: Goal) -> None:
    """Ties the run's folder to this job."""
    run.claim(
        {
            "model": source.name,
            "weights": fingerprint(source),
            "task": run.task.fingerprint,
            "keep": goal.keep,
            "max_seconds": goal.max_seconds,
            "seed": goal.seed,
            "threads": goal.threads,
            "runtime": goal.runtime,
        }
    )


def shape_of(model: Artifact) -> Shape:
    from lightbulb.models.anatomy import layers_of
    from lightbulb.models.loading import load_model
    from lightbulb.ops.grids import BLOCK
    from lightbulb.train.quantized import block_weights

    network = load_model(model.path)
    layers = layers_of(network)
    widths = {weight.shape[-1] for weight, _ in block_weights(network, "q4_0", "q8_0")}
    return Shape(
        layers=len(layers),
        layer_parameters=sum(p.numel() for p in layers[0].parameters()),
        vocabulary=network.config.vocab_size,
        width=network.config.hidden_size,
        fits_blocks=all(width % BLOCK == 0 for width in widths),
    )


def work_of(task: Task, model: Artifact) -> Work:
    """Token counts from the model's own tokenizer, in the form that `frame` will give it."""
    from lightbulb.models.form import render, turns_of
    from lightbulb.models.loading import load_tokenizer

    tokenizer = load_tokenizer(model.path)

    def count(texts: list[str]) -> int:
        return sum(len(ids) for ids in tokenizer(texts).input_ids) if texts else 0

    chat = any(e.messages for e in task.train)  # else `frame` gives it a template without marks of roles

    def prompts(examples: Sequence[Example]) -> list[str]:
        return [render(tokenizer, turns_of(e)) if chat else e.prompt or e.completion for e in examples]

    asked = prompts(task.test) if task.kind == "text" else list(dict.fromkeys(prompts(task.test)))
    answers = [] if task.kind != "generate" else [e.completion for e in task.train]
    written = count(answers)
    return Work(
        kind=task.kind,
        train_examples=len(task.train),
        train_tokens=count(prompts(task.train)) + len(task.train) + written,
        test_examples=len(asked),
        test_tokens=count(asked) + len(asked),
        validation_examples=len(task.validation),
        output_tokens=written / max(1, len(answers)) if answers else 1,
    )


def plan_of(run_folder: Path | None, shape: Shape, work: Work, goal: Goal) -> Plan:
    """The plan of this run: read back when it was made before, so that a resumed run decides alike."""
    place = run_folder / PLAN if run_folder else None
    if place and place.exists():
        return Plan(**read_json(place))
    from lightbulb.search.speed import speeds

    training, answering = speeds(shape.width, shape.layer_parameters // (3 * shape.width), goal.threads)
    plan = make_plan(shape, work, training, goal.max_seconds, answering)
    if place:
        write_json(place, plan.model_dump(mode="json"))
    return plan


def shrink(run: Run, source: ModelSource, goal: Goal, *, command: str, say: Say) -> Result:
    """Runs (or resumes) the main job in `run`'s folder. Writes model.gguf, result.json, report.html, README.md and
    recipe.toml when all is proven, and nothing of them before. No model.gguf when the student is refused."""
    from lightbulb.search.choose import Chooser
    from lightbulb.search.proof import prove

    task = run.task
    with run.undecided():
        model = start(run, source)
        execution = Execution(run, model)
        check_import(execution, source, goal, say)
        shape, work = shape_of(model), work_of(task, model)
        plan = plan_of(run.folder, shape, work, goal)
    work = replace(work, validation_examples=plan.validation_limit or work.validation_examples)
    clock = Clock(run.folder / "clock.json", lambda: run.spent().seconds, goal.max_seconds)
    plan, pace = after_teacher(execution, plan, shape, work, clock, say)

    def plan_for(layers: int) -> Plan:
        return for_layers(plan, shape, work, pace, layers)

    def seconds_for(layers: int) -> float:
        epochs, speed = plan_for(layers).distill_epochs, plan.train_flops / pace
        return student_seconds(shape, work, speed, epochs, plan.batch_size, layers, plan.answer_flops)

    def time_allows(what: str, seconds: float) -> bool:
        return clock.allows(what, seconds + plan.reserve(pace, clock.left))

    choice = Chooser(execution, plan, goal, task.metric, plan_for, seconds_for, time_allows, say).choose()
    prove(execution, choice.student, work, clock, goal, say)
    recipe = Recipe(
        model=typed(source),
        task=task.source or task.name,
        seed=goal.seed,
        reading=Reading.model_validate(task.reading),
        step=tuple(needed(execution.steps, ["costs", "verify", *tests(execution.steps)])),
    )
    result = assemble(
        execution,
        choice,
        goal,
        recipe,
        base=origin_of(source),
        command=command,
        versions=versions(),
        machine=machine(goal),
    )
    return publish(run.folder, execution.made[f"{choice.student}-gguf"], result, recipe)


def after_teacher(
    execution: Execution, plan: Plan, shape: Shape, work: Work, clock: Clock, say: Say
) -> tuple[Plan, float]:
    """Performs the teacher's steps. Seconds they took / what the plan said, and the plan with shorter students if
    these would not be done in time at that pace."""
    from lightbulb.search.steps import teacher_steps

    execution.perform(*(steps := teacher_steps(plan)))

    def seen() -> float:
        return plan.pace(sum(execution.run.cost(execution.made[s.label]).seconds for s in steps))

    def affordable() -> float:
        return shortened(plan, shape, work, pace, clock.left - plan.reserve(pace, clock.left))

    pace = clock.once("pace", seen)
    epochs = clock.once("epochs of distillation", affordable)
    if epochs < plan.distill_epochs:
        say(f"slower than planned ({pace:.2f} times): {epochs:g} epochs of distillation, not {plan.distill_epochs:g}")
    return plan.model_copy(update={"distill_epochs": epochs}), pace


def tests(steps: dict[str, Step]) -> list[str]:
    return [label for label in steps if label.endswith("-test")]


def needed(steps: dict[str, Step], wanted: list[str]) -> list[Step]:
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


def publish(folder: Path, student: Artifact, result: Result, recipe: Recipe) -> Result:
    from lightbulb.report.ollama import describe
    from lightbulb.report.pages import write_pages

    if not result.refused:
        result = result.model_copy(update={"form": describe(folder, student.gguf, result.kind)})
        with new_file(folder / "model.gguf") as beside:
            shutil.copyfile(student.gguf, beside)
    recipe.write(folder / "recipe.toml")
    write_pages(folder, result)
    result.write(folder / "result.json")  # last: where it stands, the run is done
    return result


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PINNED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine(goal: Goal) -> dict[str, str]:
    from lightbulb.energy.processor import processor_name, threads_held

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor_name() or "unknown",
        "threads held": str(threads_held()),
        "threads used": str(goal.threads),
    }
