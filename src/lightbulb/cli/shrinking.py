"""The verbs of the main job: shrink, run, ask, report."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro import conf

from lightbulb.cli.options import Omittable, threads_of, typed_command
from lightbulb.cli.output import show
from lightbulb.cli.reading import Columns
from lightbulb.core.errors import RunFailure

if TYPE_CHECKING:
    from lightbulb.serving.ask import Completion


@dataclass(frozen=True)
class Reading(Columns):
    """How the task is read.

    Attributes:
        none_label: what the data say instead of an answer where none fits, like oos: with --abstain
    """

    none_label: Omittable[str] = None


@dataclass(frozen=True)
class Student:
    """What the result may be.

    Attributes:
        abstain: give none of the answers where the model is not sure, so that of what is answered at least this share
            is right, like 0.95 (or coverage=0.9: so many of the questions that have an answer get one)
        runtime: what the model will be used in, where every file is scored and measured; llamacpp, filament where it
            is built, or that of a plugin
        kinds: of model that may be tried, like linear (n-grams), slots or decoder (default: all that are installed)
        encoder: a folder with a BERT-shaped encoder to try, or minilm-l6 (default: that, where it is installed)
        elastic: train the teacher together with the students inside it, and cut them from it
    """

    abstain: Omittable[str] = None
    runtime: str = "llamacpp"
    kinds: Omittable[tuple[str, ...]] = None
    encoder: Omittable[str] = None
    elastic: bool = False


def shrink(
    model: conf.Positional[str],
    task: str,
    keep: Omittable[float] = None,
    at_least: Omittable[float] = None,
    max_time: str = "1h",
    out: Omittable[Path] = None,
    zone: Omittable[str] = None,
    seed: int = 0,
    threads: Omittable[int] = None,
    dry_run: bool = False,
    json: bool = False,
    *,
    reading: conf.OmitArgPrefixes[Reading],
    student: conf.OmitArgPrefixes[Student],
) -> None:
    """Make the smallest model that keeps the work: the main job. The same command again resumes.

    Args:
        model: a local folder, a .gguf file, a hub id, or smollm2-135m; to choose from a closed set also an encoder: a
            folder or minilm-l6
        task: a JSONL, CSV or Parquet file, a folder, a datasets id, or home (the built-in task)
        keep: least share of the best score that was trained (the adapted teacher's, or of what beat it) that the result
            must hold (default: 0.97, or nothing with --at-least)
        at_least: score that the result must reach, in the metric's own unit (bits-per-byte: at most)
        max_time: for the whole job, like 45m or 1h30m
        out: the run folder (default: runs/TASK)
        zone: country or region whose grid feeds this machine, for carbon (default: LIGHTBULB_ZONE, or the world's)
        seed: decides everything that is random
        threads: processor threads (default: all that this process may use)
        dry_run: print the recipe with predicted size, cost and time, and stop
        json: one JSON object on stdout
        reading: how the task is read
        student: what the result may be, and where it will run
    """
    from lightbulb import api
    from lightbulb.core.progress import waiting
    from lightbulb.energy.carbon import own_zone
    from lightbulb.report import dry_run as dry
    from lightbulb.report.text import print_summary
    from lightbulb.serving.finding import nothing_does
    from lightbulb.shrinking.goal import Goal

    goal = Goal.parse(keep, max_time, seed, threads_of(threads), own_zone(zone), at_least=at_least, **vars(student))
    with waiting("reading the task"):
        loaded = api.load_task(task, seed=seed, **vars(reading))
    if dry_run:
        planned = api.dry_run(model, loaded, goal)
        show(dry.dry_run_dict(planned), json, lambda console: console.print(dry.dry_run_text(planned)))
        return
    folder = out or Path("runs") / loaded.name
    result = api.shrink(model, loaded, goal, folder, command=typed_command())
    page = folder / "report.html"
    show(result.model_dump(mode="json"), json, lambda console: print_summary(result, console, report=page))
    if result.student is None:
        raise RunFailure(
            nothing_does(result),
            where=str(page),
            hint="ask for less with --at-least or --keep, or give a longer --max-time, and another --out",
        )


def run(
    recipe: conf.Positional[Path],
    out: Path,
    task: Omittable[str] = None,
    threads: Omittable[int] = None,
    json: bool = False,
) -> None:
    """Perform a recipe written by hand.

    Args:
        recipe: a recipe.toml
        out: the run folder
        task: instead of the task that the recipe names
        threads: processor threads (default: all that this process may use)
        json: one JSON object on stdout
    """
    from lightbulb import api
    from lightbulb.core.progress import waiting
    from lightbulb.pipeline.recipe import Recipe

    read = Recipe.read(recipe)
    reading = read.reading.model_dump(exclude={"test"} if task else None)  # the same data at another place
    with waiting("reading the task"):
        loaded = api.load_task(task or read.task, seed=read.seed, **reading)
    facts = api.run_recipe(recipe, loaded, out, threads=threads_of(threads))
    places = "\n".join(f"{label}: {made['path']}" for label, made in facts.items())
    show(facts, json, lambda console: console.print(places, soft_wrap=True))


def ask(
    model: conf.Positional[Path],
    question: conf.Positional[str],
    max_tokens: int = 256,
    threads: Omittable[int] = None,
    runtime: str = "llamacpp",
    schema: Omittable[Path] = None,
    stop: Omittable[tuple[str, ...]] = None,
    system: Omittable[str] = None,
    json: bool = False,
) -> None:
    """Ask a finished run, or any GGUF file, one question; says what the answer cost.

    Args:
        model: a run folder or a .gguf file
        question: what to ask
        max_tokens: longest answer
        threads: processor threads (default: all that this process may use)
        runtime: llamacpp, filament where it is built, or that of a plugin
        schema: a file with a JSON Schema that a written answer must follow
        stop: strings before which a written answer ends
        system: system message, for a model that was taught with one
        json: one JSON object on stdout
    """
    from lightbulb import api
    from lightbulb.core.progress import waiting
    from lightbulb.report import words

    with waiting("answering"):
        answered = api.ask(
            model,
            question,
            max_tokens=max_tokens,
            threads=threads_of(threads),
            runtime=runtime,
            schema=schema,
            stop=stop or (),
            system=system,
        )
    show(_answer_record(answered), json, lambda console: console.print(answered.text))
    if answered.unread:
        print(
            f"the question is too long for this model: the first {answered.unread:,} of its tokens were not read",
            file=sys.stderr,
        )
    if not json:
        print(_cost_of(answered), file=sys.stderr)
        for other in answered.references:
            print(words.reference_text(other), file=sys.stderr)


def _answer_record(answered: Completion) -> dict[str, Any]:
    return {
        "text": answered.text,
        "unread_tokens": answered.unread,
        "prompt_tokens": answered.prompt_tokens,
        "output_tokens": answered.output_tokens,
        "cpu_seconds": answered.cpu_seconds.model_dump(),
        "joules": answered.joules.model_dump(),
        "file": str(answered.file),
        "references": [other.model_dump() for other in answered.references],
        "probability": answered.probability,
        "likeliest": answered.likeliest,
    }


def _cost_of(answered: Completion) -> str:
    """How sure the answer is, and what it took."""
    sure = "" if answered.probability is None else f"probability {answered.probability:.3g}"
    sure += "" if answered.likeliest is None else f" of {answered.likeliest!r}, the likeliest: too low to be given"
    sure += "; " if sure else ""
    return (
        f"{sure}{answered.prompt_tokens} tokens read, {answered.output_tokens} written; CPU {answered.cpu_seconds}; "
        f"{answered.joules} ({answered.joules.source})"
    )


def report(folder: conf.Positional[Path], json: bool = False) -> None:
    """Render the report and the model card of a finished run anew.

    Args:
        folder: the run folder
        json: one JSON object on stdout
    """
    from lightbulb import api
    from lightbulb.core.progress import waiting

    with waiting("rendering the report"):
        page = api.render_report(folder)
    show({"report": str(page)}, json, lambda console: console.print(str(page), soft_wrap=True))
