"""One training, many students: an elastic teacher against a teacher and a student for each depth, in CPU seconds.

    python benchmarks/elastic.py --out ../runs/elastic [--only separate] [--write]

Both begin with the same model in the task's form, its vocabulary trimmed, cut to --of layers. "separate" adapts it,
caches its logits, cuts it by block influence and distils each student. "elastic" adapts it with the models inside it,
which are cut by order: scored at once, and after a recovery from its logits. Scored are the test items: nats a token,
and the share whose answer is written word for word by greedy decoding. What is done is not done again.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from sections import commit, put

from lightbulb.core.artifact import Artifact
from lightbulb.core.files import read_json, write_json
from lightbulb.core.progress import Silent
from lightbulb.energy.meter import Meter
from lightbulb.models.importing import import_model
from lightbulb.models.loading import load_model, load_tokenizer, parameter_count
from lightbulb.models.resolve import resolve
from lightbulb.ops.losses import cross_entropy
from lightbulb.passes.adapt import Adapt
from lightbulb.passes.adapt_elastic import AdaptElastic
from lightbulb.passes.base import Pass
from lightbulb.passes.distill import Distill
from lightbulb.passes.format_task import FormatTask
from lightbulb.passes.prune_depth import PruneDepth
from lightbulb.passes.prune_width import PruneWidth
from lightbulb.passes.teacher_logits import CacheLogits
from lightbulb.passes.trim_vocab import TrimVocab
from lightbulb.pipeline.run import Run
from lightbulb.tasks.load import load_task
from lightbulb.tasks.metrics import wilson
from lightbulb.tasks.task import Task
from lightbulb.train.data import encode_split, in_order, micro_batches
from lightbulb.train.engine import forward_of
from lightbulb.train.forward import deterministic

HEADING = "## One training, many students"
NUMBERS = ("of", "train", "batch", "teacher", "student", "elastic", "recover", "seed")
HALF = 0.5  # of the feed-forward's channels: the narrow ones


@dataclass(frozen=True)
class Made:
    """A step. source: label of what it is made of; beside: labels by role; scored: whether it is a row."""

    label: str
    pass_: Pass
    source: str
    beside: dict[str, str] = field(default_factory=dict)
    scored: str = ""


def steps(given: argparse.Namespace) -> dict[str, list[Made]]:
    """Both ways, in their order."""

    def schedule(epochs: float, rate: float) -> dict:
        return {"schedule": {"epochs": epochs, "learning_rate": rate, "batch_size": given.batch}}

    least = min(given.depths)
    separate = [
        Made("teacher", Adapt(**schedule(given.teacher, 3e-4)), "start", scored="whole"),
        Made("logits", CacheLogits(), "teacher"),
    ]
    elastic = [
        Made(
            "elastic",
            AdaptElastic(layers=least, feed_forward=HALF, **schedule(given.elastic, 4e-4)),
            "start",
            {},
            "whole",
        ),
        Made("elastic-logits", CacheLogits(), "elastic"),
    ]
    for depth in sorted(given.depths):
        cut, ours = f"cut-{depth}", f"elastic-{depth}"
        separate += [
            Made(cut, PruneDepth(layers=depth), "teacher", scored=f"{depth} layers, not trained"),
            Made(
                f"student-{depth}",
                Distill(**schedule(given.student, 6e-4)),
                cut,
                {"logits": "logits"},
                f"{depth} layers, distilled",
            ),
        ]
        elastic += [
            Made(ours, PruneDepth(layers=depth, by="order"), "elastic", scored=f"{depth} layers, not trained"),
            Made(
                f"{ours}-half",
                PruneWidth(feed_forward=HALF, importance="order"),
                ours,
                scored=f"{depth} layers of half the feed-forward, not trained",
            ),
            Made(
                f"{ours}-recovered",
                Distill(**schedule(given.recover, 3e-4)),
                ours,
                {"logits": "elastic-logits"},
                f"{depth} layers, distilled",
            ),
        ]
    return {"separate": separate, "elastic": elastic}


@torch.no_grad()
def score(made: Artifact, task: Task, threads: int) -> dict:
    """Nats of each test item, its tokens, and whether each of them is the likeliest where all before it are given: then
    greedy decoding writes the answer as it stands."""
    model = load_model(made.path)
    positions = model.config.max_position_embeddings
    data = encode_split(task, "test", load_tokenizer(made.path), made.answer_ids, positions)
    nats, right = [0.0] * len(data), [False] * len(data)
    with deterministic(0, threads):
        forward = forward_of(model)
        for examples in in_order(data, 32):
            for batch in micro_batches(data, examples):
                logits_PV = forward(model, batch).float()
                for row, example in enumerate(batch.examples):
                    mine, wanted = logits_PV[batch.rows == row], batch.targets[batch.rows == row]
                    nats[example] = cross_entropy(mine, wanted).item() * len(wanted)
                    right[example] = bool((mine.argmax(-1) == wanted).all())
    tokens = [len(item.targets) for item in data]
    return {"nats": nats, "tokens": tokens, "right": right, "parameters": parameter_count(model)}


def perform(given: argparse.Namespace, task: Task) -> dict:
    """All steps that were asked for. Rows by way and step: the score, and CPU seconds of every step of a way so far."""
    found_at = given.out / "rows.json"
    found: dict = read_json(found_at) if found_at.is_file() else {}
    folder = given.out / "model"
    if not folder.is_dir():
        import_model(resolve(given.model), folder)
    source = Artifact(path=folder, kind="model", key=given.model, made_by="import", facts={})
    meter = Meter((), threads=given.threads)
    with Run(given.out / "run", task, seed=given.seed, progress=Silent(), meter=meter, threads=given.threads) as run:
        formatted = run.step("formatted", FormatTask(), source)
        trimmed = run.step("trimmed", TrimVocab(), formatted)
        start = run.step("start", PruneDepth(layers=given.of), trimmed)
        for way, every in steps(given).items():
            if given.only and way != given.only:
                continue
            made, rows = {"start": start}, found.setdefault(way, {})
            for s in every:
                inputs = {role: made[label] for role, label in s.beside.items()}
                made[s.label] = run.step(s.label, s.pass_, made[s.source], inputs)
                if rows.get(s.label, {}).get("key") != made[s.label].key:
                    seconds = run.cost(made[s.label]).cpu_seconds.value
                    rows[s.label] = {"key": made[s.label].key, "seconds": seconds, "row": s.scored}
                    if s.scored:
                        rows[s.label] |= score(made[s.label], task, given.threads)
                        print(f"{way}, {s.scored}: {nats(rows[s.label]):.4f} nats, {seconds:.0f} s", flush=True)
                    write_json(found_at, found)
    return found


def nats(row: dict) -> float:
    return sum(row["nats"]) / sum(row["tokens"])


def score_cells(row: dict) -> list[str]:
    """Nats a token, and the share written word for word, each with the interval of 95%."""
    rates = torch.tensor(row["nats"], dtype=torch.float64) - nats(row) * torch.tensor(row["tokens"])
    error = 1.96 * math.sqrt(float((rates**2).sum())) / sum(row["tokens"])
    right, items = sum(row["right"]), len(row["right"])
    low, high = wilson(right, items)
    return [f"{nats(row):.3f} ± {error:.3f}", f"{right / items:.3f} [{low:.3f}, {high:.3f}]"]


def table(found: dict) -> str:
    lines = [
        "| way | model | weights | nats a token | word for word | CPU s of this step |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for way, rows in found.items():
        for row in rows.values():
            if row["row"]:
                cells = [way, row["row"], f"{row['parameters'] / 1e6:.1f} M", *score_cells(row)]
                lines.append("| " + " | ".join([*cells, f"{row['seconds']:.0f}"]) + " |")
    sums = {way: sum(row["seconds"] for row in rows.values()) for way, rows in found.items()}
    trained = {
        way: sum(r["seconds"] for label, r in rows.items() if "logits" not in label and "recovered" not in label)
        for way, rows in found.items()
    }
    parts = [f"{way} {seconds:.0f} CPU s in all" for way, seconds in sums.items()]
    if "elastic" in trained:
        parts.append(f"of which its rows that are not trained need {trained['elastic']:.0f}")
    return "\n".join([*lines, "", "; ".join(parts) + "."])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/elastic"))
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--task", default="home")
    parser.add_argument("--of", type=int, default=15, help="layers that the model is cut to before all else")
    parser.add_argument("--depths", type=int, nargs="+", default=[3, 6, 9])
    parser.add_argument("--train", type=int, default=800, help="examples")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--teacher", type=float, default=3, help="epochs")
    parser.add_argument("--student", type=float, default=3, help="epochs of each")
    parser.add_argument("--elastic", type=float, default=3, help="epochs")
    parser.add_argument("--recover", type=float, default=1, help="epochs of each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("separate", "elastic"))
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    whole = load_task(given.task, seed=given.seed)
    task = replace(whole, train=whole.train[: given.train])
    found = perform(given, task)
    options = " ".join(f"--{name} {getattr(given, name):g}" for name in NUMBERS)
    options += f" --depths {' '.join(map(str, given.depths))}"
    text = (
        f"`python benchmarks/elastic.py --task {given.task} {options}`, {time.strftime('%Y-%m-%d')}, {commit()}: "
        f"{given.of} layers of {given.model}, {len(task.train):,} examples, {len(task.test):,} test items, "
        f"one seed.\n\n" + table(found)
    )
    print(f"\n{text}")
    if given.write:
        put("elastic", text, HEADING)


if __name__ == "__main__":
    main()
