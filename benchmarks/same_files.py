"""Does a recipe still make the same files? Replays one recipe of each task kind at two revisions, and compares hashes.

    python benchmarks/same_files.py --against 7c06a58

A tiny random model learns a tiny task of each kind through every pass that changes weights: teacher, trimming, logits,
pruning, distilling, quantizing, exports. `lightbulb run` performs the recipe in a checkout of the other revision and in
this tree; every exported model.gguf must have one sha256. Exits 1 where one differs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from lightbulb.core.files import sha256_of_file  # noqa: E402
from lightbulb.passes.adapt import Adapt  # noqa: E402
from lightbulb.passes.distill import Distill  # noqa: E402
from lightbulb.passes.export import Export  # noqa: E402
from lightbulb.passes.format_task import FormatTask  # noqa: E402
from lightbulb.passes.prune_depth import PruneDepth  # noqa: E402
from lightbulb.passes.quantize import Quantize  # noqa: E402
from lightbulb.passes.teacher_logits import CacheLogits  # noqa: E402
from lightbulb.passes.trim_vocab import TrimVocab  # noqa: E402
from lightbulb.pipeline.recipe import Recipe, TaskOptions, step  # noqa: E402
from lightbulb.tasks.task import TaskKind  # noqa: E402
from lightbulb.train.loop import Schedule  # noqa: E402

KINDS: tuple[TaskKind, ...] = ("choose", "generate", "text")
# Words that recipes had before: (now, then, what the passes say that know the new one), the newest change first.
OLD_WORDS = (
    ("quant_type = ", "quantization = ", "quant_type: QuantTypeName"),
    ('pass = "format-task"', 'pass = "frame"', '"format-task"'),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", default="7c06a58", help="the other revision")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work, other = Path(folder), Path(folder) / "checkout"
        git("worktree", "add", "--detach", str(other), asked.against)
        try:
            differing = compare(work, other)
        finally:
            git("worktree", "remove", "--force", str(other))
    print(f"\n{differing} files differ from those of {asked.against}" if differing else "\nall files are the same")
    return 1 if differing else 0


def compare(work: Path, other: Path) -> int:
    """Prints a table of all exported files; how many differ."""
    from conftest import ROWS, write_rows
    from tiny import tiny_model

    model, differing = tiny_model(work / "model", layers=4), 0
    print("| task | file | before | after | |\n|---|---|---|---|---|")
    for kind in KINDS:
        data = write_rows(work / f"{kind}.jsonl", ROWS[kind](120))
        written = recipe(model, data, kind).as_toml()
        after = files(work / f"{kind}-after", written, ROOT)
        before = files(work / f"{kind}-before", in_words_of(other, written), other)
        for label in sorted(before | after):
            then, now = before.get(label, "none"), after.get(label, "none")
            print(
                f"| {kind} | {label} | {then[:16]} | {now[:16]} | {'same' if then == now else 'DIFFERS'} |", flush=True
            )
            differing += then != now
    return differing


def recipe(model: Path, data: Path, kind: TaskKind) -> Recipe:
    schedule = Schedule(epochs=2.0, learning_rate=1e-3, batch_size=8)
    short = Schedule(epochs=0.5, learning_rate=2e-4, batch_size=8)
    steps = [
        step("formatted", FormatTask(), "model"),
        step("teacher", Adapt(schedule=schedule, freeze_layers=1), "formatted"),
        step("trimmed", TrimVocab(), "teacher"),
        step("logits", CacheLogits(), "trimmed"),
        step("pruned", PruneDepth(layers=2), "trimmed"),
        step("student", Distill(schedule=schedule), "pruned", logits="logits"),
        step("student-q4_0", Quantize(quant_type="q4_0", embedding="q8_0", recover=short), "student", logits="logits"),
        step("student-q4_0-gguf", Export(quant_type="q4_0", embedding="q8_0"), "student-q4_0"),
        step("student-f16-gguf", Export(quant_type="f16"), "student"),
        step("teacher-q8_0-gguf", Export(quant_type="q8_0", embedding="q8_0"), "teacher"),
    ]
    return Recipe(model=str(model), task=str(data), reading=TaskOptions(kind=kind), step=tuple(steps))


def in_words_of(tree: Path, text: str) -> str:
    """The recipe as the code in `tree` reads it."""
    passes = "".join(file.read_text(encoding="utf-8") for file in (tree / "src/lightbulb/passes").glob("*.py"))
    for now, then, known in OLD_WORDS:
        text = text if known in passes else text.replace(now, then)
    return text


def files(folder: Path, text: str, tree: Path) -> dict[str, str]:
    """Performs a recipe with the code in `tree`: sha256 of each exported file by its step's label."""
    place = folder.with_suffix(".toml")
    place.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "lightbulb", "run", str(place), "--out", str(folder), "--threads", "1"]
    environment = {**os.environ, "PYTHONPATH": str(tree / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(command)}\n{done.stderr[-2000:]}")
    return {p.parent.name.rpartition("-")[0]: sha256_of_file(p) for p in folder.glob("steps/*/model.gguf")}


def git(*words: str) -> None:
    subprocess.run(["git", "-C", str(ROOT), *words], check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
