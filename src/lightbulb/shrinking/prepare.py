"""What is known before anything is trained: the model in the task's form, this machine's times, the plan."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import UnsupportedModel, UserError
from lightbulb.core.events import Decided
from lightbulb.core.facts import Facts
from lightbulb.core.files import read_json, sha256_of, write_json
from lightbulb.formats.gguf.quant_types import QUANT_TYPES
from lightbulb.models.kinds.base import text_of
from lightbulb.models.kinds.encoder_source import encoder_fingerprint, is_encoder
from lightbulb.models.resolve import ModelSource, fingerprint
from lightbulb.pipeline.recipe import START, Execution
from lightbulb.pipeline.run import PLAN, Run
from lightbulb.runtimes import CLASSIFIER, check_installed, runtime_class
from lightbulb.shrinking.candidate import DECODER, Mixer
from lightbulb.shrinking.cost_model import TaskStats
from lightbulb.shrinking.drafts import make_plan
from lightbulb.shrinking.goal import Goal
from lightbulb.shrinking.kinds import candidates_after
from lightbulb.shrinking.kinds.base import ENCODER, Setting
from lightbulb.shrinking.origins import model_argument
from lightbulb.shrinking.plan import Plan, Shape
from lightbulb.shrinking.space import BLOCK_TYPES
from lightbulb.shrinking.steps import CHECK, EMBEDDING, FORMATTED, FORMATTED_FILE, format_steps
from lightbulb.shrinking.times import Times
from lightbulb.tasks.task import Example, Task

Say = Callable[[str], None]
IMPORT_VERSION = 4
ENCODER_KIND = "encoder"  # of the artifact that is imported from one
COUNTED = 2000  # answers, whose mean length is asked for


def check_task(source: ModelSource, task: Task, goal: Goal) -> None:
    """Raises UserError where the model is an encoder, and the task or the goal is nothing for one."""
    if not is_encoder(source):
        return
    if task.kind != "choose":
        raise UserError(
            f"{source.name} is an encoder: it chooses one of a closed set of answers, and this task is of the kind "
            f"{task.kind}",
            where="`model`",
            hint="give a language model such as smollm2-135m, or `kind=choose` where the answers are a closed set",
        )
    if goal.encoder is not None:
        raise UserError("the model is an encoder itself", where="`encoder`", hint="leave `encoder` out")
    if goal.kinds == (DECODER,):
        raise UserError(
            f"no decoder is made of an encoder such as {source.name}", where="`kinds`", hint="leave `kinds` out"
        )
    check_installed(CLASSIFIER)


def goal_for(source: ModelSource, goal: Goal) -> Goal:
    """The goal with the model as the encoder to try, where it is one."""
    return goal.model_copy(update={"encoder": model_argument(source)}) if is_encoder(source) else goal


def start(run: Run, source: ModelSource, say: Say) -> Artifact:
    """The imported model: the first artifact of a run. From here on the run's task is what this model can learn."""
    model = start_of_encoder(run, source) if is_encoder(source) else start_of_model(run, source)
    run.task = prepared_for(model, run.task, say)
    run.keep_task()
    return model


def start_of_model(run: Run, source: ModelSource) -> Artifact:
    """A language model, imported."""
    from lightbulb.models.importing import import_model

    key = sha256_of(fingerprint(source), "import", IMPORT_VERSION)
    return run.begin(START, key, lambda out, scratch, progress: import_model(source, out, progress, run.live))


def start_of_encoder(run: Run, source: ModelSource) -> Artifact:
    """Likewise, an encoder."""
    from lightbulb.passes.encoders import import_encoder

    key = sha256_of(encoder_fingerprint(source), "import", IMPORT_VERSION)
    return run.begin(START, key, lambda out, scratch, progress: import_encoder(source, out, progress), ENCODER_KIND)


def prepared_for(model: Artifact, task: Task, say: Say) -> Task:
    """The task as this model can learn it; says what that changes or costs."""
    from lightbulb.passes.encoders import with_cut_texts
    from lightbulb.train.prepare import prepared

    fitting = (with_cut_texts if model.kind == ENCODER_KIND else prepared)(task, model.path)
    for finding in fitting.findings[len(task.findings) :]:
        say(f"task: {finding}")
    return fitting


def setting_of(task: Task, goal: Goal, model: Artifact) -> Setting:
    """What kinds of student are told before there is a plan."""
    encoder, is_encoder = goal.encoder or ENCODER, model.kind == ENCODER_KIND
    return Setting(task, goal.runtime, encoder, is_encoder=is_encoder, abstain=goal.abstain)


def prepare(
    execution: Execution, source: ModelSource, goal: Goal, say: Say, others: int = 0, reference_first: bool = False
) -> Plan:
    """Gives the imported model the task's form, checks its file in the runtime that ships, times this machine with it
    and makes the plan; or reads the plan back, so that a resumed run decides alike.

    Args:
        say: hears what was changed
        others: files of other kinds, made before it, that will be measured with those of the plan
        reference_first: a student is given up before the teacher is one of very few epochs
    """
    run = execution.run
    import_and_check(execution, source, goal, say)
    if (place := run.folder / PLAN).exists():
        return Plan(**read_json(place))
    model = execution.made[START]
    shape, stats = shape_of(model), task_stats(run.task, model)
    run.live.clear()  # timing reads and changes models of its own
    with run.progress.working("timing this machine"):
        times = timed(execution, stats, goal)
    elastic = goal.elastic and (goal.kinds is None or DECODER in goal.kinds)
    spent = run.spent().seconds
    plan = make_plan(times, shape, stats, goal.max_seconds, spent, others, elastic, reference_first)
    plan = with_kinds(plan, setting_of(run.task, goal, model), goal, mixers_for(model, goal.runtime))
    write_json(place, made := plan.model_dump(mode="json"))
    run.events.emit(Decided(by="plan", what="plan", value=made, why=" ".join(plan.lines)))
    return plan


def with_kinds(plan: Plan, setting: Setting, goal: Goal, mixers: tuple[Mixer, ...]) -> Plan:
    """The plan with the candidates of other kinds in its space that need the teacher's steps, and what its decoders'
    layers may be; without decoders where none are asked for."""
    setting = replace(setting, plan=plan, costs=plan.costs)
    others = candidates_after("teacher", setting, goal.kinds)
    space = plan.space.model_copy(update={"others": others, "mixers": mixers})
    if goal.kinds is not None and DECODER not in goal.kinds:
        space = space.without_students()
    return plan.model_copy(update={"space": space})


def mixers_for(model: Artifact, name: str) -> tuple[Mixer, ...]:
    """Of students of a model: recurrent ones where the runtime `name`, in which they will be used, takes them (none
    but filament's do)."""
    from lightbulb.models.resolve import json_object
    from lightbulb.models.spec import ModelSpec
    from lightbulb.models.spec_config import spec_of_config

    spec, runtime = spec_of_config(json_object(model.path / "config.json")), runtime_class(name)
    layers = [layer.recurrent() if layer.mixer == "attention" else layer for layer in spec.layers]
    try:
        runs = runtime.supports(ModelSpec(**spec.model_dump() | {"layers": layers}))
    except UnsupportedModel:
        runs = False
    return ("attention", "mlgru") if runs else ("attention",)


def import_and_check(execution: Execution, source: ModelSource, goal: Goal, say: Say) -> None:
    """Frames the model and compares it with its export in the runtime that ships, before anything is trained; says
    what was changed on the way.

    Raises:
        ModelError: the two do not agree; it names the user's model
    """
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
    from lightbulb.models.families import FEED_FORWARD
    from lightbulb.models.resolve import json_object
    from lightbulb.models.spec_config import spec_of_config

    spec, types = spec_of_config(json_object(model.path / "config.json")), (*BLOCK_TYPES, EMBEDDING)
    in_layers = sum(layer.parameters(spec.width) for layer in spec.layers)
    fed = sum(math.prod(layer.matrices(spec.width).get(role, (0,))) for layer in spec.layers for role in FEED_FORWARD)
    return Shape(
        layers=len(spec.layers),
        layer_parameters=in_layers // len(spec.layers),
        vocabulary=spec.vocabulary,
        width=spec.width,
        fits_blocks=all(QUANT_TYPES[name].fits(width) for name in types for width in spec.row_widths),
        feed_forward_share=fed / in_layers,
    )


def task_stats(task: Task, model: Artifact) -> TaskStats:
    """Sizes of the task, tokens counted by the model's own tokenizer in the form that `format-task` will give it."""
    from lightbulb.models.form import render, turns_of
    from lightbulb.models.loading import load_tokenizer

    if model.kind == ENCODER_KIND:
        return encoder_stats(task, model)
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


def encoder_stats(task: Task, encoder: Artifact) -> TaskStats:
    """Likewise, of a task that chooses, as an encoder reads it."""
    from lightbulb.passes.encoders import words_of

    asked = list(dict.fromkeys(text_of(e) for e in task.test))
    return TaskStats(
        kind=task.kind,
        train_examples=len(task.train),
        test_examples=len(asked),
        test_tokens=sum(words_of(encoder.path).lengths(asked)),
        validation_examples=len(task.validation),
        output_tokens=1,
    )
