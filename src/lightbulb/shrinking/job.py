"""The main job: a model, a task and a goal in; a small model and its proof out."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from lightbulb.core.artifact import Artifact
from lightbulb.core.files import read_json, sha256_of, write_json
from lightbulb.models.origin import origin_of
from lightbulb.models.resolve import ModelSource, fingerprint, is_packaged
from lightbulb.pipeline.recipe import START, Execution, Reading, Recipe, Step
from lightbulb.pipeline.run import PLAN, Run
from lightbulb.shrinking.assemble import Assembled, assemble
from lightbulb.shrinking.goal import Goal
from lightbulb.shrinking.plan import Plan, Shape, TaskStats, make_plan
from lightbulb.shrinking.steps import CHECK, FORMATTED, FORMATTED_FILE, TEACHER, format_steps, teacher_steps
from lightbulb.shrinking.student_time import StudentTime
from lightbulb.shrinking.time_budget import TimeBudget
from lightbulb.shrinking.times import Times
from lightbulb.tasks.task import Example, Task

Say = Callable[[str], None]
IMPORT_VERSION = 4
COUNTED = 2000  # answers, whose mean length is asked for
PINNED = ("lightbulb", "torch", "transformers", "xllamacpp", "lightbulb-filament", "gguf")


def start(run: Run, source: ModelSource, say: Say) -> Artifact:
    """The imported model: the first artifact of a run. From here on the run's task is what this model can learn."""
    from lightbulb.models.loading import import_model

    key = sha256_of(fingerprint(source), "import", IMPORT_VERSION)
    model = run.begin(START, key, lambda out, scratch, progress: import_model(source, out, progress))
    run.task = prepared_for(model, run.task, say)
    return model


def prepared_for(model: Artifact, task: Task, say: Say) -> Task:
    """The task as this model can learn it; says what that changes or costs."""
    from lightbulb.train.prepare import prepared

    fitting = prepared(task, model.path)
    for finding in fitting.findings[len(task.findings) :]:
        say(f"task: {finding}")
    return fitting


def model_argument(source: ModelSource) -> str:
    """What a recipe must say to name this model again."""
    local = None if is_packaged(source) else source.path or source.gguf
    return str(local or source.name)


def bind_config(run: Run, source: ModelSource, goal: Goal) -> None:
    """Ties the run's folder to this job."""
    run.bind_config(
        {
            "model": source.name,
            "weights": fingerprint(source),
            "task": run.task.fingerprint,
            "keep": goal.keep,
            "at_least": goal.at_least,
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


def task_stats(task: Task, model: Artifact) -> TaskStats:
    """Sizes of the task, tokens counted by the model's own tokenizer in the form that `format-task` will give it."""
    from lightbulb.models.form import render, turns_of
    from lightbulb.models.loading import load_tokenizer

    tokenizer = load_tokenizer(model.path)

    def count(texts: list[str]) -> int:
        return sum(len(ids) for ids in tokenizer(texts).input_ids) if texts else 0

    chat = any(e.messages for e in task.train)  # else `format-task` gives it a template without marks of roles

    def prompts(examples: Sequence[Example]) -> list[str]:
        return [render(tokenizer, turns_of(e)) if chat else e.prompt or e.completion for e in examples]

    asked = prompts(task.test) if task.kind == "text" else list(dict.fromkeys(prompts(task.test)))
    answers = [] if task.kind != "generate" else [e.completion for e in task.split("train", COUNTED)]
    return TaskStats(
        kind=task.kind,
        train_examples=len(task.train),
        test_examples=len(asked),
        test_tokens=count(asked) + len(asked),
        validation_examples=len(task.validation),
        output_tokens=count(answers) / max(1, len(answers)) if answers else 1,
    )


@dataclass(frozen=True)
class Prepared:
    """What is known before anything is trained."""

    execution: Execution
    plan: Plan


def prepare(run: Run, source: ModelSource, goal: Goal, say: Say) -> Prepared:
    """Imports the model, gives it the task's form, checks its file in the runtime that ships, times this machine with
    it and makes the plan; or reads the plan back, so that a resumed run decides alike. say: hears what was changed."""
    execution = Execution(run, start(run, source, say))
    check_import(execution, source, goal, say)
    if (place := run.folder / PLAN).exists():
        return Prepared(execution, Plan(**read_json(place)))
    model = execution.made[START]
    shape, stats = shape_of(model), task_stats(run.task, model)
    with run.progress.working("timing this machine"):
        times = timed(execution, stats, goal)
    plan = make_plan(times, shape, stats, goal.max_seconds, run.spent().seconds)
    write_json(place, plan.model_dump(mode="json"))
    return Prepared(execution, plan)


def check_import(execution: Execution, source: ModelSource, goal: Goal, say: Say) -> None:
    """Frames the model and compares it with its export in the runtime that ships, before anything is trained; says
    what was changed on the way. Raises ModelError, which names the user's model, where the two do not agree."""
    from lightbulb.models.loading import user_file

    steps = format_steps(goal.runtime)
    for s in steps:
        with user_file(source, execution.made[s.source or START].path):
            execution.perform(s)
    for told in of_the_model(execution):
        say(f"model: {told}")


def of_the_model(execution: Execution) -> list[str]:
    """What was found, and changed, when it was imported, framed and compared with its file."""
    labels = [label for label in (START, FORMATTED, CHECK) if label in execution.made]
    return [told for label in labels for told in execution.made[label].facts.get("findings", [])]


def timed(execution: Execution, stats: TaskStats, goal: Goal) -> Times:
    """What steps and answers take on this machine now."""
    from lightbulb.shrinking.timing import time_work

    run, formatted = execution.run, execution.made[FORMATTED]
    return time_work(
        formatted,
        execution.made[FORMATTED_FILE].gguf,
        run.task,
        batch_size=stats.batch_size,
        threads=goal.threads,
        runtime=goal.runtime,
        output_tokens=stats.output_tokens,
        pass_seconds=run.cost(formatted).seconds,
        max_seconds=goal.max_seconds,
    )


def perform(run: Run, source: ModelSource, goal: Goal, *, command: str, say: Say) -> Assembled:
    """Performs (or resumes) the main job in `run`'s folder, up to what is to be published there when all is proven."""
    from lightbulb.shrinking.choose import Chooser
    from lightbulb.shrinking.final_evaluation import evaluate_choice

    with run.release_on_user_error():
        prepared = prepare(run, source, goal, say)
    task, execution, plan = run.task, prepared.execution, prepared.plan
    for told in plan.told:
        say(f"plan: {told}")
    time_budget = TimeBudget(run.decisions, lambda: run.spent().seconds, goal.max_seconds)
    slowdown = teach(execution, plan, time_budget, say)
    choice = Chooser(execution, plan, goal, task.metric, StudentTime(plan, time_budget, slowdown), say).choose()
    evaluate_choice(execution, choice.student, plan.stats, time_budget, goal, say)
    recipe = Recipe(
        model=model_argument(source),
        task=task.source or task.name,
        seed=goal.seed,
        reading=Reading.model_validate(task.reading),
        step=tuple(needed(execution.steps, ["costs", "verify", *tests(execution.steps)])),
    )
    return assemble(
        execution,
        choice,
        goal,
        recipe,
        noticed=[*of_the_model(execution), *plan.missed, *shortened(recipe)],
        base=origin_of(source),
        command=command,
        versions=versions(),
        machine=machine(goal),
    )


def teach(execution: Execution, plan: Plan, time_budget: TimeBudget, say: Say) -> float:
    """Performs the teacher's steps, its training in the seconds that the plan leaves it. How many times slower than
    planned it was."""
    seconds = plan.teacher_share * (time_budget.left - plan.fixed_seconds)
    for s in teacher_steps(plan):
        execution.perform(s, seconds=seconds if s.label == TEACHER else None)
    teacher = execution.made[TEACHER]
    slowdown = time_budget.decide_once(
        "pace", lambda: plan.slowdown(execution.run.cost(teacher).seconds, teacher.facts["steps"])
    )
    if "cuts" in execution.steps[TEACHER].parameters["schedule"]:
        say(
            f"the teacher was {slowdown:.2f} times slower than planned: it ended after {teacher.facts['steps']:,} steps"
        )
    return slowdown


def shortened(recipe: Recipe) -> list[str]:
    """What the clock took from the trainings that led to the result, in sentences."""
    found = []
    for s in recipe.steps:
        cuts = [value.get("cuts") for value in s.parameters.values() if isinstance(value, dict)]
        found += [
            f"{s.label} was shortened to {c[-1][1]:,} steps: the machine was slower than planned" for c in cuts if c
        ]
    return found


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
