"""Students of few layers with attention and with recurrent mixers: same cut, same examples, same optimizer steps.

    python benchmarks/mixers.py --task home --layers 1 --epochs 2 --out runs/mixers

Without a teacher, so that the mixers are all that differs. Prints of each student its score on validation from its file
in filament, the CPU seconds of its training and of an answer (loading included), and how many tokens it was trained on.
What was made in --out is found there again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from lightbulb.core.facts import MixerFacts, ScoreFacts, TrainingFacts  # noqa: E402
from lightbulb.core.progress import Silent  # noqa: E402
from lightbulb.energy.meter import Meter  # noqa: E402
from lightbulb.models.loading import load_tokenizer  # noqa: E402
from lightbulb.models.resolve import resolve  # noqa: E402
from lightbulb.passes.adapt import Adapt  # noqa: E402
from lightbulb.passes.evaluate import Evaluate  # noqa: E402
from lightbulb.passes.export import Export  # noqa: E402
from lightbulb.passes.format_task import FormatTask  # noqa: E402
from lightbulb.passes.prune_depth import PruneDepth  # noqa: E402
from lightbulb.passes.replace_mixer import ReplaceMixer  # noqa: E402
from lightbulb.passes.trim_vocab import TrimVocab  # noqa: E402
from lightbulb.pipeline.recipe import Execution, Step, step  # noqa: E402
from lightbulb.pipeline.run import Run  # noqa: E402
from lightbulb.shrinking.prepare import start  # noqa: E402
from lightbulb.tasks.load import load_task  # noqa: E402
from lightbulb.train.data import encode_split  # noqa: E402
from lightbulb.train.loop import Schedule  # noqa: E402

MIXERS = ("attention", "mlgru")


def main() -> int:
    asked = arguments()
    meter = Meter((), threads=asked.threads)
    task = load_task(asked.task)
    with Run(asked.out, task, seed=0, progress=Silent(), meter=meter, threads=asked.threads) as run:
        execution = Execution(run, start(run, resolve(asked.model), print))
        execution.perform(*cut(asked.layers))
        lines = [student(execution, mixer, asked) for mixer in asked.mixers]
    print("| student | explained before training | tokens | training | loss at its end | score | CPU ms an answer |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    print("\n".join(lines))
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--task", default="home")
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=6e-4)
    parser.add_argument("--quant-type", default="q8_0")
    parser.add_argument("--mixers", nargs="+", choices=MIXERS, default=MIXERS)
    parser.add_argument("--limit", type=int, default=None, help="validation items that are answered")
    parser.add_argument("--out", type=Path, default=Path("runs/mixers"))
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def cut(layers: int) -> list[Step]:
    return [
        step("formatted", FormatTask(), "model"),
        step("trimmed", TrimVocab(), "formatted"),
        step(f"attention-{layers}", PruneDepth(layers=layers), "trimmed"),
        step(f"mlgru-{layers}", ReplaceMixer(), f"attention-{layers}"),
    ]


def student(execution: Execution, mixer: str, asked: argparse.Namespace) -> str:
    """A student's line of the table."""
    run, quant_type, before = execution.run, asked.quant_type, f"{mixer}-{asked.layers}"
    schedule = Schedule(epochs=asked.epochs, learning_rate=asked.learning_rate, batch_size=asked.batch_size)
    label = f"{before}-{asked.epochs:g}-{asked.learning_rate:g}"
    trained = execution.perform(step(label, Adapt(schedule=schedule), before))
    scored = execution.perform(
        step(f"{label}-gguf", Export(quant_type=quant_type, embedding=quant_type), label),
        step(
            f"{label}-validation", Evaluate(split="validation", runtime="filament", limit=asked.limit), f"{label}-gguf"
        ),
    )
    source = execution.made[before]
    data = encode_split(run.task, "train", load_tokenizer(source.path), source.answer_ids, 1024)
    tokens = asked.epochs * sum(len(item.ids) - 1 for item in data)
    facts = scored.facts_as(ScoreFacts)
    explained = source.facts_as(MixerFacts).explained if mixer == "mlgru" else []
    training, answers = run.cost(trained).cpu_seconds, run.cost(scored).cpu_seconds.value or 0.0
    shown = ", ".join(f"{share:.2f}" for share in explained) or "-"
    learned = trained.facts_as(TrainingFacts)
    each = f"{1000 * answers / facts.num_prompts:.2f}"
    cells = [
        f"{asked.layers} x {mixer}, {quant_type}",
        shown,
        f"{tokens:,.0f} in {learned.steps:,} steps",
        training,
        f"{learned.train_loss:.3f}",
        facts.score,
    ]
    return " | ".join(["", *map(str, cells), each, ""]).strip()


if __name__ == "__main__":
    raise SystemExit(main())
