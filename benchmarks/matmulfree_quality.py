"""Bits per byte of MatMul-free models, hybrids and transformers of equal size, trained on the same tokens.

    python benchmarks/matmulfree_quality.py [--out runs/matmulfree] [--text ../shared/data/medquad] [--tokens 1e6]
        [--sizes 2x256 4x256 4x512] [--seeds 0 1] [--architectures matmulfree hybrid transformer]

Every row is `lightbulb train` with the same text (and so the same tokenizer, which is learned from it), rows and
steps; learning rates are the defaults of `train`, or those given in --rates, of which the best on the first seed is
taken. Layers x width name a size. The runs are resumable: the same command goes on, and prints the table of what is
done. In brackets: the lowest and highest over seeds, or of one the bootstrap interval over held-out documents.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import replace
from pathlib import Path

from lightbulb import api
from lightbulb.core import units
from lightbulb.energy.processor import threads_held
from lightbulb.pretraining.goal import TrainingGoal
from lightbulb.pretraining.record import TrainingRecord
from lightbulb.tasks.task import Task

HEAD = "| architecture | layers x width | parameters | learning rate | bits per byte | loss | joules | time |"


def trained(
    text: Task, options: argparse.Namespace, name: str, size: str, seed: int, rate: float | None
) -> TrainingRecord:
    """One training, or what is there of it."""
    layers, width = map(int, size.split("x"))
    out = options.out / f"{name}-{size}-{seed}-{rate or 'usual'}"
    goal = TrainingGoal(
        architecture=name,
        layers=layers,
        width=width,
        context=options.context,
        vocabulary=options.vocabulary,
        batch_tokens=options.batch_tokens,
        tokens=options.tokens,
        max_seconds=options.max_seconds,
        learning_rate=rate,
        seed=seed,
        threads=threads_held(),
    )
    return api.train(text, goal, out)


def row(records: list[TrainingRecord]) -> str:
    """A line of the table: one architecture and size, all seeds; joules and seconds are those of the first."""
    one = records[0]
    values = sorted(r.score.value for r in records if r.score.value is not None)
    score = units.text(one.score)
    if len(values) > 1:
        score = f"{sum(values) / len(values):.3f} [{values[0]:.3f}, {values[-1]:.3f}]"
    cells = (
        one.goal.architecture,
        f"{one.layers} x {one.width}",
        f"{one.parameters:,}",
        f"{one.goal.rate:g}",
        score,
        f"{one.train_loss:.3f}",
        units.text(one.training.joules, source=True),
        units.quantity(one.training.seconds, "s"),
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/matmulfree"))
    parser.add_argument("--text", default="../shared/data/medquad")
    parser.add_argument("--documents", type=int, default=4000, help="of the train split")
    parser.add_argument("--held-out", type=int, default=200, help="documents that are scored")
    parser.add_argument("--tokens", type=float, default=1e6)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=2048)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--max-seconds", type=float, default=7200.0)
    parser.add_argument("--sizes", nargs="+", default=["2x256", "4x256", "4x512"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--rates", nargs="+", type=float, default=[])
    parser.add_argument("--architectures", nargs="+", default=["matmulfree", "hybrid", "transformer"])
    options = parser.parse_args()
    text = api.load_task(options.text, kind="text", completion="completion" if "medquad" in options.text else None)
    text = replace(text, train=text.train[: options.documents], test=text.test[: options.held_out])
    print(HEAD + "\n" + "|---" * (HEAD.count("|") - 1) + "|")
    for size, name in itertools.product(options.sizes, options.architectures):
        tried = [trained(text, options, name, size, options.seeds[0], rate) for rate in options.rates or [None]]
        best = min(tried, key=lambda r: r.score.value or float("inf"))
        rest = [trained(text, options, name, size, seed, best.goal.learning_rate) for seed in options.seeds[1:]]
        print(row([best, *rest]), flush=True)


if __name__ == "__main__":
    main()
