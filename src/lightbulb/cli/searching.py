"""The verb search: the front of quality against joules, without making the end."""

from __future__ import annotations

from pathlib import Path

from tyro import conf

from lightbulb.cli.options import Omittable, typed_command
from lightbulb.cli.output import show
from lightbulb.cli.reading import Columns
from lightbulb.core.errors import RunFailure
from lightbulb.energy.processor import threads_held


def search(
    model: conf.Positional[str],
    task: str,
    keep: Omittable[float] = None,
    at_least: Omittable[float] = None,
    max_joules_per_answer: Omittable[float] = None,
    max_bytes: Omittable[str] = None,
    max_latency: Omittable[float] = None,
    max_time: str = "1h",
    out: Omittable[Path] = None,
    candidates: int = 9,
    workers: int = 1,
    costs: Omittable[Path] = None,
    parent: Omittable[Path] = None,
    seed: int = 0,
    threads: Omittable[int] = None,
    runtime: Omittable[str] = None,
    json: bool = False,
    *,
    reading: conf.OmitArgPrefixes[Columns],
) -> None:
    """Show what each share of quality costs: students cut layer by layer, trained shortly, priced in joules. The same
    command again resumes.

    Args:
        model: a local folder, a .gguf file, a hub id, or smollm2-135m
        task: a JSONL, CSV or Parquet file, a folder, a datasets id, or home (the built-in task)
        keep: least share of the parent's score: the cheapest that keeps it is chosen (default: 0.97, or nothing where a
            score or a limit is asked for)
        at_least: score that must be reached, in the metric's own unit (bits-per-byte: at most)
        max_joules_per_answer: limit of an answer's energy; alone it asks for the best student within it
        max_bytes: limit of the file's size, like 20MB
        max_latency: limit of an answer's seconds
        max_time: for the whole search, like 45m or 1h30m
        out: the run folder (default: runs/TASK-search)
        candidates: students that are tried at first; a third of them goes on, for three times as long
        workers: processes that try students side by side, each with --threads
        costs: a file of cost tables, so that another search need not measure them again
        parent: a recipe.toml whose last step makes the model that is cut (default: the adapted teacher of shrink)
        seed: decides everything that is random
        threads: processor threads (default: all that this process may use, shared among the workers)
        runtime: what the files run in (default: filament where it is built, else llamacpp)
        json: one JSON object on stdout
        reading: how the task is read
    """
    from lightbulb import api
    from lightbulb.core.progress import waiting
    from lightbulb.report.searched import render_searched
    from lightbulb.searching.goal import SearchGoal

    goal = SearchGoal.parse(
        keep=keep,
        at_least=at_least,
        max_joules_per_answer=max_joules_per_answer,
        max_bytes=max_bytes,
        max_latency=max_latency,
        max_time=max_time,
        seed=seed,
        threads=max(1, threads_held() // max(1, workers)) if threads is None else threads,
        runtime=runtime,
        workers=workers,
        candidates=candidates,
    )
    with waiting("reading the task"):
        loaded = api.load_task(task, seed=seed, **vars(reading))
    folder = out or Path("runs") / f"{loaded.name}-search"
    command = typed_command()
    record = api.search(model, loaded, goal, folder, costs=costs, parent=parent, command=command)
    show(record.model_dump(mode="json"), json, lambda console: console.print(render_searched(record, folder)))
    if record.chosen is None or not record.reached:
        raise RunFailure(
            "no student does what was asked",
            where=str(folder / "search.html"),
            hint="ask for less with --at-least or --keep, or give a longer --max-time, and another --out",
        )
