"""Bits per byte of MatMul-free models and transformers of equal size, at equal tokens and at equal CPU seconds, and
what a token costs to train and to write.

    python benchmarks/matmulfree_quality.py [--out runs/matmulfree] [--text ../shared/data/wikitext2] [--tokens 1.5e5]
        [--sizes 2x256] [--seeds 0 1] [--architectures matmulfree transformer] [--write]

Every row is `lightbulb train` with the same text (and so the same tokenizer, which is learned from it), rows and
steps. Layers x width name a size. Of --rates (in units of each architecture's usual learning rate) the one with the
lowest loss at the end of training, on the first seed, is taken: held-out text chooses nothing. "equal CPU" gives each
architecture the CPU seconds that the dearest one took at equal tokens, where they differ by over a tenth. Writing is
measured in filament, by turns (median, least and most of the windows). The runs are resumable: the same command goes
on. In brackets of scores: the bootstrap interval over held-out documents, of all seeds.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from statistics import median

from sections import commit, put

from lightbulb import api
from lightbulb.core import units
from lightbulb.core.figures import Figure
from lightbulb.core.files import read_json, write_json
from lightbulb.energy.meter import Meter
from lightbulb.energy.processor import processor_name
from lightbulb.pretraining.goal import LEARNING_RATES, TrainingGoal
from lightbulb.pretraining.record import TrainingRecord
from lightbulb.runtimes import open_gguf
from lightbulb.runtimes.exchange import TextScore
from lightbulb.tasks import metrics
from lightbulb.tasks.task import Task

HEADING = "## Models without matrix products"
HEAD = (
    "compared at",
    "architecture",
    "parameters",
    "tokens read",
    "learning rate",
    "bits per byte",
    "CPU s of training",
    "CPU µs a token, training",
    "mJ a token, training (estimated)",
    "CPU µs a token written",
    "mJ a token written (estimated)",
    "file",
)
READ, WRITTEN, CALLS, WINDOWS = 32, 192, 4, 9  # tokens of a prompt, tokens after it, texts of a window
SAME = 0.1  # of CPU seconds: no other training would tell more
Run = tuple[TrainingRecord, Path]
Window = list[float | None]  # CPU seconds and joules of a token written


def trained(
    text: Task, options: argparse.Namespace, name: str, size: str, seed: int, rate: float, tokens: float
) -> Run:
    """One training, or what is there of it."""
    layers, width = map(int, size.split("x"))
    out = options.out / f"{name}-{size}-{seed}-{rate:g}-{tokens:.0f}"
    goal = TrainingGoal(
        architecture=name,
        layers=layers,
        width=width,
        context=options.context,
        vocabulary=options.vocabulary,
        batch_tokens=options.batch_tokens,
        tokens=tokens,
        max_seconds=options.max_seconds,
        learning_rate=rate,
        seed=seed,
        threads=options.threads,
    )
    return api.train(text, goal, out), out


def at_equal_tokens(text: Task, options: argparse.Namespace, name: str, size: str) -> list[Run]:
    """All seeds with the rate that was best on the first of them."""
    rates = [times * LEARNING_RATES[name] for times in options.rates]
    tried = [trained(text, options, name, size, options.seeds[0], rate, options.tokens) for rate in rates]
    best = min(tried, key=lambda run: run[0].train_loss)
    rate = best[0].goal.rate
    return [best, *(trained(text, options, name, size, seed, rate, options.tokens) for seed in options.seeds[1:])]


def at_equal_cpu(
    text: Task, options: argparse.Namespace, size: str, runs: dict[str, list[Run]]
) -> dict[str, list[Run]]:
    """Each architecture with the tokens that the CPU seconds of the dearest one, on the first seed, pay for."""
    spent = {name: cpu_seconds(each[:1]) for name, each in runs.items()}
    found = dict(runs)
    for name in (name for name, each in spent.items() if each < (1 - SAME) * max(spent.values())):
        tokens, rate = options.tokens * max(spent.values()) / spent[name], runs[name][0][0].goal.rate
        found[name] = [trained(text, options, name, size, seed, rate, tokens) for seed in options.seeds]
    return found


def cpu_seconds(runs: list[Run]) -> float:
    """Of the trainings of all seeds."""
    return sum(record.training.cpu_seconds.value or 0.0 for record, _ in runs)


def scores_of(runs: list[Run]) -> list[TextScore]:
    """Of every held-out document, of all seeds."""
    files = [next((out / "steps").glob("score-*")) / "predictions.json" for _, out in runs]
    return [TextScore(*each) for file in files for each in read_json(file)]


def written(options: argparse.Namespace, size: str, runs: dict[str, list[Run]]) -> dict[str, list[Window]]:
    """Windows in which each architecture's file writes tokens in filament, by turns."""
    place = options.out / f"written-{size}-{'-'.join(runs)}.json"
    if not place.exists():
        prompt, meter = list(range(300, 300 + READ)), Meter(gpus=False, threads=options.threads)
        opened = {
            n: open_gguf(each[0][1] / "model.gguf", "filament", threads=options.threads) for n, each in runs.items()
        }
        found: dict[str, list[Window]] = {name: [] for name in runs}
        for turn in range(WINDOWS + 1):  # the first is no window: it draws what later ones do not
            for name, runtime in opened.items():
                with meter.window(name) as window:
                    for _ in range(CALLS):
                        runtime.write_exactly([prompt], WRITTEN)
                if turn:
                    cost = window.reading.cpu_seconds.value, window.reading.joules.value
                    found[name].append([None if each is None else each / CALLS / WRITTEN for each in cost])
        meter.close()
        write_json(place, found)
    return read_json(place)


def row(at: str, runs: list[Run], windows: list[Window]) -> str:
    """A line of the table: one architecture, all seeds."""
    records = [record for record, _ in runs]
    one, tokens = records[0], sum(record.tokens for record in records)
    cells = (
        at,
        one.goal.architecture,
        f"{one.parameters:,}",
        f"{one.tokens:,}",
        f"{one.goal.rate:g}",
        bare(metrics.bits_per_byte(scores_of(runs))),
        ", ".join(f"{record.training.cpu_seconds.value:,.0f}" for record in records),
        f"{1e6 * cpu_seconds(runs) / tokens:,.0f}",
        bare(one.joules_per_token, 1e3),
        middle([cpu for cpu, _ in windows], 1e6),
        middle([joules for _, joules in windows], 1e3),
        units.text(units.counted_bytes(one.gguf_bytes)),
    )
    return f"| {' | '.join(cells)} |"


def bare(figure: Figure | None, times: float = 1.0) -> str:
    """Number and interval without a unit."""
    if figure is None or figure.value is None:
        return "not measured"
    ends = [f"{times * end:.3g}" for end in (figure.low, figure.high) if end is not None]
    return f"{times * figure.value:.3g}" + (f" [{', '.join(ends)}]" if ends else "")


def middle(values: list[float | None], times: float) -> str:
    """Median, least and most."""
    known = sorted(times * value for value in values if value is not None)
    return f"{median(known):.3g} [{known[0]:.3g}, {known[-1]:.3g}]" if known else "not measured"


def compared(at: str, size: str, runs: dict[str, list[Run]]) -> list[str]:
    """The first architecture's bits per byte beside each other's, document by document."""
    first, *others = runs
    told = []
    for name in others:
        kept = metrics.retention(metrics.BITS_PER_BYTE, scores_of(runs[first]), scores_of(runs[name]), [])
        told.append(
            f"* {size}, equal {at}: {name}'s bits per byte / {first}'s {bare(kept)} (below 1: "
            f"the {name} predicts better), paired over documents"
        )
    return told


def section(text: Task, options: argparse.Namespace) -> str:
    """Table and comparisons of every size."""
    rows, told = [], list[str]()
    for size in options.sizes:
        runs = {name: at_equal_tokens(text, options, name, size) for name in options.architectures}
        costs = written(options, size, runs)
        for at, each in (("tokens", runs), ("CPU", at_equal_cpu(text, options, size, runs))):
            if at == "CPU" and each == runs:
                told.append(f"* {size}, equal CPU: CPU seconds at equal tokens are within {SAME:.0%}, so the same rows")
                continue
            rows += [row(f"{size}, equal {at}", of_one, costs[name]) for name, of_one in each.items()]
            told += compared(at, size, each)
    head = f"| {' | '.join(HEAD)} |\n{'|---' * len(HEAD)}|"
    return "\n".join(
        [
            f"`python benchmarks/matmulfree_quality.py {shlex.join(sys.argv[1:])}`, {date.today()}, commit {commit()}, "
            f"{processor_name()}, {options.threads} thread(s); {len(text.train):,} documents, {len(text.test):,} held "
            f"out, seeds {', '.join(map(str, options.seeds))}, the best of {len(options.rates)} learning rates each.",
            "",
            head,
            *rows,
            "",
            *told,
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/matmulfree"))
    parser.add_argument("--text", default="../shared/data/wikitext2")
    parser.add_argument("--completion", help="column with the text")
    parser.add_argument("--documents", type=int, default=4000, help="at most, of the train split")
    parser.add_argument("--held-out", type=int, default=200, help="documents that are scored, at most")
    parser.add_argument("--tokens", type=float, default=1.5e5)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=1024)
    parser.add_argument("--batch-tokens", type=int, default=1024)
    parser.add_argument("--max-seconds", type=float, default=7200.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sizes", nargs="+", default=["2x256"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--rates", nargs="+", type=float, default=[1, 2], help="times the usual ones")
    parser.add_argument("--architectures", nargs="+", default=["matmulfree", "transformer"])
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    options = parser.parse_args()
    text = api.load_task(options.text, kind="text", completion=options.completion)
    text = replace(text, train=text.train[: options.documents], test=text.test[: options.held_out])
    print(found := section(text, options))
    if options.write:
        put("matmulfree quality", found, HEADING)


if __name__ == "__main__":
    main()
