"""What a model costs to use: the API behind `lightbulb measure`."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from lightbulb.core.errors import GoalError
from lightbulb.core.figures import Figure
from lightbulb.core.progress import progress_for
from lightbulb.core.version import __version__
from lightbulb.energy import memory
from lightbulb.energy.family import family_here
from lightbulb.energy.meter import Meter, Reading
from lightbulb.measuring import protocol
from lightbulb.measuring.costs import Costs, MeasuredTrial, ratios
from lightbulb.measuring.protocol import FEWEST_PROMPTS, Subject, idle_watts, measure_blocks
from lightbulb.measuring.record import Idle, MachineState, Measured
from lightbulb.measuring.statistics import cases, median_figure, within_noise
from lightbulb.measuring.workload import MeasuredModel, Workload, measured_model, on_cpu
from lightbulb.runtimes import check_threads

if TYPE_CHECKING:
    from lightbulb.tasks.task import Task

FEWEST_TRIALS = 4
BUSY_THREADS = 0.1  # of others, from which a note says so


def measure(
    model: str,
    *,
    task: Task | None = None,
    runtime: str | None = None,
    batch: int = 1,
    context: int = 128,
    output_tokens: int = 64,
    against: str | None = None,
    trials: int = 10,
    threads: int = 1,
    model_name: str | None = None,
    seed: int = 0,
    serve_metrics: int | None = None,
    quiet: bool = True,
) -> Measured:
    """Measures what a model costs to use, and another interleaved with it.

    Args:
        model: a .gguf file, a run folder, a model folder, a short name, a hub id, or the address of an
            OpenAI-compatible endpoint
        task: whose test prompts are answered; without one the work is prompts of `context` tokens answered with
            `output_tokens` tokens, each model by its own tokenizer
        runtime: by name, for what more than one can run
        batch: prompts side by side
        context: tokens of a prompt, without a task
        output_tokens: tokens of an answer, without a task
        against: another model, as `model`
        trials: windows of each kind, at least 4
        threads: of the processor
        model_name: which of an endpoint's models
        seed: decides prompts and the order of windows
        serve_metrics: the port on 127.0.0.1 where Prometheus finds what has been taken so far, while it is measured
        quiet: without lines and bars on stderr

    Raises:
        UserError: it cannot be measured as asked; nothing was measured
    """
    check_settings(batch, context, trials, threads)
    workload = Workload(task, batch, context, output_tokens, threads, seed)
    names = [model] if against is None else [model, against]
    meter = Meter(gpus=not all(on_cpu(name, runtime) for name in names))
    progress = progress_for(meter.spent, quiet)
    try:
        with ExitStack() as stack:
            stack.enter_context(progress.working(f"measuring {' and '.join(names)}"))
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="lightbulb-")))
            if serve_metrics is not None:
                stack.enter_context(_served(meter, serve_metrics))
            models = [
                measured_model(name, runtime, model_name, workload, meter, folder / str(n))
                for n, name in enumerate(names)
            ]
            with progress.bar("measure", trials) as advance:
                return _measured(models, workload, meter, trials, advance)
    finally:
        meter.close()


@contextmanager
def _served(meter: Meter, port: int) -> Iterator[None]:
    """All that is taken inside, as Prometheus text, while it is taken."""
    from lightbulb.energy.exports import reading_metrics, serve_metrics

    with meter.window("measure") as window, serve_metrics(lambda: reading_metrics([window.so_far()]), port):
        yield


def check_settings(batch: int, context: int, trials: int, threads: int) -> None:
    """Refuses numbers that cannot be measured with.

    Raises:
        GoalError: for the first of them
    """
    check_threads(threads)
    for name, value, least, usual in (
        ("batch", batch, 1, 1),
        ("context", context, 1, 128),
        ("trials", trials, FEWEST_TRIALS, 10),
    ):
        if value < least:
            raise GoalError(f"{value} is too few: at least {least}", where=f"`{name}`", hint=f"`{name}={usual}`")


def _measured(
    models: Sequence[MeasuredModel],
    workload: Workload,
    meter: Meter,
    trials: int,
    advance: Callable[[float, str], None],
) -> Measured:
    peaks = [_peak(t) for t in models]
    before = idle_watts(meter)
    tables = measure_blocks(
        partial(_all_opened, models),
        meter,
        trials=trials,
        seed=workload.seed,
        fewest_prompts=1 if workload.task is None else FEWEST_PROMPTS,
        advance=advance,
    )
    after = idle_watts(meter)
    machine = MachineState(
        family=(family := family_here()).row,
        family_from=str(family),
        threads=workload.threads,
        **_meanwhile([sample.reading for table in tables for sample in table.values()]),
    )
    idle = Idle(before=before, after=after)
    rows = [[MeasuredTrial(t[f"{n} read"], t.get(f"{n} write")) for t in tables] for n in range(len(models))]
    costs = [Costs.of(row, _mean(idle), t.unseen) for row, t in zip(rows, models, strict=True)]
    records = [_record(*parts, workload, idle, machine) for parts in zip(models, rows, costs, peaks, strict=True)]
    if len(records) == 1:
        return records[0]
    found = ratios(*costs)
    noise = [name for name, ratio in found.items() if within_noise(ratio)]
    return records[0].model_copy(update={"against": records[1], "ratios": found, "within_noise": noise})


@contextmanager
def _all_opened(models: Sequence[MeasuredModel]) -> Iterator[list[Subject]]:
    """The subjects of all things, each name led by the number of its thing."""
    with ExitStack() as stack:
        opened = [(n, s) for n, t in enumerate(models) for s in stack.enter_context(t.opened())]
        yield [Subject(f"{n} {s.name}", s.prompts, s.answer, s.batch, s.first_tokens) for n, s in opened]


def _peak(measured_model: MeasuredModel) -> Figure:
    """Memory of opening a thing and answering each kind of prompt once. Finds out early whether it works at all."""
    with measured_model.opened():
        pass  # what its library sets up once is not the model's
    start = memory.begin_peak()
    with measured_model.opened() as subjects:
        for subject in subjects:
            subject.answer(subject.prompts[0])
    if measured_model.runtime == "endpoint":
        return Figure(value=None, unit="B", method="an endpoint: the client does not see its memory")
    return memory.peak_above(start)


def _meanwhile(readings: Sequence[Reading]) -> dict[str, Figure]:
    """What the rest of the machine did during the windows: `others_threads` and `stolen_share`."""
    others: dict[str, Any] = {"unit": "threads", "source": "derived", "scope": "machine"}
    stolen: dict[str, Any] = {"unit": "fraction", "source": "derived", "scope": "machine"}
    machines = [r.machine for r in readings if r.machine is not None]
    if len(machines) < len(readings):
        others |= {"value": None, "method": "this system does not tell (no /proc/stat)"}
        stolen |= {"value": None, "method": others["method"]}
    else:
        busy, stole = (sum(getattr(m, f"{kind}_seconds") for m in machines) for kind in ("busy_cpu", "steal"))
        ours = sum(r.cpu_seconds.value or 0.0 for r in readings)
        seconds = sum(r.wall_seconds for r in readings)
        others |= {"value": max(0.0, busy - ours) / seconds, "method": "/proc/stat over all windows: busy less ours"}
        share = stole / (busy + stole) if busy + stole > 0 else 0.0
        stolen |= {"value": share, "method": "/proc/stat over all windows: of the CPU time that was wanted"}
    return {"others_threads": Figure(**others), "stolen_share": Figure(**stolen)}


def _mean(idle: Idle) -> Figure:
    """Idle watts of both windows, with an interval that holds both."""
    rows = [cases(f) for f in (idle.before, idle.after)]
    if any(row is None for row in rows):
        return idle.before if rows[0] is None else idle.after
    table = np.array(rows)
    ends = {"low": float(table.min()), "high": float(table.max())}
    return idle.before.model_copy(update={"value": float(table[:, 0].mean()), **ends})


def _record(
    measured_model: MeasuredModel,
    trials: Sequence[MeasuredTrial],
    costs: Costs,
    peak: Figure,
    workload: Workload,
    idle: Idle,
    machine: MachineState,
) -> Measured:
    windows = f"{len(trials)} interleaved windows of at least {protocol.WINDOW_SECONDS:g} s"
    others = machine.others_threads.value
    notes = list(measured_model.notes)
    if workload.task is not None:
        notes.append("quality is not measured here: `lightbulb shrink` does that")
    if others is not None and others > BUSY_THREADS and measured_model.runtime != "endpoint":
        notes.append(f"others kept {others:.2g} threads busy meanwhile: repeat on a quiet machine")
    figures = costs.figures(windows)
    return Measured(
        model=measured_model.model,
        runtime=measured_model.runtime,
        task=None if workload.task is None else workload.task.name,
        batch=workload.batch,
        context=workload.context if workload.task is None else None,
        output_tokens=workload.output_tokens if workload.task is None else None,
        trials=len(trials),
        window_seconds=protocol.WINDOW_SECONDS,
        model_bytes=measured_model.bytes,
        **figures,  # type: ignore[arg-type]
        seconds_to_first_token=_first_token(trials, workload.batch, windows),
        peak_bytes=peak,
        idle=idle,
        machine=machine,
        date=datetime.date.today().isoformat(),
        lightbulb=__version__,
        notes=notes,
        roofline=measured_model.roofline(figures["seconds_per_output_token"]) if measured_model.roofline else None,
    )


def _first_token(trials: Sequence[MeasuredTrial], batch: int, windows: str) -> Figure:
    streamed = [t.read.first_token_seconds for t in trials]
    if all(s is not None for s in streamed):
        how = f"median of {windows}; from sending a request to the first piece of text"
        return median_figure([s for s in streamed if s is not None], "s", how, scope="process")
    seconds = [t.read.reading.wall_seconds / t.read.answers * batch for t in trials]
    how = f"median of {windows}; answers of one token, a batch at a time"
    return median_figure(seconds, "s", how, scope="process")
