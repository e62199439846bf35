"""What a transformer of a few layers keeps of a task when its weights become ternary, by the tokens that it takes,
beside q4_0 of the same dense model.

    python benchmarks/ternarize.py --task ../shared/data/banking77 [--answers 20] [--layers 2] [--out runs/ternarize]

The first layers of SmolLM2-135M, made 512 wide so that rows are whole ternary blocks, are trained on the task: the
dense self, whose logits the others hear. q4_0 is rounded as it is, or after a recovery on rounded weights. Scores are
of the exported files in filament, on the test split, with their bootstrap intervals; CPU time is of one answer there.
Finished steps are found again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from lightbulb import api
from lightbulb.core import units
from lightbulb.core.artifact import Artifact
from lightbulb.core.events import Stream
from lightbulb.core.facts import ScoreFacts
from lightbulb.core.files import sha256_of
from lightbulb.core.terminal import terminal
from lightbulb.passes import pass_class
from lightbulb.passes.base import Pass
from lightbulb.pipeline.run import Run
from lightbulb.runtimes import open_gguf
from lightbulb.shrinking.goal import Goal
from lightbulb.tasks.task import Task
from lightbulb.train.data import encode_split
from lightbulb.train.loop import Schedule

MODEL = "smollm2-135m"
WIDTH, GROUPS, HEADS = 2 / 3, 2 / 3, 2 / 3  # of 576 columns 2 of 3 blocks; of 9 heads of 64 on 3 of keys 4 on 2
ENDS = "q8_0"
COLUMNS = ("model", "tokens", "training joules", "score", "kept", "file", "CPU ms an answer")


def few_answers(folder: Path, out: Path, answers: int, examples: int) -> Task:
    """The task of a folder with its first answers only, and with so many training examples in all."""
    splits = {name: [json.loads(line) for line in (folder / f"{name}.jsonl").open()] for name in ("train", "test")}
    kept = sorted({row["completion"] for row in splits["train"]})[:answers]
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in splits.items():
        rows = [row for row in rows if row["completion"] in kept]
        rows = rows[:: max(1, len(rows) // examples)] if name == "train" else rows
        (out / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return api.load_task(str(out))


def begin(run: Run, layers: int) -> Artifact:
    """The first layers of the model."""

    def work(out: Path, scratch: Path, progress: Any) -> dict[str, Any]:
        from lightbulb.models.families import keep_layers
        from lightbulb.models.importing import import_model
        from lightbulb.models.loading import load_model, save_model
        from lightbulb.models.resolve import resolve

        facts = import_model(resolve(MODEL), out)
        model = load_model(out)
        keep_layers(model, range(layers))
        save_model(model, out)
        return facts | {"layers": layers}

    return run.begin("start", sha256_of("ternarize", MODEL, layers), work)


def dense_self(run: Run, options: argparse.Namespace) -> Artifact:
    """The narrow model of a few layers, trained on the task."""
    made = begin(run, options.layers)
    schedule = Schedule(epochs=options.epochs, learning_rate=1e-3, batch_size=16)
    for label, name, parameters in (
        ("formatted", "format-task", {}),
        ("trimmed", "trim-vocab", {"size": 2048}),
        ("narrow", "prune-width", {"width": WIDTH, "groups": GROUPS, "heads": HEADS, "multiple": 256}),
        ("dense", "adapt", {"schedule": schedule}),
    ):
        made = run.step(label, pass_class(name)(**parameters), made)
    return made


def milliseconds(file: Path, task: Task) -> float:
    """CPU time of an answer in filament, the least of three times 30."""
    runtime = open_gguf(file, "filament", threads=1)
    prompts = [e.prompt for e in task.test[:30]]
    found = []
    for _ in range(3):
        begin = time.process_time()
        for prompt in prompts:
            runtime.answer([prompt], task.answers)
        found.append((time.process_time() - begin) / len(prompts))
    runtime.close()
    return 1e3 * min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", type=Path, default=Path("../shared/data/banking77"), help="folder of JSONL")
    parser.add_argument("--answers", type=int, default=20)
    parser.add_argument("--examples", type=int, default=1500, help="of the train split")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--epochs", type=float, default=6, help="of the dense self")
    parser.add_argument("--of", nargs="+", type=float, default=[4, 12], help="epochs that ternary models take")
    parser.add_argument("--rates", nargs="+", type=float, default=[1e-3])
    parser.add_argument("--out", type=Path, default=Path("runs/ternarize"))
    options = parser.parse_args()
    task = few_answers(options.task, options.out / "task", options.answers, options.examples)
    with api.opened(options.out / "run", task, Goal(threads=1), Stream(*terminal(False))) as run:
        dense = dense_self(run, options)
        heard = {"logits": run.step("logits", pass_class("teacher-logits")(top_k=options.answers), dense)}
        tokens = sum(len(e.ids) for e in tokens_of(dense, task))
        print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|", flush=True)
        best = None
        for name, epochs, pass_, types in candidates(options):
            label = name.replace(" ", "-").replace(",", "").replace("/", "-")
            made = run.step(label, pass_, dense, heard if epochs else {}) if pass_ else dense
            file = run.step(f"{label}-file", pass_class("export")(**types), made)
            scored = run.step(f"{label}-score", pass_class("evaluate")(runtime="filament"), file)
            score, cost = scored.facts_as(ScoreFacts).score, run.cost(made)
            best = best or score.value
            cells = (
                name,
                f"{epochs * tokens:,.0f}" if epochs else "0",
                units.text(cost.joules, source=True) if epochs else "0",
                units.text(score),
                f"{100 * (score.value or 0) / (best or 1):.1f}%",
                units.text(units.counted_bytes(file.bytes)),
                f"{milliseconds(file.gguf, task):.3f}",
            )
            print(f"| {' | '.join(cells)} |", flush=True)


def tokens_of(dense: Artifact, task: Task) -> list[Any]:
    """The train split as the model reads it."""
    from lightbulb.models.loading import load_tokenizer

    return encode_split(task, "train", load_tokenizer(dense.path), dense.answer_ids, 1024)


def candidates(options: argparse.Namespace) -> list[tuple[str, float, Pass | None, dict[str, str]]]:
    """(name, epochs, pass on the dense self, parameters of the export)."""
    quantize, ternarize = pass_class("quantize"), pass_class("ternarize")
    ternary = {"quant_type": "tq2_0", "embedding": ENDS}
    few = options.of[0]

    def schedule(epochs: float, rate: float) -> Schedule:
        return Schedule(epochs=epochs, learning_rate=rate, batch_size=16)

    found: list[tuple[str, float, Pass | None, dict[str, str]]] = [
        ("dense, f16", 0, None, {"quant_type": "f16"}),
        ("q4_0", 0, quantize(embedding=ENDS), {}),
        (f"q4_0, recovered {few:g}", few, quantize(embedding=ENDS, recover=schedule(few, 3e-4)), {}),
        (f"ternary at once {few:g}", few, ternarize(schedule=schedule(few, options.rates[0]), ramp=0.0), ternary),
    ]
    for epochs in options.of:
        for rate in options.rates:
            found.append((f"ternary {epochs:g}, {rate:g}", epochs, ternarize(schedule=schedule(epochs, rate)), ternary))
    return found


if __name__ == "__main__":
    main()
