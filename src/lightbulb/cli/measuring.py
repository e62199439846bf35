"""The verb of the meter: measure."""

from __future__ import annotations

from pathlib import Path

from tyro import conf

from lightbulb.cli.options import Omittable, threads_of
from lightbulb.cli.output import show


def measure(
    model: conf.Positional[str],
    task: Omittable[str] = None,
    runtime: Omittable[str] = None,
    batch: int = 1,
    context: int = 128,
    against: Omittable[str] = None,
    trials: int = 10,
    threads: Omittable[int] = None,
    model_name: Omittable[str] = None,
    out: Omittable[Path] = None,
    serve_metrics: Omittable[int] = None,
    json: bool = False,
) -> None:
    """Measure what a model costs to use: joules and seconds per prompt token, output token and answer.

    Args:
        model: a .gguf file, a run folder, a model folder, a short name, a hub id, or the http(s) address of an
            OpenAI-compatible endpoint
        task: answer this task's test prompts instead of prompts of --context tokens
        runtime: llamacpp for .gguf files and torch for model folders when left out; filament runs .gguf files, too,
            as may those of plugins
        batch: prompts side by side
        context: tokens of each prompt, without a task
        against: another model, measured interleaved with this one; prints the ratios
        trials: windows of each kind; at least 4
        threads: processor threads (default: all that this process may use)
        model_name: which of the endpoint's models
        out: write the record to this JSON file
        serve_metrics: meanwhile, a port on this machine where Prometheus finds joules and seconds so far
        json: one JSON object on stdout
    """
    from lightbulb import api
    from lightbulb.core.files import write_json
    from lightbulb.core.progress import waiting
    from lightbulb.report.measured import render_measured

    with waiting("reading the task"):
        loaded = None if task is None else api.load_task(task)
    measured = api.measure(
        model,
        task=loaded,
        runtime=runtime,
        batch=batch,
        context=context,
        against=against,
        trials=trials,
        threads=threads_of(threads),
        model_name=model_name,
        serve_metrics=serve_metrics,
        quiet=False,
    )
    record = measured.model_dump(mode="json")
    show(record, json, lambda console: console.print(render_measured(measured)))
    if out is not None:
        write_json(out, record)  # last: what was measured has been said, wherever it cannot be written
