"""The main job: a model, a task and a goal in; what is to be handed out, and its proof, out."""

from __future__ import annotations

from lightbulb.core.facts import TrainingFacts
from lightbulb.models.origin import origin_of
from lightbulb.models.resolve import ModelSource, fingerprint
from lightbulb.pipeline.recipe import Execution
from lightbulb.pipeline.run import Run
from lightbulb.shrinking import origins
from lightbulb.shrinking.assemble import Assembled, assemble
from lightbulb.shrinking.evaluation import StepEvaluator, check_teacher
from lightbulb.shrinking.final_evaluation import FinalEvaluation
from lightbulb.shrinking.floor import Floor
from lightbulb.shrinking.goal import Goal
from lightbulb.shrinking.plan import Plan
from lightbulb.shrinking.prepare import Say, of_the_model, prepare
from lightbulb.shrinking.steps import COSTS, TEACHER, VERIFY, stock_candidates, teacher_steps
from lightbulb.shrinking.strategy import BoldFirst, search
from lightbulb.shrinking.student_time import StudentTime
from lightbulb.shrinking.time_budget import TimeBudget


def perform(run: Run, source: ModelSource, goal: Goal, *, command: str, say: Say) -> Assembled:
    """Performs (or resumes) the main job in `run`'s folder, up to what is to be published there when all is proven."""
    with run.release_on_user_error():
        execution, plan = prepare(run, source, goal, say)
    for line in plan.lines:
        say(f"plan: {line}")
    time_budget = TimeBudget(run.decisions, lambda: run.spent().seconds, goal.max_seconds)
    slowdown = teach(execution, plan, time_budget, say)
    floor, time = Floor.of(goal, run.task.metric), StudentTime(plan, time_budget, slowdown)
    strategy = BoldFirst(plan.space, floor, check_teacher(execution, floor), time, say)
    choice = search(strategy, StepEvaluator(execution, time, goal.runtime), run.events)
    files = [*([choice.candidate] if choice.candidate else []), *stock_candidates(plan.times.layers)]
    FinalEvaluation(execution, files, plan.stats, time_budget, goal).perform(say)
    steps = origins.needed(execution.steps, [COSTS, VERIFY, *(c.test_label for c in files)])
    recipe = origins.recipe_of(source, run.task, goal.seed, steps)
    return assemble(
        execution,
        choice,
        files,
        goal,
        recipe,
        noticed=[*of_the_model(execution), *plan.missed, *origins.shortened_trainings(recipe)],
        base=origin_of(source),
        command=command,
        versions=origins.versions(),
        machine=origins.machine_facts(goal),
    )


def teach(execution: Execution, plan: Plan, time_budget: TimeBudget, say: Say) -> float:
    """Performs the teacher's steps, its training in the seconds that the plan leaves it. How many times slower than
    planned it was."""
    seconds = plan.teacher_share * (time_budget.left - plan.fixed_seconds)
    for s in teacher_steps(plan):
        execution.perform(s, seconds=seconds if s.label == TEACHER else None)
    teacher = execution.made[TEACHER]
    steps = teacher.facts_as(TrainingFacts).steps
    slowdown = time_budget.decide_once(
        "slowdown", lambda: plan.costs.observed(steps, plan.freeze_layers, execution.run.cost(teacher).seconds)
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
        }
    )
