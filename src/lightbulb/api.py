"""The Python API, which the command line calls: a function for each verb."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightbulb.core.errors import UserError
from lightbulb.core.events import Message, Stream
from lightbulb.core.files import write_json, write_text
from lightbulb.core.progress import Reporter, waiting
from lightbulb.core.terminal import terminal
from lightbulb.doctor import examine
from lightbulb.energy.meter import Meter
from lightbulb.exporting.request import export
from lightbulb.forecasting.request import forecast
from lightbulb.measuring.measurement import measure
from lightbulb.models.kinds.encoder_source import is_encoder, names_encoder, resolve_encoder
from lightbulb.models.resolve import ModelSource, check_contents, check_family, resolve
from lightbulb.pipeline.run import Run
from lightbulb.predicting.request import calibrate_device, predict
from lightbulb.pretraining.goal import TrainingGoal
from lightbulb.pretraining.record import TrainingRecord
from lightbulb.runtimes import check_ships, check_supports, check_threads
from lightbulb.serving.ask import Completion, ask
from lightbulb.serving.serve import serve
from lightbulb.shrinking.abstain import check_abstaining
from lightbulb.shrinking.goal import Goal
from lightbulb.shrinking.record import DONE, Result
from lightbulb.tasks.load import load_task
from lightbulb.tasks.task import Task
from lightbulb.train.together import ALONE, Alone, joined, processes, rank

if TYPE_CHECKING:
    from lightbulb.pipeline.recipe import Recipe
    from lightbulb.searching.goal import SearchGoal
    from lightbulb.searching.record import SearchRecord
    from lightbulb.shrinking.dry_run import DryRun


@contextmanager
def opened(out: Path, task: Task, goal: Goal, events: Stream, team: Alone = ALONE) -> Iterator[Run]:
    """A run folder, locked, with its meter."""
    meter = Meter(cpu_clock=team.cpu_clock, whose=team.whose)
    progress = Reporter(events, meter.spent)
    run = Run(out, task, seed=goal.seed, progress=progress, meter=meter, threads=goal.threads, events=events, team=team)
    try:
        with run, progress.working(f"run in {out.name}"):
            yield run
    finally:
        meter.close()


def validate_model(model: str, *runtimes: str) -> ModelSource:
    """The model's files, of a family that works in all of `runtimes`: known before a run folder is opened for it. An
    encoder's files run in filament whatever is asked for."""
    from lightbulb.models.importing import spec_of_source

    if names_encoder(model):
        return resolve_encoder(model)
    source = resolve(model)
    check_family(source)
    check_contents(source)
    spec = spec_of_source(source)
    for runtime in runtimes:
        check_supports(runtime, spec)
    return source


def say_to(events: Stream) -> Callable[[str], None]:
    """Sentences as events."""
    return lambda text: events.emit(Message(text=text))


def introduce(task: Task, say: Callable[[str], None]) -> None:
    """Says what was found in the data and what was understood of them, before the work starts."""
    for sentence in (*task.findings, task.summary):
        say(f"task: {sentence}")


def _checked(model: str, task: Task, goal: Goal, quiet: bool) -> ModelSource:
    """The model's files, where the goal can be asked of them and of the task: known before any work is begun."""
    from lightbulb.shrinking.prepare import check_task

    goal.check_for(task.metric)
    check_abstaining(goal.abstain, task, goal.runtime)
    check_ships(goal.runtime, task.kind)
    with waiting("reading the model", quiet):
        source = validate_model(model, goal.runtime)
    check_task(source, task, goal)
    return source


def shrink(model: str, task: Task, goal: Goal, out: Path, *, command: str = "", quiet: bool = False) -> Result:
    """Makes the cheapest model that does what `goal` asks; resumes what was begun, or finds it done.

    Args:
        model: a model folder, a .gguf file, a hub id, or a short name such as smollm2-135m; for a task that chooses
            also the folder or short name of an encoder, such as minilm-l6
        task: what `load_task` gives
        goal: what is asked for
        out: the run's folder; the same call goes on in it after a kill, and ends with the same bytes
        command: what a person typed, for the record
        quiet: without lines and bars on stderr

    Returns:
        What `out`/result.json holds. Its verdict says what is handed out: a student ("kept", "within-noise"), a stock
        file ("not-shrunk") or nothing ("not-kept").

    Raises:
        UserError: what is asked for cannot be done as asked; nothing was trained
        RunFailure: nothing has learned the task, or the work itself failed
    """
    from lightbulb.report.publish import publish
    from lightbulb.shrinking.job import bind_config, perform

    source = _checked(model, task, goal, quiet)
    events = Stream(*terminal(quiet))
    introduce(task, say := say_to(events))
    with opened(out, task, goal, events) as run:
        bind_config(run, source, goal)
        if (out / DONE).exists():
            say(f"{out} is done; nothing to do")
            return Result.read(out / DONE)
        return publish(run.folder, perform(run, source, goal, command=command, say=say))


def search(
    model: str,
    task: Task,
    goal: SearchGoal,
    out: Path,
    *,
    costs: Path | None = None,
    parent: Path | None = None,
    command: str = "",
    quiet: bool = False,
) -> SearchRecord:
    """Finds which student of a model does what `goal` asks, without making it to the end: cuts layer by layer and types
    of blocks, priced by a table of costs that is measured on this device, scored after short trainings. Writes
    search.json, search.html and the recipe of the chosen one; resumes what was begun, or finds it done.

    Args:
        model: as in `shrink`, but no encoder
        task: what `load_task` gives
        goal: what is asked for
        out: the run's folder
        costs: a file of cost tables, read and added to; None: one of the run's own
        parent: a recipe.toml whose last step makes the model that is cut, instead of the main job's adapted teacher
        command: what a person typed, for the record
        quiet: without lines and bars on stderr

    Raises:
        UserError: what is asked for cannot be done as asked; nothing was trained
        RunFailure: nothing has learned the task, or the work itself failed
    """
    from lightbulb.report.searched import RECIPE, write_page
    from lightbulb.searching.job import bind_config, perform
    from lightbulb.searching.record import DONE as SEARCHED
    from lightbulb.searching.record import SearchRecord

    source, recipe = _checked_search(model, task, goal, costs, parent, quiet)
    events = Stream(*terminal(quiet))
    introduce(task, say := say_to(events))
    with opened(out, task, goal.shrinking, events) as run:
        bind_config(run, source, goal, recipe)
        if (out / SEARCHED).exists():
            say(f"{out} is done; nothing to do")
            return SearchRecord.read(out / SEARCHED)
        record, made = perform(run, source, goal, command=command, say=say, costs=costs, recipe=recipe)
        if made is not None:
            made.write(out / RECIPE)
        write_page(out, record)
        record.write(out / SEARCHED)  # last: where it stands, the search is done
    return record


def _checked_search(
    model: str, task: Task, goal: SearchGoal, costs: Path | None, parent: Path | None, quiet: bool
) -> tuple[ModelSource, Recipe | None]:
    """The files of the model and the recipe of its parent, where they can be searched: known before any work is
    begun."""
    from lightbulb.models.importing import spec_of_source
    from lightbulb.pipeline.recipe import Recipe, check_recipe
    from lightbulb.searching.cost_table import check_costs
    from lightbulb.searching.parent import check_parent, check_parent_recipe

    goal.shrinking.check_for(task.metric)
    check_ships(goal.runtime, task.kind)
    if costs is not None:
        check_costs(costs)
    recipe = None if parent is None else Recipe.read(parent)
    if recipe is not None:
        check_recipe(recipe)
        check_parent_recipe(recipe)
    with waiting("reading the model", quiet):
        source = validate_model(model, goal.runtime)
    if is_encoder(source):
        raise UserError(f"{source.name} is an encoder, and a search cuts language models", where="`model`",
                        hint="`lightbulb shrink` cuts encoders")  # fmt: skip
    check_parent(spec_of_source(source))
    return source, recipe


def train(text: Task, goal: TrainingGoal, out: Path, *, command: str = "", quiet: bool = False) -> TrainingRecord:
    """Trains a model from text, from its first weights on; resumes what was begun, or finds it done. Processes that
    torchrun or `accelerate launch` has started share each batch: all call this, and the main one works in the folder.

    Args:
        text: what `load_task` gives for kind "text"
        goal: what is asked for
        out: the run's folder, which ends with `model`, `model.gguf` and `training.json` in it
        command: what a person typed, for the record
        quiet: without lines and bars on stderr

    Raises:
        UserError: what is asked for cannot be made; nothing was trained
        RunFailure: the work itself failed
    """
    from lightbulb.pretraining import job

    if text.kind != "text":
        raise UserError(
            f"a model is trained from text, not from a task of kind {text.kind}", hint="`completion=COLUMN`"
        )
    goal.check(processes())
    source = job.tokenizer_source(goal)
    team = joined()
    if not team.main:
        return job.assist(text, goal, source, team)
    events = Stream(*terminal(quiet))
    introduce(text, say := say_to(events))
    with opened(out, text, Goal(seed=goal.seed, threads=goal.threads), events, team) as run:
        job.bind_config(run, goal, source)
        if (out / job.DONE).exists():
            say(f"{out} is done; nothing to do")
            record = TrainingRecord.read(out / job.DONE)
        else:
            record = job.perform(run, goal, source, command=command, say=say)
    job.dismiss(team, record)
    return record


def sweep(
    text: Task, goals: Mapping[str, TrainingGoal], out: Path, *, command: str = "", quiet: bool = False
) -> list[TrainingRecord]:
    """Trains several models from one text, one after the other; those that are done are found.

    Args:
        text: as in `train`
        goals: by the name of the folder in `out` that each run gets
        out: ends with `sweep.html` and `sweep.json` in it, too: what each took and learned
        command: as in `train`
        quiet: likewise

    Raises:
        UserError: as in `train`
        RunFailure: likewise
    """
    from lightbulb.pretraining.sweep import PAGE, RECORD
    from lightbulb.report.sweep import sweep_page

    for goal in goals.values():
        goal.check(processes())
    records = [train(text, goal, out / name, command=command, quiet=quiet) for name, goal in goals.items()]
    if rank() == 0:
        write_json(out / RECORD, [record.model_dump(mode="json") for record in records])
        write_text(out / PAGE, sweep_page(records))
    return records


def dry_run(model: str, task: Task, goal: Goal, *, quiet: bool = False) -> DryRun:
    """Chooses the plan and predicts its size, cost and time; reads the model, times this machine, writes nothing that
    stays.

    Args:
        model: as in `shrink`
        task: likewise
        goal: likewise
        quiet: without lines and bars on stderr

    Raises:
        UserError: what is asked for cannot be done as asked
    """
    from lightbulb.shrinking.dry_run import predict_run

    source = _checked(model, task, goal, quiet)
    introduce(task, say := say_to(Stream(*terminal(quiet))))
    with waiting("planning", quiet):
        return predict_run(source, task, goal, say)


def run_recipe(recipe: Path, task: Task, out: Path, *, threads: int, quiet: bool = False) -> dict[str, Any]:
    """Performs a recipe written by hand (or by `shrink`).

    Args:
        recipe: a recipe.toml
        task: instead of the one that the recipe names
        out: the run's folder; the same call goes on in it after a kill
        threads: of the processor; they decide bytes
        quiet: without lines and bars on stderr

    Returns:
        The facts of each step by its label, with its path and its kind.

    Raises:
        RecipeError: the recipe does not fit together; nothing was performed
        RunFailure: the work itself failed
    """
    from lightbulb.models.resolve import fingerprint
    from lightbulb.pipeline.recipe import Recipe, check_recipe, execute
    from lightbulb.shrinking.prepare import start

    check_threads(threads)
    read = Recipe.read(recipe)
    check_recipe(read, "encoder" if names_encoder(read.model) else "model")
    runtimes = {runtime for s in read.steps if (runtime := s.parameters.get("runtime"))}
    with waiting("reading the model", quiet):
        source = validate_model(read.model, *sorted(runtimes))
    events = Stream(*terminal(quiet))
    introduce(task, say := say_to(events))
    with opened(out, task, Goal(seed=read.seed, threads=threads), events) as run:
        run.bind_config(
            {
                "recipe": read.model_dump(mode="json", by_alias=True),
                "weights": fingerprint(source),
                "task": task.fingerprint,
                "threads": threads,
            }
        )
        with run.release_on_user_error():
            made = execute(read, run, start(run, source, say)).made
    return {label: {"path": str(a.path), "kind": a.kind, **a.facts} for label, a in made.items()}


def render_report(folder: Path) -> Path:
    """Renders the report and the model card of a finished run anew.

    Args:
        folder: the run's

    Returns:
        The page that was written.

    Raises:
        UserError: there is no finished run
    """
    from lightbulb.report.pages import write_pages

    if not (folder / DONE).exists():
        raise UserError("there is no finished run here", where=str(folder), hint="repeat its command: it resumes")
    result = Result.read(folder / DONE)
    write_pages(folder, result)
    return folder / "report.html"


__all__ = [
    "Completion",
    "ask",
    "calibrate_device",
    "dry_run",
    "examine",
    "export",
    "forecast",
    "load_task",
    "measure",
    "predict",
    "render_report",
    "run_recipe",
    "search",
    "serve",
    "shrink",
    "train",
]
