"""Would stopping at the best epoch by validation help a plain student? Its score after every epoch, and on test.

    python benchmarks/early_stopping.py --task ../shared/data/banking77 [--layers 1] [--epochs 6] [--write]

The source is cut to its layers by block influence, its vocabulary trimmed, and trained on the labels as `adapt` does,
with a learning rate that comes down to zero; after each epoch it answers the validation split in torch. On test: the
weights after the best epoch by validation, and after the last. What stopping would cost is in the CPU seconds of a
validation beside those of an epoch.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from sections import commit, put
from transformers import PreTrainedModel

from lightbulb.core.artifact import Artifact
from lightbulb.core.progress import Silent
from lightbulb.energy.meter import Meter
from lightbulb.energy.processor import processor_name
from lightbulb.models.loading import load_model
from lightbulb.models.resolve import resolve
from lightbulb.passes.base import Context
from lightbulb.passes.evaluate import Answered, answer, retention_of, score_of
from lightbulb.passes.fit import fit, plain_loss
from lightbulb.passes.format_task import FormatTask
from lightbulb.passes.prune_depth import PruneDepth
from lightbulb.passes.trim_vocab import TrimVocab
from lightbulb.pipeline.recipe import START, Execution, step
from lightbulb.pipeline.run import Run
from lightbulb.runtimes.torch import Torch
from lightbulb.shrinking.prepare import start
from lightbulb.tasks.load import load_task
from lightbulb.tasks.task import SplitName, Task
from lightbulb.train.loop import Schedule

HEADING = "## Early stopping"
Weights = dict[str, torch.Tensor]


def answered(model: PreTrainedModel, student: Artifact, task: Task, split: SplitName) -> Answered:
    """A split, as the model answers it in torch."""
    examples = task.split(split)
    said = answer(Torch(student, model), task, examples, lambda *_: None, together=len(examples)).predictions
    return Answered(tuple(examples), said, score_of(task, examples, said))


@dataclass
class Epochs:
    """Hears of each step of a training, and validates between two epochs.

    Attributes:
        scores: on validation after each epoch
        seconds: CPU time of each epoch, and of each validation
        best: the weights after the best epoch so far
    """

    model: PreTrainedModel
    student: Artifact
    task: Task
    epochs: int
    scores: list[float] = field(default_factory=list)
    seconds: list[tuple[float, float]] = field(default_factory=list)
    best: Weights = field(default_factory=dict)
    begun: float = field(default_factory=time.process_time)

    def __call__(self, done: float) -> None:
        if done * self.epochs < len(self.scores) + 1 - 1e-9:
            return
        trained = time.process_time()
        score = answered(self.model, self.student, self.task, "validation").score.value
        assert score is not None
        self.model.train()
        if score > max(self.scores, default=-math.inf):
            self.best = {name: t.detach().clone() for name, t in self.model.state_dict().items()}
        self.scores.append(score)
        self.seconds.append((trained - self.begun, time.process_time() - trained))
        self.begun = time.process_time()


@dataclass(frozen=True)
class Row:
    seed: int
    epochs: Epochs
    best: Answered
    last: Answered

    def cells(self, task: Task) -> list[str]:
        trained, validated = (sum(part) for part in zip(*self.epochs.seconds, strict=True))
        ratio = retention_of(task, self.best, self.last)
        return [
            str(self.seed),
            " ".join(f"{score:.3f}" for score in self.epochs.scores),
            str(self.best.score),
            str(self.last.score),
            str(ratio),
            f"{trained / len(self.epochs.seconds):.1f}",
            f"{validated / trained:.1%}",
        ]


def train(asked: argparse.Namespace, task: Task, seed: int) -> Row:
    """One training of a cut and trimmed student, validated after each epoch."""
    with Run(
        asked.out / f"seed-{seed}", task, seed=seed, progress=Silent(), meter=Meter(()), threads=asked.threads
    ) as run:
        execution = Execution(run, start(run, resolve(asked.model), print))
        execution.perform(step("formatted", FormatTask(), START))
        execution.perform(step("cut", PruneDepth(layers=asked.layers), "formatted"))
        student = execution.perform(step("trimmed", TrimVocab(), "cut"))
        model = load_model(student.path)
        watch = Epochs(model, student, run.task, asked.epochs)
        schedule = Schedule(epochs=asked.epochs, learning_rate=asked.learning_rate)
        with tempfile.TemporaryDirectory() as scratch:
            context = Context(run.task, seed, Silent(), Path(scratch), threads=asked.threads)
            fit(model, student, schedule, plain_loss, context, "plain", before_step=watch)
        watch(1.0)
        last = answered(model, student, run.task, "test")
        model.load_state_dict(watch.best)
        return Row(seed, watch, answered(model, student, run.task, "test"), last)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="home")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--learning-rate", type=float, default=6e-4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/early_stopping"))
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    asked = parser.parse_args()
    task = load_task(asked.task)
    lines = [
        "| seed | validation after each epoch | test, best epoch | test, last | best / last | CPU s an epoch "
        "| a validation |",
        "|--:|---|---|---|---|--:|--:|",
    ]
    for seed in asked.seeds:
        row = train(asked, task, seed)
        lines.append("| " + " | ".join(row.cells(task)) + " |")
        print(lines[-1], flush=True)
    section = (
        f"`python benchmarks/early_stopping.py --task {asked.task} --layers {asked.layers} --epochs {asked.epochs}` at "
        f"{commit()}, {processor_name()}, {asked.threads} thread; {task.metric}, 95% intervals.\n\n" + "\n".join(lines)
    )
    print(section)
    if asked.write:
        put(f"early-stopping-{task.name}", section, HEADING)


if __name__ == "__main__":
    main()
