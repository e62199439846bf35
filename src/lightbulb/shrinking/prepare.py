"""What is known before anything is trained: the model in the task's form, this machine's times, the plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lightbulb.core.artifact import Artifact
from lightbulb.core.events import Decided
from lightbulb.core.facts import Facts
from lightbulb.core.files import read_json, sha256_of, write_json
from lightbulb.formats.gguf.quant_types import QUANT_TYPES
from lightbulb.models.resolve import ModelSource, fingerprint
from lightbulb.pipeline.recipe import START, Execution
from lightbulb.pipeline.run import PLAN, Run
from lightbulb.shrinking.candidate import DECODER
from lightbulb.shrinking.cost_model import TaskStats
from lightbulb.shrinking.drafts import make_plan
from lightbulb.shrinking.goal import Goal
from lightbulb.shrinking.kinds import candidates_after
from lightbulb.shrinking.kinds.base import ENCODER, Setting
from lightbulb.shrinking.plan import Plan, Shape
from lightbulb.shrinking.space import BLOCK_TYPES
from lightbulb.shrinking.steps import CHECK, EMBEDDING, FORMATTED, FORMATTED_FILE, format_steps
from lightbulb.shrinking.times import Times
from lightbulb.tasks.task import Example, Task

Say = Callable[[str], None]
IMPORT_VERSION = 4
COUNTED = 2000  # answers, whose mean length is asked for


def start(run: Run, source: ModelSource, say: Say) -> Artifact:
    """The imported model: the first artifact of a run. From here on the run's task is what this model can learn."""
    from lightbulb.models.importing import import_model

    key = sha256_of(fingerprint(source), "import", IMPORT_VERSION)
    model = run.begin(START, key, lambda out, scratch, progress: import_model(source, out, progress, run.live))
    run.task = prepared_for(model, run.task, say)
    run.keep_task()
    return model


def prepared_for(model: Artifact, task: Task, say: Say) -> Task:
    """The task as this model can learn it; says what that changes or costs."""
    from lightbulb.train.prepare import prepared

    fitting = prepared(task, model.path)
    for finding in fitting.findings[len(task.findings) :]:
        say(f"task: {finding}")
    return fitting


def setting_of(task: Task, goal: Goal) -> Setting:
    """What kinds of student are told before there is a plan."""
    return Setting(task, goal.runtime, goal.encoder or ENCODER, abstain=goal.abstain)


def prepare(execution: Execution, source: ModelSource, goal: Goal, say: Say) -> Plan:
    """Gives the imported model the task's form, checks its file in the runtime that ships, times this machine with it
    and makes the plan; or reads the plan back, so that a resumed run decides alike. say: hears what was changed."""
    run = execution.run
    import_and_check(execution, source, goal, say)
    if (place := run.folder / PLAN).exists():
        return Plan(**read_json(place))
    model = execution.made[START]
    shape, stats = shape_of(model), task_stats(run.task, model)
    run.live.clear()  # timing reads and changes models of its own
    with run.progress.working("timing this machine"):
        times = timed(execution, stats, goal)
    early = len(candidates_after("model", setting_of(run.task, goal), goal.kinds))
    plan = with_kinds(make_plan(times, shape, stats, goal.max_seconds, run.spent().seconds, early), run.task, goal)
    write_json(place, made := plan.model_dump(mode="json"))
    run.events.emit(Decided(by="plan", what="plan", value=made, why=" ".join(plan.lines)))
    return plan


def with_kinds(plan: Plan, task: Task, goal: Goal) -> Plan:
    """The plan with the candidates of other kinds in its space that need the teacher's steps; without decoders where
    none are asked for."""
    setting = replace(setting_of(task, goal), plan=plan, costs=plan.costs)
    space = plan.space.model_copy(update={"others": candidates_after("teacher", setting, goal.kinds)})
    if goal.kinds is not None and DECODER not in goal.kinds:
        space = space.without_students()
    return plan.model_copy(update={"space": space})


def import_and_check(execution: Execution, source: ModelSource, goal: Goal, say: Say) -> None:
    """Frames the model and compares it with its export in the runtime that ships, before anything is trained; says
    what was changed on the way. Raises ModelError, which names the user's model, where the two do not agree."""
    from lightbulb.models.importing import user_file

    steps = format_steps(goal.runtime)
    for s in steps:
        with user_file(source, execution.made[s.source or START].path):
            execution.perform(s)
    for finding in of_the_model(execution):
        say(f"model: {finding}")


def of_the_model(execution: Execution) -> list[str]:
    """What was found, and changed, when it was imported, framed and compared with its file."""
    labels = [label for label in (START, FORMATTED, CHECK) if label in execution.made]
    return [finding for label in labels for finding in execution.made[label].facts_as(Facts).findings]


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


def shape_of(model: Artifact) -> Shape:
    from lightbulb.models.resolve import json_object
    from lightbulb.models.spec import spec_of_config

    spec, types = spec_of_config(json_object(model.path / "config.json")), (*BLOCK_TYPES, EMBEDDING)
    return Shape(
        layers=len(spec.layers),
        layer_parameters=sum(layer.parameters(spec.width) for layer in spec.layers) // len(spec.layers),
        vocabulary=spec.vocabulary,
        width=spec.width,
        fits_blocks=all(QUANT_TYPES[name].fits(width) for name in types for width in spec.row_widths),
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
