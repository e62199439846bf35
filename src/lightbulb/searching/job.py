"""A search from start to its record: parent, one-off scores, table of costs, rungs, files, recipe."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lightbulb.core.errors import RunFailure
from lightbulb.core.events import Decided
from lightbulb.core.facts import BlockFacts, ScoreFacts
from lightbulb.core.figures import Figure
from lightbulb.core.version import __version__
from lightbulb.measuring.protocol import measuring_seconds, windows_within
from lightbulb.models.resolve import ModelSource, fingerprint
from lightbulb.pipeline.recipe import Execution, Recipe, Step
from lightbulb.pipeline.run import Run
from lightbulb.searching.choosing import Durations, choose, first_students
from lightbulb.searching.cost_files import TRIALS, design, measure_table, table_key, work_of
from lightbulb.searching.cost_table import CostTable, keep_table, parts_of, read_table
from lightbulb.searching.goal import SearchGoal
from lightbulb.searching.halving import Halving, Trial
from lightbulb.searching.parent import Parent, make_parent
from lightbulb.searching.points import add_files, checks_of, full_vocabulary, parent_point, point_of, untried
from lightbulb.searching.pricing import Pricing, Specs
from lightbulb.searching.prior import Prior, Proposal
from lightbulb.searching.record import Point, SearchRecord, TableCheck, mark_front
from lightbulb.searching.space import Space
from lightbulb.searching.steps import LOGITS, SCORES, TRIMMED, Training, cost_step, score_step, trained_label
from lightbulb.searching.student import Student
from lightbulb.searching.workers import perform_side_by_side, perform_trial
from lightbulb.shrinking import origins
from lightbulb.shrinking.plan import Plan
from lightbulb.shrinking.prepare import Say, of_the_model, prepare, start
from lightbulb.shrinking.time_budget import TimeBudget

TABLE = "costs.json"
TABLE_SHARE = 0.08  # of the time, for the table of costs
WINDOWS = (1.0, 0.7, 0.5, 0.3, 0.2, 0.1)  # seconds of a window there, longest first
MEASURE_SHARE = 0.08  # of the time, for measuring the files at the end
RUNG_SHARE = 0.75  # of what is left before the first rung, for all rungs: the rest makes files of the finalists
OVERRUN = 1.5  # times its plan that a training may take before it is shortened


@dataclass
class Search:
    """One search on its way.

    Attributes:
        execution: of its steps
        goal: what is asked
        plan: of the main job, which made the parent
        say: hears what is decided
        beside: seconds that workers took beside each other: the clock did not see them
    """

    execution: Execution
    goal: SearchGoal
    plan: Plan
    say: Say
    beside: float = 0.0
    time: TimeBudget = field(init=False)

    def __post_init__(self) -> None:
        run = self.run
        self.time = TimeBudget(run.decisions, lambda: run.spent().seconds - self.beside, self.goal.max_seconds)

    @property
    def run(self) -> Run:
        return self.execution.run

    def table(self, specs: Specs, place: Path) -> tuple[CostTable, float]:
        """The table of costs, and the seconds that it took: 0 where it was there."""
        goal, task, students = self.goal, self.run.task, design(specs.space)
        work = work_of(specs.parents.trimmed, task, goal.seed)
        key = table_key(specs.parent, task, goal.runtime, work)
        needed = sorted({part for s in students for part in parts_of(specs.of(s), s.types)})
        if (known := read_table(place, key, needed)) is not None:
            self.say(f"costs: the table of {len(known.files)} files in {place} is used")
            return known, 0.0
        room = TABLE_SHARE * goal.max_seconds
        fits = (w for w in WINDOWS if measuring_seconds(len(students), TRIALS, w, w) <= room)
        folder = self.run.folder / "scratch" / "random-files"
        table = measure_table(
            key, students, specs.of, specs.parents, task, folder, next(fits, WINDOWS[-1]), self.run.progress, goal.seed
        )
        keep_table(place, table)
        shutil.rmtree(folder)
        return table, table.seconds

    def tried(self, parent: Parent, pricing: Pricing, prior: Prior) -> tuple[list[Point], Halving, Training]:
        """All points, those that came to files with their scores and costs."""
        specs = pricing.specs
        found, over = self.students(pricing, prior)
        durations = Durations(self.plan, parent.slowdown, specs.of)
        students = [p.student for p in found]
        training = self.training(durations, students, specs.space)
        floor = self.goal.floor(self.run.task.metric)
        halving = Halving(students, prior.cost_of, floor, parent.score, self.goal.asks_for_a_score)
        self.rungs(halving, training, durations)
        rung = max(halving.tried[s].rung for s in halving.alive)
        made = self.files(halving.alive, training, rung, durations)
        points = [
            parent_point(parent, specs, pricing),
            *(point_of(p, pricing, halving, training) for p in found),
            *(untried(p.student, p.how, p.rise, pricing, why) for p, why in over),
        ]
        add_files(points, self.execution, made)
        return points, halving, training

    def students(self, pricing: Pricing, prior: Prior) -> tuple[list[Proposal], list[tuple[Proposal, str]]]:
        """Those of the first rung, and those that pass a limit."""
        found, over = first_students(
            prior,
            pricing.specs.space,
            self.run.task.kind,
            lambda s: self.goal.over_limits(dict(pricing.figures(s)), pricing.bytes(s)),
            self.goal.candidates,
        )
        if not found:
            why = over[-1][1] if over else "nothing can be cut"
            raise RunFailure(
                f"no student of this parent keeps to the limits; the smallest is {why}", hint="raise the limit"
            )
        return found, over

    def training(self, durations: Durations, students: Sequence[Student], space: Space) -> Training:
        """How students are trained: as long as the time allows."""
        measuring = MEASURE_SHARE * self.goal.max_seconds
        epochs = self.time.decide_once(
            "epochs of the first rung",
            lambda: durations.first_epochs(students, RUNG_SHARE * (self.time.left - measuring), self.goal.workers),
        )
        self.say(f"{len(students)} students begin with {epochs:g} epochs each")
        return Training(self.plan, epochs, space.multiple, self.goal.runtime)

    def rungs(self, halving: Halving, training: Training, durations: Durations) -> None:
        """Trains and scores, rung after rung."""
        while trials := halving.ask():
            rung = trials[0].rung
            takes = {
                t: OVERRUN * durations.training(t.student, training.epochs(rung)) + durations.costs.times.pass_seconds
                for t in trials
            }
            whole = sum(takes.values()) / OVERRUN / self.goal.workers
            if rung and not self._fits(f"rung {rung}", whole, (1 + RUNG_SHARE) / 2 * self.time.left):
                halving.stop("there was no time for more training")
                break
            jobs = {trained_label(t.student, rung): (training.trial(t), takes[t]) for t in trials}
            self._side_by_side(jobs)
            for trial in trials:
                steps, seconds = jobs[trained_label(trial.student, rung)]
                score = perform_trial(self.execution, steps, seconds).facts_as(ScoreFacts).score
                self._tell(halving, trial, score)

    def _fits(self, what: str, seconds: float, left: float) -> bool:
        """Whether there is time for it, decided once."""
        return self.time.fits(what, lambda: seconds, lambda: left)

    def _tell(self, halving: Halving, trial: Trial, score: Figure) -> None:
        halving.tell(trial, score)
        self.say(f"rung {trial.rung}: {trial.student.name}: {score} on validation")
        self.run.events.emit(Decided(by="search", what=trial.student.name, value=score.value, why=f"rung {trial.rung}"))

    def _side_by_side(self, jobs: dict[str, tuple[list[Step], float]]) -> None:
        waiting = {n: job for n, job in jobs.items() if not self._is_done(job[0])}
        if self.goal.workers > 1 and len(waiting) > 1:
            task = self.run.keep_task()
            self.beside += perform_side_by_side(self.execution, waiting, self.goal.workers, task)

    def _is_done(self, steps: Sequence[Step]) -> bool:
        done = {p.name.rpartition("-")[0] for p in (self.run.folder / "steps").iterdir()}
        return all(s.label in done for s in steps)

    def files(self, finalists: Sequence[Student], training: Training, rung: int, durations: Durations) -> list[Student]:
        """Makes and scores the files of those that there is time for, the first in any case; and measures them."""
        jobs: dict[Student, tuple[list[Step], float]] = {}
        for student in finalists:
            epochs = training.epochs_until(rung)
            takes = OVERRUN * durations.training(student, epochs) + durations.beside(student)
            if not jobs or self._fits(f"file {student.label}", takes, self.time.left):
                jobs[student] = (training.file(student, rung), takes)
        self._side_by_side({s.label: job for s, job in jobs.items()})
        for steps, seconds in jobs.values():
            perform_trial(self.execution, steps, seconds)
        windows = windows_within(MEASURE_SHARE * self.goal.max_seconds, len(jobs))
        self.execution.perform(cost_step(list(jobs), windows, self.goal.runtime))
        return list(jobs)


def perform(
    run: Run,
    source: ModelSource,
    goal: SearchGoal,
    *,
    command: str,
    say: Say,
    costs: Path | None = None,
    recipe: Recipe | None = None,
) -> tuple[SearchRecord, Recipe | None]:
    """Performs (or resumes) a search in `run`'s folder.

    Args:
        run: of the folder
        source: the model
        goal: what is asked
        command: what a person typed
        say: hears what is decided
        costs: the file of tables; None: in the folder
        recipe: makes the parent instead of the main job's steps

    Returns:
        The record, and the recipe that makes the chosen student.
    """
    with run.release_on_user_error():
        execution = Execution(run, start(run, source, say))
        plan = prepare(execution, source, goal.shrinking, say)
    search = Search(execution, goal, plan, say)
    parent = make_parent(execution, plan, goal, recipe, search.time, say)
    specs = Specs(parent.models, goal.runtime)
    facts = execution.perform(score_step(specs.space, parent.ordered)).facts_as(BlockFacts)
    table, table_seconds = search.table(specs, costs or run.folder / TABLE)
    pricing = Pricing(specs, table, run.task)
    prior = Prior(specs.space, facts, lambda s: pricing.point(s, pricing.currency), specs.parent.layers)
    points, halving, training = search.tried(parent, pricing, prior)
    chosen, reached = choose(points, halving, goal, pricing.currency)
    mark_front(points, pricing.currency, halving.floor.sign)
    notes, making = [*of_the_model(execution), *plan.missed], None
    if chosen is None:
        notes.append("no student keeps to the limits once it is measured")
    else:
        points += full_vocabulary(chosen, specs, pricing)
        steps = recipe_steps(execution, plan, training, chosen)
        making = origins.recipe_of(source, run.task, goal.seed, steps)
    record = record_of(
        search, source, pricing, halving, points,
        command=command, checks=checks_of(chosen), reached=reached, table_seconds=table_seconds, notes=notes,
    )  # fmt: skip
    return record, making


def record_of(
    search: Search,
    source: ModelSource,
    pricing: Pricing,
    halving: Halving,
    points: list[Point],
    *,
    command: str,
    checks: list[TableCheck],
    reached: bool,
    table_seconds: float,
    notes: list[str],
) -> SearchRecord:
    """What search.json will hold."""
    run, goal, table = search.run, search.goal, pricing.table
    return SearchRecord(
        lightbulb=__version__,
        command=command,
        model=source.name,
        task=run.task.name,
        kind=run.task.kind,
        metric=run.task.metric,
        goal=goal,
        needed=halving.needed if goal.asks_for_a_score else None,
        currency=pricing.currency,
        reached=reached,
        points=points,
        checks=checks,
        table=table.key,
        table_files=len(table.files),
        misfit=table.misfit,
        table_seconds=table_seconds,
        making=run.spent(),
        notes=notes,
        versions=origins.versions(),
        machine=origins.machine_facts(goal.shrinking),
    )


def recipe_steps(execution: Execution, plan: Plan, training: Training, chosen: Point) -> list[Step]:
    """What makes the chosen student from the start: trained in one go, as long as all rungs together, or as the main
    job would train it where that is longer."""
    student = chosen.student
    usual = plan.epochs_for(len(student.layers)) if plan.space.depths else 0.0
    epochs = float(f"{max(chosen.epochs or 0.0, usual):.3g}")
    wanted = [label for label in (TRIMMED, SCORES, LOGITS) if label in execution.made]
    return [*origins.needed(execution.steps, wanted), *training.finished(student, epochs)]


def bind_config(run: Run, source: ModelSource, goal: SearchGoal, recipe: Recipe | None) -> None:
    """Ties the run's folder to this search; the number of workers may change."""
    run.bind_config(
        {
            "search": goal.model_dump(mode="json", exclude={"workers"}),
            "model": source.name,
            "weights": fingerprint(source),
            "task": run.task.fingerprint,
            **({} if recipe is None else {"parent": recipe.model_dump(mode="json", by_alias=True)}),
        }
    )
