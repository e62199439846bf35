"""A whole teacher and its student, or a source that is cut before it learns: scores at equal CPU seconds of training.

    python benchmarks/cut_first.py --task home --seconds 90 [--layers 6 12] [--only whole cut-12] [--write]

All begin with the same model, its vocabulary trimmed to the task, and train for 2 x --seconds of CPU time in all, by
the pace that is timed first (reading logits counts):

    whole     the whole model, frozen as `shrink` would, all the time
    teacher   the same for half of the time, then N of its layers for the other half, on the examples alone ("plain")
              or distilled
    cut-N     N layers of the source, cut by block influence, on the examples alone, all the time
    halves    the most of --layers as a cut teacher for half of the time, then the fewest of them for the other half

N is each of --layers.

Scored are --limit validation items in torch. What was done stands in --out and is not done again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sections import commit, put

from lightbulb.core.artifact import Artifact
from lightbulb.core.facts import ScoreFacts, TrainingFacts
from lightbulb.core.files import read_json, write_json
from lightbulb.core.progress import Silent
from lightbulb.energy.meter import Meter
from lightbulb.energy.processor import processor_name
from lightbulb.models.families import keep_layers, layers_of
from lightbulb.models.loading import load_model
from lightbulb.models.resolve import resolve
from lightbulb.passes.adapt import Adapt, freeze
from lightbulb.passes.distill import Distill
from lightbulb.passes.evaluate import Evaluate
from lightbulb.passes.fit import plain_loss
from lightbulb.passes.format_task import FormatTask
from lightbulb.passes.prune_depth import PruneDepth
from lightbulb.passes.teacher_logits import CacheLogits
from lightbulb.passes.trim_vocab import TrimVocab
from lightbulb.pipeline.recipe import START, Execution, Step, step
from lightbulb.pipeline.run import Run
from lightbulb.shrinking.cost_model import CostModel
from lightbulb.shrinking.drafts import TEACHER_MENU
from lightbulb.shrinking.prepare import start, task_stats
from lightbulb.shrinking.steps import STUDENT_RATE, TEACHER_RATE
from lightbulb.shrinking.times import Times
from lightbulb.shrinking.timing import FROZEN_SHARE, Steps
from lightbulb.tasks.load import load_task
from lightbulb.train.data import micro_batches
from lightbulb.train.engine import forward_of
from lightbulb.train.forward import deterministic, kept_memory
from lightbulb.train.loop import Schedule, optimizer_of, take_step

HEADING = "## Cut first"
SHALLOW = (2, 6)  # layers of the cut models that are timed
WORK = 2  # steps that are timed, after one that is not
LOGITS_SHARE = 0.8  # of a student's time: a teacher whose logits take longer to read has none that is distilled


@dataclass(frozen=True)
class Job:
    """What the ways share. costs: in CPU seconds."""

    execution: Execution
    costs: CostModel
    asked: argparse.Namespace

    def spent(self, label: str) -> float:
        """CPU seconds of a step."""
        return self.execution.run.cost(self.execution.made[label]).cpu_seconds.value or 0.0

    def schedule(self, seconds: float, layers: int) -> Schedule:
        """Of so many CPU seconds of a cut model."""
        pace = self.costs.times.student_step(layers) * self.costs.stats.steps(1)
        return Schedule(
            epochs=max(0.01, round(seconds / pace, 2)),
            learning_rate=self.asked.rate,
            batch_size=self.costs.stats.batch_size,
        )

    def whole(self, seconds: float) -> Adapt:
        """The training of a whole teacher that the main job would plan with so many seconds, filled up to them."""
        times, stats = self.costs.times, self.costs.stats
        menu = [(epochs, round(share * times.layers)) for epochs, share in TEACHER_MENU]
        epochs, frozen = next((t for t in menu if self.costs.teacher_training(*t) <= seconds), menu[-1])
        filled = round(seconds / (times.teacher_step(frozen, epochs) * stats.steps(1)), 2)
        schedule = Schedule(epochs=filled, learning_rate=TEACHER_RATE, batch_size=stats.batch_size)
        return Adapt(schedule=schedule, freeze_layers=frozen)

    def logits_seconds(self, teacher: str) -> float:
        """About what reading all examples with a model takes: a third of a training step's products."""
        times, stats = self.costs.times, self.costs.stats
        layers = len(layers_of(load_model(self.execution.made[teacher].path)))
        return stats.steps(1) * times.student_step(layers) / 3

    def perform(self, *steps: Step) -> Artifact:
        return self.execution.perform(*steps)


@dataclass(frozen=True)
class Row:
    """A model that was made. steps: whose CPU seconds count; trained: the one that made it."""

    way: str
    what: str
    steps: tuple[str, ...]

    @property
    def trained(self) -> str:
        return self.steps[-1]


def whole(job: Job) -> Iterator[Row]:
    yield trained(job, "whole", job.whole(2 * job.asked.seconds), "trimmed", "the whole model", "whole")


def teacher(job: Job) -> Iterator[Row]:
    label = "teacher"
    yield trained(job, label, job.whole(job.asked.seconds), "trimmed", "the whole model, half of the time", label)
    for layers in job.asked.layers:
        yield from students(job, "teacher", label, layers)


def cut(layers: int) -> Callable[[Job], Iterator[Row]]:
    def way(job: Job) -> Iterator[Row]:
        source, label = f"source-{layers}", f"cut-{layers}"
        job.perform(step(source, PruneDepth(layers=layers), "trimmed"))
        adapt = Adapt(schedule=job.schedule(2 * job.asked.seconds, layers))
        yield trained(job, label, adapt, source, f"{layers} layers of the source", label)

    return way


def halves(job: Job) -> Iterator[Row]:
    layers, label = max(job.asked.layers), "half"
    job.perform(step(f"source-{layers}", PruneDepth(layers=layers), "trimmed"))
    adapt = Adapt(schedule=job.schedule(job.asked.seconds, layers))
    yield trained(job, label, adapt, f"source-{layers}", f"{layers} layers of the source, half of the time", "halves")
    yield from students(job, "halves", label, min(job.asked.layers))


def students(job: Job, way: str, teacher: str, layers: int) -> Iterator[Row]:
    """Of a teacher that was trained for half of the time. Reading its logits is a part of the other half."""
    source = f"{teacher}-{layers}"
    job.perform(step(source, PruneDepth(layers=layers), teacher))
    plain, schedule = f"{source}-plain", job.schedule(job.asked.seconds, layers)
    job.perform(step(plain, Adapt(schedule=schedule), source))
    yield Row(way, f"{layers} layers of that, plain", (teacher, plain))
    logits = f"{teacher}-logits"
    if job.logits_seconds(teacher) > LOGITS_SHARE * job.asked.seconds:
        return
    job.perform(step(logits, CacheLogits(), teacher))
    distilled, schedule = f"{source}-distilled", job.schedule(job.asked.seconds - job.spent(logits), layers)
    job.perform(step(distilled, Distill(schedule=schedule), source, logits=logits))
    yield Row(way, f"{layers} layers of that, distilled", (teacher, logits, distilled))


def trained(job: Job, label: str, adapt: Adapt, source: str, what: str, way: str) -> Row:
    job.perform(step(label, adapt, source))
    return Row(way, what, (label,))


def ways(asked: argparse.Namespace) -> dict[str, Callable[[Job], Iterator[Row]]]:
    cuts = {f"cut-{layers}": cut(layers) for layers in asked.layers}
    return {"whole": whole, "teacher": teacher, **cuts, "halves": halves}


def times_in_cpu_seconds(execution: Execution, batch_size: int, threads: int) -> Times:
    """What steps take of the processor, other work on the machine left out; kept in the run's folder."""
    place = execution.run.folder / "cpu-times.json"
    if not place.is_file():
        timed = Steps(execution.made["trimmed"], execution.run.task, batch_size, 1.0)
        with deterministic(0, threads), kept_memory():
            full = step_seconds(timed)
            layers = len(layers_of(load_model(timed.formatted.path)))
            frozen = round(FROZEN_SHARE * layers)
            write_json(
                place,
                {
                    "layers": layers,
                    "full_step": full,
                    "frozen_step": (part := min(full, step_seconds(timed, frozen=frozen))),
                    "frozen_again": part,
                    "frozen_layers": frozen,
                    "student_steps": [(n, step_seconds(timed, layers=n)) for n in SHALLOW],
                    **dict.fromkeys(("read_example", "answer_folder", "answer_file", "pass_seconds"), 0.0),
                },
            )
    return Times(**read_json(place))


def step_seconds(timed: Steps, layers: int | None = None, frozen: int = 0) -> float:
    """CPU seconds of an optimizer step of the first `layers` layers."""
    model = load_model(timed.formatted.path)
    if layers:
        keep_layers(model, list(range(layers)))
    freeze(model, frozen, keep_head=False)
    parameters, optimizer = optimizer_of(model, Schedule(epochs=1, learning_rate=1e-9))
    forward, batches = forward_of(model, timed.answer_ids), micro_batches(timed.data, timed.batch)
    model.train()
    for n in range(1 + WORK):
        if n == 1:
            begin = time.process_time()
        take_step(model, batches, forward, plain_loss, optimizer, list(parameters.values()))
    return (time.process_time() - begin) / WORK


def table(job: Job, rows: Iterator[Row]) -> str:
    validation = Evaluate(split="validation", limit=job.asked.limit)
    lines = ["| way | model | epochs of it | CPU s of training, all | score on validation |", "|---|---|--:|--:|---|"]
    for row in rows:
        score = job.perform(step(f"{row.trained}-validation", validation, row.trained)).facts_as(ScoreFacts).score
        epochs = job.execution.made[row.trained].facts_as(TrainingFacts).steps / job.costs.stats.steps(1)
        spent = sum(job.spent(label) for label in row.steps)
        lines.append(f"| {row.way} | {row.what} | {epochs:.2f} | {spent:.0f} | {score} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="home")
    parser.add_argument("--metric", help="of the task, where it is not its own")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--seconds", type=float, default=90.0, help="CPU seconds of half of a way")
    parser.add_argument("--layers", type=int, nargs="+", default=[6, 12], help="of what is cut")
    parser.add_argument("--rate", type=float, default=STUDENT_RATE, help="learning rate of what is cut")
    parser.add_argument("--limit", type=int, default=120, help="validation items")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", help="ways")
    parser.add_argument("--out", type=Path, default=Path("runs/cut_first"))
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    task = load_task(asked.task, metric=asked.metric, seed=asked.seed)
    with Run(
        asked.out / task.name, task, seed=asked.seed, progress=Silent(), meter=Meter(()), threads=asked.threads
    ) as run:
        execution = Execution(run, start(run, resolve(asked.model), print))
        execution.perform(step("formatted", FormatTask(), START), step("trimmed", TrimVocab(), "formatted"))
        stats = task_stats(run.task, execution.made[START])
        run.live.clear()
        times = times_in_cpu_seconds(execution, stats.batch_size, asked.threads)
        job = Job(execution, CostModel(times, stats), asked)
        wanted = [way for name, way in ways(asked).items() if not asked.only or name in asked.only]
        text = table(job, (row for way in wanted for row in way(job)))
    metric = f" --metric {asked.metric}" if asked.metric else ""
    section = (
        f"`python benchmarks/cut_first.py --task {asked.task}{metric} --seconds {asked.seconds:g} --layers "
        f"{' '.join(map(str, asked.layers))}` at {commit()}, {processor_name()}, {asked.threads} "
        f"thread, {min(asked.limit, len(task.validation))} validation items, one run.\n\n{text}"
    )
    print(section)
    if asked.write:
        put(f"cut-first-{task.name}", section, HEADING)


if __name__ == "__main__":
    main()
