"""The main job: a model, a task and a goal in; what is to be handed out, and its proof, out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import UserError
from lightbulb.core.facts import TrainingFacts
from lightbulb.core.facts_of_kinds import EncoderFacts
from lightbulb.models.kinds.encoder_source import encoder_origin, is_encoder
from lightbulb.models.origin import origin_of
from lightbulb.models.resolve import ModelSource, fingerprint
from lightbulb.pipeline.recipe import START, Execution
from lightbulb.pipeline.run import Run
from lightbulb.runtimes import CLASSIFIER, SLOTS, runtime_class
from lightbulb.shrinking import origins
from lightbulb.shrinking.assemble import Assembled, Circumstances, assemble
from lightbulb.shrinking.candidate import DECODER, TITLES, Candidate, Choice, Outcome
from lightbulb.shrinking.evaluation import StepEvaluator, check_teacher, early_steps, student_steps
from lightbulb.shrinking.final_evaluation import FinalEvaluation
from lightbulb.shrinking.floor import Floor, may_hold
from lightbulb.shrinking.goal import Goal
from lightbulb.shrinking.kinds import candidates_after, kind_named, kind_names
from lightbulb.shrinking.kinds.base import Setting
from lightbulb.shrinking.kinds.cascade import combined, handing_on
from lightbulb.shrinking.ladder import CheapestFirst
from lightbulb.shrinking.plan import Plan
from lightbulb.shrinking.prepare import (
    ENCODER_KIND,
    Say,
    goal_for,
    of_the_model,
    prepare,
    setting_of,
    start,
    task_stats,
)
from lightbulb.shrinking.steps import COSTS, TEACHER, stock_candidates, student_calibration, teacher_steps
from lightbulb.shrinking.strategy import BoldFirst, Pairs, search
from lightbulb.shrinking.student_time import StudentTime
from lightbulb.shrinking.time_budget import TimeBudget
from lightbulb.tasks.task import Task

EARLY_SHARE = 0.2  # of the time, for kinds that are tried before the teacher
ALL_SHARE = 0.7  # likewise, where no teacher comes after them: the rest is for the proof
RUN_IN = {"choose": ("n-grams and encoders", CLASSIFIER), "generate": ("slot filling", SLOTS)}  # by kind of task
QUICK_SECONDS = 300.0  # of a run without a teacher: it is measured as one of five minutes is, however long it may take


def perform(run: Run, source: ModelSource, goal: Goal, *, command: str, say: Say) -> Assembled:
    """Performs (or resumes) the main job in `run`'s folder, up to what is to be published there when all is proven."""
    with run.release_on_user_error():
        execution = Execution(run, start(run, source, say))
    goal = goal_for(source, goal)
    time_budget = TimeBudget(run.decisions, lambda: run.spent().seconds, goal.max_seconds)
    floor = Floor.of(goal, run.task.metric)
    choice = try_early_kinds(execution, goal, floor, time_budget, say)
    missed = [
        *choice.missed,
        *without_filament(run.task),
        *not_suited(goal, setting_of(run.task, goal, execution.made[START])),
    ]
    stock: list[Candidate] = []
    windows_for = min(QUICK_SECONDS, goal.max_seconds)
    if choice.candidate is None and needs_teacher(goal, execution.made[START]):
        ready = may_hold(floor, [o.score for o in choice.tried])  # then what it is held against comes before a student
        with run.release_on_user_error():
            plan = prepare(execution, source, goal, say, len(choice.files), reference_first=ready)
        for line in plan.lines:
            say(f"plan: {line}")
        choice = search_students(execution, plan, goal, floor, time_budget, choice, say)
        stock, missed, windows_for = stock_candidates(plan.times.layers), [*missed, *plan.missed], goal.max_seconds
    elif TEACHER in execution.made:
        layers = execution.made[TEACHER].facts_as(EncoderFacts).layers
        stock, windows_for = stock_candidates(layers, ENCODER_KIND), goal.max_seconds
    files = [*choice.files, *stock]
    if not files:
        raise nothing_to_try(goal)
    stats = task_stats(run.task, execution.made[START])
    FinalEvaluation(execution, files, stats, time_budget, goal, windows_for).perform(say)
    proven = [COSTS, *(c.verify_label for c in files), *(c.test_label for c in files)]
    recipe = origins.recipe_of(source, run.task, goal.seed, origins.needed(execution.steps, proven))
    circumstances = Circumstances(
        base=encoder_origin(source) if is_encoder(source) else origin_of(source),
        command=command,
        versions=origins.versions(),
        machine=origins.machine_facts(goal),
        noticed=[*of_the_model(execution), *missed, *origins.shortened_trainings(recipe)],
    )
    return assemble(execution, choice, files, goal, recipe, circumstances)


def try_early_kinds(execution: Execution, goal: Goal, floor: Floor, time_budget: TimeBudget, say: Say) -> Choice:
    """Kinds of student that need no teacher; a candidate where one of them is all that was asked for. Where the model
    is an encoder its fine-tuned self is among them."""
    model = execution.made[START]
    setting, last = setting_of(execution.run.task, goal, model), not needs_teacher(goal, model)

    def left() -> float:
        return (ALL_SHARE if last else EARLY_SHARE) * goal.max_seconds - (goal.max_seconds - time_budget.left)

    def allows(candidate: Candidate) -> bool:
        return time_budget.fits(candidate.label, lambda: kind_named(candidate.kind).seconds(candidate, setting), left)

    candidates, follow = candidates_after("model", setting, goal.kinds), follow_of(goal)
    ladder = CheapestFirst(candidates, floor, allows, follow, say, last)
    return search(ladder, StepEvaluator(execution, early_steps(setting, execution, left)), execution.run.events)


def without_filament(task: Task) -> list[str]:
    """That no kind but decoders can be tried where filament is not there, in a sentence."""
    kinds, runtime = RUN_IN.get(task.kind, ("", ""))
    if not kinds or runtime_class(runtime).installed():
        return []
    return [f"not tried: {kinds}, because filament, which runs them, is not built here (make filament)"]


def not_suited(goal: Goal, setting: Setting) -> list[str]:
    """The kinds for which the task is nothing, and why, in sentences."""
    names = [name for name in kind_names() if name != DECODER and (goal.kinds is None or name in goal.kinds)]
    found = [(TITLES.get(name, name), kind_named(name).why_not(setting)) for name in names]
    return [f"not tried: {title}, because {why}" for title, why in found if why]


def needs_teacher(goal: Goal, model: Artifact) -> bool:
    """Whether a language model is trained: not where the model is none, or only kinds are asked for that need none."""
    if model.kind == ENCODER_KIND:
        return False
    return goal.kinds is None or any(name == DECODER or kind_named(name).after == "teacher" for name in goal.kinds)


def nothing_to_try(goal: Goal) -> UserError:
    """Of kinds that are all nothing for this task, or not there."""
    return UserError(
        f"none of the kinds asked for can be tried here ({', '.join(goal.kinds or ())}): they choose one of a closed "
        "set of answers, or (slots) fill in JSON objects, and need filament; an encoder gives no decoder",
        where="`kinds`",
        hint="`make filament`, such a task, or leave `kinds` out",
    )


def follow_of(goal: Goal) -> Callable[[Sequence[Outcome], Floor], Sequence[Candidate]]:
    """The cascades of what was tried, where they are asked for."""
    wanted = goal.kinds is None or "cascade" in goal.kinds
    return combined if wanted else lambda tried, floor: []


def pairs_of(goal: Goal, plan: Plan) -> Pairs:
    """The cheap files that hand on to a language model, where such are asked for. Not where answers are left out: a
    threshold for that is of one file's probabilities."""
    wanted = goal.kinds is None or {"cascade", DECODER} <= set(goal.kinds)
    if not wanted or goal.abstain is not None:
        return lambda tried, floor, held: ()
    return partial(handing_on, layers=plan.times.layers)


def search_students(
    execution: Execution, plan: Plan, goal: Goal, floor: Floor, time_budget: TimeBudget, early: Choice, say: Say
) -> Choice:
    """Trains the teacher, and the decoders that are needed where none of the kinds before does what was asked."""
    slowdown = teach(execution, plan, time_budget, say)
    time = StudentTime(plan, time_budget, slowdown, setting_of(execution.run.task, goal, execution.made[START]))
    teacher, pairs = check_teacher(execution, floor, alone=not early.files), pairs_of(goal, plan)
    strategy = BoldFirst(plan.space, floor, teacher, time, say, early.tried, pairs)
    calibration = partial(student_calibration, execution.run.task.kind, goal.runtime, goal.abstain)
    steps_of = student_steps(time, goal.runtime, calibration)
    return search(strategy, StepEvaluator(execution, steps_of), execution.run.events)


def teach(execution: Execution, plan: Plan, time_budget: TimeBudget, say: Say) -> float:
    """Performs the teacher's steps, its training in the seconds that the plan leaves it. How many times slower than
    planned it was."""
    seconds = plan.teacher_share * (time_budget.left - plan.fixed_seconds)
    for s in teacher_steps(plan):
        execution.perform(s, seconds=seconds if s.label == TEACHER else None)
    teacher = execution.made[TEACHER]
    steps = teacher.facts_as(TrainingFacts).steps
    slowdown = time_budget.decide_once(
        "slowdown",
        lambda: plan.costs.observed(steps, plan.freeze_layers, execution.run.cost(teacher).seconds, plan.elastic),
    )
    if "cuts" in execution.steps[TEACHER].parameters["schedule"]:
        say(f"the teacher was {slowdown:.2f} times slower than planned: it ended after {steps:,} steps")
    return slowdown


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
            **({"elastic": True} if goal.elastic else {}),
            **({} if goal.kinds is None else {"kinds": list(goal.kinds)}),
            **({} if goal.encoder is None else {"encoder": goal.encoder}),
            **({} if goal.abstain is None else {"abstain": goal.abstain.model_dump()}),
        }
    )
