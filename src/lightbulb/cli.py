"""The command `lightbulb`: verbs to API calls, no logic. Importing it imports neither torch nor transformers."""

from __future__ import annotations

import contextlib
import json as json_
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro import conf

from lightbulb.errors import LightbulbError

if TYPE_CHECKING:
    from rich.console import Console

Kind = Literal["choose", "generate", "text"]


def shrink(
    model: conf.Positional[str],
    task: str,
    keep: float = 0.97,
    max_time: str = "1h",
    out: Path | None = None,
    test: str | None = None,
    kind: Kind | None = None,
    metric: str | None = None,
    prompt: str | None = None,
    completion: str | None = None,
    zone: str | None = None,
    seed: int = 0,
    threads: int | None = None,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Make the smallest model that keeps the work: the main job. The same command again resumes.

    Args:
        model: a local folder, a .gguf file, a hub id, or smollm2-135m
        task: a JSONL, CSV or Parquet file, a folder, a datasets id, or home (the built-in task)
        keep: least share of the adapted teacher's score that the student must hold
        max_time: for the whole job, like 45m or 1h30m
        out: the run folder (default: runs/TASK)
        test: test split, when it is a file of its own
        kind: inferred from the data when left out
        metric: accuracy, macro-f1, exact-match, json-match, chrf, rouge-l, bits-per-byte or your own module:function
        prompt: column with the question
        completion: column with the answer
        zone: country or region whose grid feeds this machine, for carbon
        seed: decides everything that is random
        threads: processor threads (default: all that this process may use)
        dry_run: print the recipe with predicted size, cost and time, and stop
        json: one JSON object on stdout
    """
    from lightbulb import api
    from lightbulb.goal import Goal, check_zone
    from lightbulb.report import dry_run as dry
    from lightbulb.report.text import print_summary

    goal = Goal.parse(keep, max_time, seed, available_threads() if threads is None else threads, check_zone(zone))
    loaded = api.load_task(task, test=test, kind=kind, metric=metric, prompt=prompt, completion=completion, seed=seed)
    if dry_run:
        planned = api.dry_run(model, loaded, goal)
        show(dry.as_dict(planned), json, lambda console: console.print(dry.as_text(planned), markup=False))
        return
    folder = out or Path("runs") / loaded.name
    result = api.shrink(model, loaded, goal, folder, command="lightbulb " + shlex.join(sys.argv[1:]), quiet=json)
    show(
        result.model_dump(mode="json"),
        json,
        lambda console: print_summary(result, console, report=folder / "report.html"),
    )


def run(
    recipe: conf.Positional[Path], out: Path, task: str | None = None, threads: int | None = None, json: bool = False
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
    from lightbulb.recipe import Recipe

    loaded = api.load_task(task or Recipe.read(recipe).task)
    facts = api.run_recipe(recipe, loaded, out, threads=available_threads() if threads is None else threads, quiet=json)
    places = "\n".join(f"{label}: {made['path']}" for label, made in facts.items())
    show(facts, json, lambda console: console.print(places))


def ask(
    model: conf.Positional[Path],
    question: conf.Positional[str],
    max_tokens: int = 256,
    threads: int | None = None,
    json: bool = False,
) -> None:
    """Ask a finished run, or any GGUF file, one question; says what the answer cost.

    Args:
        model: a run folder or a .gguf file
        question: what to ask
        max_tokens: longest answer
        threads: processor threads (default: all that this process may use)
        json: one JSON object on stdout
    """
    from lightbulb import api

    asked = api.ask(model, question, max_tokens=max_tokens, threads=available_threads() if threads is None else threads)
    record = {
        "text": asked.text,
        "prompt_tokens": asked.prompt_tokens,
        "output_tokens": asked.output_tokens,
        "cpu_seconds": asked.cpu_seconds.model_dump(),
        "joules": asked.joules.model_dump(),
    }
    show(record, json, lambda console: console.print(asked.text, markup=False))
    if not json:
        print(
            f"{asked.prompt_tokens} tokens read, {asked.output_tokens} written; CPU {asked.cpu_seconds}; "
            f"{asked.joules} ({asked.joules.source})",
            file=sys.stderr,
        )


def report(folder: conf.Positional[Path], json: bool = False) -> None:
    """Render the report and the model card of a finished run anew.

    Args:
        folder: the run folder
        json: one JSON object on stdout
    """
    from lightbulb import api

    page = api.report(folder)
    show({"report": str(page)}, json, lambda console: console.print(str(page)))


VERBS: dict[str, Callable[..., None]] = {"shrink": shrink, "run": run, "ask": ask, "report": report}


def available_threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def show(record: Any, as_json: bool, render: Callable[[Console], Any]) -> None:
    """One JSON object, or what a person reads, on stdout."""
    if as_json:
        print(json_.dumps(record, ensure_ascii=False))
    else:
        from rich.console import Console

        render(Console(highlight=False, soft_wrap=not sys.stdout.isatty()))


def main(arguments: list[str] | None = None) -> int:
    """Entry point: 0 done, 1 failed, 2 asked for something that cannot be done as asked."""
    import tyro

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        tyro.extras.subcommand_cli_from_dict(
            VERBS, args=arguments, prog="lightbulb", description="The model that does your work for the fewest joules."
        )
    except LightbulbError as e:
        with contextlib.suppress(BrokenPipeError):
            print(f"error: {e}", file=sys.stderr)
        return e.exit_code
    except KeyboardInterrupt:
        print("stopped; the same command resumes", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
