"""What an answer of a student of one layer costs, out of a closed set: filament beside llama.cpp on the same file.

    python benchmarks/one_layer.py [--file runs/banking77/model.gguf] [--trials 9] [--write]

Without --file SmolLM2-135M is cut to its most influential layer, its vocabulary trimmed to banking77, and written as
q4_0, the head as q8_0: the shape of the student that `shrink` makes, not trained, because what an answer costs does not
depend on the weights. Each runtime is a process of its own that opens the file once. In a trial both, in random order,
answer the same test questions, a call each, tokenizer and Python included, on one thread; llama.cpp comes as xllamacpp
and has a bias on the answers' tokens, as one would have it choose.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from kinds import DATA, run_lightbulb
from sections import commit, put

from filament import kernels, version
from lightbulb.core import units
from lightbulb.energy.family import family_here
from lightbulb.energy.processor import processor_name
from lightbulb.formats.gguf.header import read_header
from lightbulb.models.form import turns_of
from lightbulb.runtimes import open_gguf
from lightbulb.tasks.load import load_task

HEADING = "## An answer of one layer"
RUNTIMES = ("filament", "llamacpp")
MOST = 0.4e-3  # CPU seconds of an answer that were asked for
RECIPE = """model = "{model}"
task = "{task}"

[[step]]
label = "formatted"
pass = "format-task"

[[step]]
label = "trimmed"
pass = "trim-vocab"
from = "formatted"

[[step]]
label = "cut"
pass = "prune-depth"
from = "trimmed"

[step.parameters]
layers = 1

[[step]]
label = "file"
pass = "export"
from = "cut"

[step.parameters]
quant_type = "q4_0"
embedding = "q8_0"
"""


@dataclass(frozen=True)
class Timed:
    """Seconds of an answer, and what was answered. tokens: read, of an answer."""

    cpu: float
    wall: float
    tokens: float
    answers: list[str]


def main() -> int:
    asked = arguments()
    if asked.worker:
        return work(*asked.worker, asked.task, asked.questions)
    with tempfile.TemporaryDirectory() as folder:
        path = asked.file or untrained(asked, Path(folder))
        found = measure(path, asked)
        text = render(path, found, asked)
    print(text)
    if asked.write:
        put("one-layer", text, HEADING)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, help="a student of one layer for the task; without it one is cut")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--task", default=str(DATA / "banking77"))
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--trials", type=int, default=9)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def untrained(asked: argparse.Namespace, folder: Path) -> Path:
    """The file of a student that was cut, and not trained."""
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE.format(model=asked.model, task=Path(asked.task).resolve()), encoding="utf-8")
    run_lightbulb("run", str(recipe), "--out", str(folder / "run"))
    return next((folder / "run").glob("steps/file-*/model.gguf"))


def work(runtime: str, path: str, source: str, questions: int) -> int:
    """Answers all questions for each line that it reads, and says what that took."""
    task = load_task(source, seed=0)
    opened = open_gguf(Path(path), runtime, threads=1, context=512)
    prompts = [opened.render(turns_of(e)) for e in random.Random(0).sample(task.test, questions)]
    for _ in sys.stdin:
        cpu, wall = time.process_time(), time.perf_counter()
        made = [opened.answer([prompt], task.answers) for prompt in prompts]
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        tokens = sum(m.prompt_tokens for m in made) / questions
        print(json.dumps([cpu / questions, wall / questions, tokens, [m.texts[0] for m in made]]), flush=True)
    opened.close()
    return 0


def measure(path: Path, asked: argparse.Namespace) -> dict[str, list[Timed]]:
    """By runtime, trial by trial; what comes first warms up and does not count."""
    command = [sys.executable, __file__, "--task", asked.task, "--questions", str(asked.questions), "--worker"]
    workers = {
        r: subprocess.Popen([*command, r, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for r in RUNTIMES
    }
    found: dict[str, list[Timed]] = {r: [] for r in RUNTIMES}
    for _ in range(asked.trials + 1):
        for runtime in random.sample(RUNTIMES, len(RUNTIMES)):
            found[runtime].append(ask(workers[runtime]))
    for worker in workers.values():
        assert worker.stdin
        worker.stdin.close()
        worker.wait()
    return {r: timed[1:] for r, timed in found.items()}


def ask(worker: subprocess.Popen[str]) -> Timed:
    assert worker.stdin and worker.stdout
    worker.stdin.write("\n")
    worker.stdin.flush()
    return Timed(*json.loads(worker.stdout.readline()))


def render(path: Path, found: dict[str, list[Timed]], asked: argparse.Namespace) -> str:
    ours, theirs = (found[r] for r in RUNTIMES)
    fields: dict[str, Any] = read_header(path).fields
    same = statistics.mean(a == b for a, b in zip(ours[0].answers, theirs[0].answers, strict=True))
    costs = sorted(t.cpu for t in ours)
    within = sum(cost <= MOST for cost in costs)
    return "\n".join(
        [
            f"`python benchmarks/one_layer.py {shlex.join(sys.argv[1:])}`, {date.today()}, commit {commit()}, "
            f"{processor_name()} ({family_here()}); kernels {kernels()}; xllamacpp {version('xllamacpp')}. "
            f"{'The file given' if asked.file else 'Cut, not trained'}: {fields['llama.block_count']} layer, width "
            f"{fields['llama.embedding_length']}, {len(fields['tokenizer.ggml.tokens']):,} tokens, "
            f"{units.quantity(path.stat().st_size, 'B')}; {asked.questions} questions of {ours[0].tokens:.1f} tokens, "
            f"one thread; medians of {asked.trials} trials (least to most).",
            "",
            "| runtime | CPU an answer | by the clock | CPU, times filament |",
            "|---|--:|--:|--:|",
            row("filament", ours, ours),
            row("llama.cpp (xllamacpp)", theirs, ours),
            "",
            f"* at most {units.quantity(MOST, 's')} was asked for: in {within} of {len(costs)} trials",
            f"* the same answer to {same:.1%} of the questions",
        ]
    )


def row(name: str, timed: list[Timed], ours: list[Timed]) -> str:
    ratios = [f"{r:.3g}" for r in spread([a.cpu / b.cpu for a, b in zip(timed, ours, strict=True)])]
    cells = [told([t.cpu for t in timed]), told([t.wall for t in timed])]
    cells.append("1" if timed is ours else f"{ratios[0]} ({ratios[1]} to {ratios[2]})")
    return f"| {' | '.join([name, *cells])} |"


def told(seconds: list[float]) -> str:
    middle, least, most = (units.quantity(s, "s") for s in spread(seconds))
    return f"{middle} ({least} to {most})"


def spread(values: list[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


if __name__ == "__main__":
    raise SystemExit(main())
