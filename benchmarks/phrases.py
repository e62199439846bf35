"""Written answers with and without phrases as single tokens: score, tokens and CPU time an answer, and of training.

    python benchmarks/phrases.py --task home --layers 12 --epochs 2 [--phrases 64 256] [--write]

The same model, cut to the same layers, learns the same examples: with one token for each piece of an answer, and with
one for each phrase that the training answers keep repeating. With phrases an epoch takes fewer tokens, so there is a
row of as many epochs and one of about as many tokens. All files are scored on the same test items and measured side by
side. What was done stands in --out and is not done again.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from sections import commit, put

from lightbulb.core.artifact import Artifact
from lightbulb.core.facts import ScoreFacts
from lightbulb.core.figures import Figure
from lightbulb.core.progress import Silent
from lightbulb.energy.meter import Meter
from lightbulb.energy.processor import processor_name
from lightbulb.measuring.costs import ratios
from lightbulb.models.resolve import resolve
from lightbulb.passes.adapt import Adapt
from lightbulb.passes.evaluate import Evaluate
from lightbulb.passes.export import Export
from lightbulb.passes.format_task import FormatTask
from lightbulb.passes.measure import SOURCE, Measure, costs_of
from lightbulb.passes.prune_depth import PruneDepth
from lightbulb.passes.trim_vocab import TrimVocab
from lightbulb.pipeline.recipe import START, Execution, step
from lightbulb.pipeline.run import Run
from lightbulb.shrinking.prepare import start
from lightbulb.tasks.load import load_task
from lightbulb.tasks.task import Task
from lightbulb.train.loop import Schedule

HEADING = "## Phrases as tokens"
CPU = "cpu_seconds_per_answer"


@dataclass(frozen=True)
class Row:
    """A training: phrases at most, and epochs as a multiple of those asked for."""

    phrases: int
    times: float

    @property
    def label(self) -> str:
        return f"{self.phrases}-{self.times:g}x".replace(".", "_")


def train(execution: Execution, row: Row, asked: argparse.Namespace) -> dict[str, Artifact]:
    """The file of a row, its test score, and the training that made it."""
    form, cut, fitted, file = (f"{name}-{row.label}" for name in ("formatted", "cut", "fitted", "file"))
    schedule = Schedule(epochs=asked.epochs * row.times, learning_rate=asked.learning_rate, batch_size=16)
    steps = {
        "form": step(form, FormatTask(phrases=row.phrases), START),
        "cut": step(cut, PruneDepth(layers=asked.layers), form),
        "trimmed": step(f"trimmed-{row.label}", TrimVocab(), cut),
        "training": step(fitted, Adapt(schedule=schedule), f"trimmed-{row.label}"),
        "file": step(file, Export(quant_type="q8_0", embedding="q8_0"), fitted),
        "score": step(f"test-{row.label}", Evaluate(runtime=asked.runtime, limit=asked.limit), file),
    }
    return {name: execution.perform(s) for name, s in steps.items()}


def tokens_of(task: Task, made: dict[str, Artifact]) -> float:
    """Trained tokens of an epoch, by the step's own form."""
    from lightbulb.models.loading import load_tokenizer
    from lightbulb.train.data import encode_split

    data = encode_split(task, "train", load_tokenizer(made["form"].path), None, 1024, 1000)
    return sum(len(item.ids) for item in data) / len(data)


def table(run: Run, rows: dict[Row, dict[str, Artifact]], measured: Artifact) -> str:
    costs = costs_of(measured)
    plain = next(iter(rows))
    lines = [
        "| phrases | epochs | CPU s of training | score on test | tokens written | CPU an answer | to none |",
        "|--:|--:|--:|---|--:|--:|---|",
    ]
    for row, made in rows.items():
        role = SOURCE if row == plain else row.label
        facts = made["score"].facts_as(ScoreFacts)
        written = (facts.output_tokens or 0) / max(1, facts.num_prompts or 0)
        cpu: Figure = costs[role].figures("")[CPU]
        ratio = "1" if row == plain else str(ratios(costs[role], costs[SOURCE])[CPU])
        seconds = run.cost(made["training"]).cpu_seconds
        phrases = made["form"].facts.get("phrases", 0)
        lines.append(
            f"| {phrases} | {row.times:.2g}x | {seconds:,.0f} | {facts.score} | {written:.1f} | {cpu} | {ratio} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="home")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--learning-rate", type=float, default=6e-4)
    parser.add_argument("--phrases", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--limit", type=int, help="test items; all without it")
    parser.add_argument("--runtime", default="llamacpp")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("runs/phrases"))
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    asked = parser.parse_args()
    task, meter = load_task(asked.task), Meter(())
    with Run(asked.out, task, seed=0, progress=Silent(), meter=meter, threads=asked.threads) as run:
        execution = Execution(run, start(run, resolve(asked.model), print))
        rows: dict[Row, dict[str, Artifact]] = {}

        def add(row: Row) -> None:
            rows[row] = train(execution, row, asked)
            print(row, rows[row]["score"].facts["score"], flush=True)

        add(Row(0, 1.0))
        whole = tokens_of(run.task, rows[Row(0, 1.0)])
        for phrases in asked.phrases:
            add(Row(phrases, 1.0))
            longer = round(whole / tokens_of(run.task, rows[Row(phrases, 1.0)]), 2)
            add(Row(phrases, longer))
        others = {row.label: f"file-{row.label}" for row in list(rows)[1:]}
        measure = Measure(trials=asked.trials, runtime=asked.runtime)
        measured = execution.perform(step("costs", measure, f"file-{Row(0, 1.0).label}", **others))
        text = table(run, rows, measured)
    section = (
        f"`python benchmarks/phrases.py --task {asked.task} --layers {asked.layers} --epochs {asked.epochs:g}` at "
        f"{commit()}, {processor_name()}, {asked.runtime}, {asked.threads} thread, one run.\n\n{text}"
    )
    print(section)
    if asked.write:
        put(f"phrases-{task.name}", section, HEADING)


if __name__ == "__main__":
    main()
