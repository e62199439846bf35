"""The Python API, which the command line calls: a function for each verb."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightbulb.core.errors import ModelError, RunFailure, UserError
from lightbulb.core.events import Message, Stream
from lightbulb.core.figures import Figure
from lightbulb.core.files import read_json
from lightbulb.core.progress import Reporter, waiting
from lightbulb.core.terminal import terminal
from lightbulb.doctor import examine
from lightbulb.energy.meter import Meter
from lightbulb.forecasting.request import forecast
from lightbulb.measuring.measurement import measure
from lightbulb.models.resolve import ModelSource, check_contents, check_family, resolve
from lightbulb.pipeline.run import Run
from lightbulb.predicting.request import predict
from lightbulb.runtimes import check_runs, check_threads
from lightbulb.shrinking.goal import Goal
from lightbulb.shrinking.record import Reference, Result
from lightbulb.tasks.load import load_task
from lightbulb.tasks.task import Task

if TYPE_CHECKING:
    from lightbulb.runtimes import GgufRuntime
    from lightbulb.shrinking.dry_run import DryRun

DONE = "result.json"
TEMPLATE_TOKENS = 256  # that a chat template may add to what is said


@contextmanager
def opened(out: Path, task: Task, goal: Goal, events: Stream) -> Iterator[Run]:
    """A run folder, locked, with its meter."""
    meter = Meter()
    progress = Reporter(events, meter.spent)
    run = Run(out, task, seed=goal.seed, progress=progress, meter=meter, threads=goal.threads, events=events)
    try:
        with run, progress.working(f"run in {out.name}"):
            yield run
    finally:
        meter.close()


def validate_model(model: str, runtime: GgufRuntime = "llamacpp") -> ModelSource:
    """The model's files, of a family that works in `runtime`: known before a run folder is opened for it."""
    from lightbulb.models.loading import spec_of_source

    source = resolve(model)
    check_family(source)
    check_contents(source)
    check_runs(spec_of_source(source), runtime)
    return source


def say_to(events: Stream) -> Callable[[str], None]:
    """Sentences as events."""
    return lambda text: events.emit(Message(text=text))


def introduce(task: Task, say: Callable[[str], None]) -> None:
    """Says what was found in the data and what was understood of them, before the work starts."""
    for told in (*task.findings, task.summary):
        say(f"task: {told}")


def shrink(model: str, task: Task, goal: Goal, out: Path, *, command: str = "", quiet: bool = False) -> Result:
    """Makes (or resumes, or finds done) the smallest student that does what `goal` asks, in the folder `out`.

    Returns the result, whose verdict says what is handed out: a student, a stock file ("not-shrunk") or nothing
    ("not-kept"). Raises RunFailure where nothing has learned the task.
    """
    from lightbulb.report.publish import publish
    from lightbulb.shrinking.job import bind_config, perform

    goal.check_for(task.metric)
    with waiting("reading the model", quiet):
        source = validate_model(model, goal.runtime)
    events = Stream(*terminal(quiet))
    introduce(task, say := say_to(events))
    with opened(out, task, goal, events) as run:
        bind_config(run, source, goal)
        if (out / DONE).exists():
            say(f"{out} is done; nothing to do")
            return Result.read(out / DONE)
        return publish(run.folder, perform(run, source, goal, command=command, say=say))


def dry_run(model: str, task: Task, goal: Goal, *, quiet: bool = False) -> DryRun:
    """Chooses the plan and predicts its size, cost and time; reads the model, writes nothing that stays."""
    from lightbulb.shrinking.dry_run import predict_run

    goal.check_for(task.metric)
    with waiting("reading the model", quiet):
        source = validate_model(model, goal.runtime)
    introduce(task, say := say_to(Stream(*terminal(quiet))))
    with waiting("planning", quiet):
        return predict_run(source, task, goal, say)


def run_recipe(recipe: Path, task: Task, out: Path, *, threads: int, quiet: bool = False) -> dict[str, Any]:
    """Performs a recipe written by hand (or by `shrink`); returns each step's facts by label."""
    from lightbulb.models.resolve import fingerprint
    from lightbulb.pipeline.recipe import Recipe, check_recipe, execute
    from lightbulb.shrinking.prepare import start

    check_threads(threads)
    check_recipe(read := Recipe.read(recipe))
    in_filament = any(s.parameters.get("runtime") == "filament" for s in read.steps)
    with waiting("reading the model", quiet):
        source = validate_model(read.model, "filament" if in_filament else "llamacpp")
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


def absent(folder: Path, file: Path) -> ModelError:
    """Why a run folder has no model to ask."""
    done = folder / DONE
    result = Result.read(done) if done.exists() else None
    if result and result.student is None:
        best = (
            f"its student all the same: lightbulb ask {folder / result.best_student.path}"
            if (result.best_student and result.best_student.path)
            else f"`at_least` or `keep` lower, or a longer `max_time`, with another `out` than {folder}"
        )
        return ModelError(f"this run has no model: {nothing_does(result)}", where=str(folder), hint=best)
    goal, made = folder / "goal.json", sorted(folder.glob("steps/*/model.gguf"))
    if made and goal.exists() and "recipe" in read_json(goal):
        return ModelError("a recipe publishes no model", where=str(folder), hint=f"ask one of its files: {made[-1]}")
    return ModelError(
        "there is no model here yet",
        where=str(file),
        hint="give a finished run folder or a .gguf file; an unfinished run resumes with the same command",
    )


def nothing_does(result: Result) -> str:
    """Why a run hands out nothing, in one line."""
    from lightbulb.report import words

    why = f"{words.verdict_text(result)} {words.reason(result)}"
    return why.replace("\N{NO-BREAK SPACE}", " ").strip()


def file_of(folder: Path) -> Path:
    """The file that a run hands out: model.gguf, or what its result names (a run of before stock files were copied)."""
    file, done = folder / "model.gguf", folder / DONE
    if not file.exists() and done.exists() and (student := Result.read(done).student) and student.path:
        return folder / student.path
    return file


@dataclass(frozen=True)
class Completion:
    """An answer and what it cost. unread: tokens of the question's beginning that the model had no room for. file:
    which one answered. references: what an answer of other files costs, where a run's folder was asked."""

    text: str
    unread: int
    prompt_tokens: int
    output_tokens: int
    cpu_seconds: Figure
    joules: Figure
    file: Path
    references: list[Reference]


def references_of(folder: Path) -> list[Reference]:
    """What else would have answered, by the measurements of the run in `folder`; none where none is finished there."""
    from lightbulb.report import words

    done = folder / DONE
    return words.references(Result.read(done)) if folder.is_dir() and done.exists() else []


def ask(
    model: Path,
    prompt: str,
    *,
    max_tokens: int = 256,
    threads: int | None = None,
    runtime: GgufRuntime = "llamacpp",
    schema: Path | None = None,
    stop: Sequence[str] = (),
    system: str | None = None,
) -> Completion:
    """Asks the GGUF of a run folder (or any GGUF file) one question, by its own chat template. schema: a file with the
    JSON Schema that the answer follows. stop: strings before which it ends. system: the system message."""
    from lightbulb.runtimes import open_gguf
    from lightbulb.runtimes.grammar import parses, read_schema

    file = file_of(model) if model.is_dir() else model
    if not file.exists():
        raise absent(model, file)
    if not prompt.strip():
        raise UserError("the question is empty", hint=f'lightbulb ask {shlex.quote(str(model))} "your question"')
    threads = (os.cpu_count() or 1) if threads is None else threads
    check_threads(threads)
    try:
        form = None if schema is None else read_schema(schema.read_text(encoding="utf-8"), str(schema))
    except (OSError, UnicodeDecodeError) as e:
        raise UserError(f"the schema cannot be read: {e}", where=str(schema)) from e
    turns = [{"role": "user", "content": prompt.strip()}]  # as prompts are learned
    if system is not None:
        turns.insert(0, {"role": "system", "content": system})
    room = sum(len(turn["content"].encode()) for turn in turns) + max_tokens + TEMPLATE_TOKENS
    opened = open_gguf(file, runtime, threads=threads, context=room)
    answers = list(opened.info.metadata.get("lightbulb.answers", []))
    if answers and (form is not None or stop):
        raise UserError("this model chooses one of its answers", where="`schema`, `stop`", hint="leave them out")
    rendered = opened.render(turns)
    asked = len(opened.tokenize(rendered))
    left = opened.context_length - asked
    if not answers and not 0 < max_tokens <= left:
        raise UserError(
            f"no room for an answer of {max_tokens:,} tokens: beside this question of {asked:,} the model has"
            f" {max(0, left):,}",
            where="`max_tokens`" if left > 0 else None,
            hint=f"`max_tokens={min(256, left)}`" if left > 0 else "a shorter question",
        )
    meter = Meter(gpus=False)
    with meter.window("answer") as window:
        if answers:
            said = opened.choose([rendered], answers)
        else:
            said = opened.generate([rendered], max_tokens, schema=form, stop=stop)
    opened.close()
    meter.close()
    if form is not None and not stop and not parses(said.texts[0]):
        raise RunFailure(
            f"the answer was cut after {said.output_tokens:,} tokens, so it does not follow the schema",
            where="`max_tokens`",
            hint=f"`max_tokens={2 * max_tokens}`",
        )
    reading = window.reading
    return Completion(
        without_blanks(said.texts[0]),
        max(0, asked - said.prompt_tokens),
        said.prompt_tokens,
        said.output_tokens,
        reading.cpu_seconds,
        reading.joules,
        file,
        references_of(model),
    )


def without_blanks(answer: str) -> str:
    """An answer as it is shown: of several lines the first keeps its indentation."""
    lines = answer.strip("\r\n").rstrip()
    return lines if "\n" in lines else lines.strip()


def render_report(folder: Path) -> Path:
    """Renders the report and the model card of a finished run anew."""
    from lightbulb.report.pages import write_pages

    if not (folder / DONE).exists():
        raise UserError("there is no finished run here", where=str(folder), hint="repeat its command: it resumes")
    result = Result.read(folder / DONE)
    write_pages(folder, result)
    return folder / "report.html"


__all__ = [
    "Completion",
    "ask",
    "dry_run",
    "examine",
    "forecast",
    "load_task",
    "measure",
    "predict",
    "render_report",
    "run_recipe",
    "shrink",
]
