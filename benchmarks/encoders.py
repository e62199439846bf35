"""Encoders on tasks with a closed set of answers: frozen with a linear head, and their first layers, fine-tuned.

    python benchmarks/encoders.py ../shared/data/banking77 frozen frozen:5 2:5:5e-4

A row is `frozen`, or `layers:epochs:learning rate`; `:n` after it keeps the first n examples of each answer in train.
Each is a run with one thread, whose finished steps are not made again. What a row took is the CPU seconds of making the
labelled encoder from the imported one.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

from lightbulb.core.artifact import Artifact
from lightbulb.core.figures import Figure
from lightbulb.core.progress import Silent
from lightbulb.energy.meter import Meter
from lightbulb.models.kinds.encoder import Encoder
from lightbulb.passes.adapt_encoder import AdaptEncoder
from lightbulb.passes.base import Pass
from lightbulb.passes.classifiers import texts_and_labels
from lightbulb.passes.fit_head import FitHead
from lightbulb.passes.import_encoder import ImportEncoder
from lightbulb.pipeline.run import Run
from lightbulb.tasks import metrics
from lightbulb.tasks.load import load_task
from lightbulb.tasks.task import Example, SplitName, Task
from lightbulb.train.loop import Schedule


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task")
    parser.add_argument("rows", nargs="+")
    parser.add_argument("--encoder", default="minilm-l6")
    parser.add_argument("--out", type=Path, default=Path("runs/encoders"))
    given = parser.parse_args()
    whole = load_task(given.task)
    print(f"{whole.summary}\n\n| row | train | making, CPU time | validation | test |\n" + "|---" * 5 + "|", flush=True)
    for row in given.rows:
        pass_, few = pass_of(row)
        task = whole if few is None else replace(whole, train=first_of_each(whole, few))
        meter = Meter((), threads=1)
        folder = given.out / whole.name / row.replace(":", "-")
        with Run(folder, task, seed=0, progress=Silent(), meter=meter, threads=1) as run:
            encoder = run.step("encoder", ImportEncoder(encoder=given.encoder), run.keep_task())
            made = run.step("labelled", pass_, encoder)
            seconds = run.cost(made).cpu_seconds
        scores = (str(scored(made, task, split)) for split in ("validation", "test"))
        print(f"| {row} | {len(task.train):,} | {seconds} | {' | '.join(scores)} |", flush=True)


def pass_of(row: str) -> tuple[Pass, int | None]:
    """What makes a row, and how many examples of each answer it may see."""
    first, *rest = row.split(":")
    if first == "frozen":
        return FitHead(), int(rest[0]) if rest else None
    epochs, rate, *few = rest
    schedule = Schedule(epochs=float(epochs), learning_rate=float(rate))
    return AdaptEncoder(layers=int(first), schedule=schedule), int(few[0]) if few else None


def first_of_each(task: Task, few: int) -> tuple[Example, ...]:
    """The first examples of each answer in train."""
    seen: Counter[str] = Counter()
    kept: list[Example] = []
    for example in task.train:
        seen[example.completion] += 1
        if seen[example.completion] <= few:
            kept.append(example)
    return tuple(kept)


def scored(made: Artifact, task: Task, split: SplitName) -> Figure:
    """The task's metric on a split."""
    texts, labels = texts_and_labels(task, split)
    chosen = Encoder.read(made.path).log_probs(texts).argmax(1)
    return metrics.score(task.metric, [task.answers[i] for i in chosen], [task.answers[i] for i in labels])


if __name__ == "__main__":
    main()
