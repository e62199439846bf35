"""The search against random choice, Optuna's TPE and itself driven by bytes: each with the same epochs of training.

    pip install -c constraints.txt optuna
    python benchmarks/search.py --seeds 0 1 2 --write
    python benchmarks/search.py --prices smollm2-135m --task home --write

A small real model (stories260K, beside the checkout) is taught some intents of banking77; students are cut from it,
each layer its own. All see the same space, the same table of costs, the same parent and the same training; they differ
in what they try and how they share the epochs out. Random choice and TPE (of two objectives: score and joules) train
every student for as long; the search by successive halving. What each has found is chosen by validation and scored on
test. The second command prices drawn students of a real size by the table of costs, and measures files of their shapes.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sections import PAGE, ROOT, commit, put

sys.path.insert(0, str(ROOT / "src"))
sys.path.insert(0, str(ROOT / "tests"))

from stories import stories260k

from lightbulb.core import units
from lightbulb.core.facts import BlockFacts, ScoreFacts
from lightbulb.core.files import sha256_of
from lightbulb.core.progress import Silent
from lightbulb.energy.meter import Meter
from lightbulb.energy.processor import processor_name
from lightbulb.measuring.statistics import median_figure
from lightbulb.models.importing import import_model
from lightbulb.models.resolve import fingerprint, resolve
from lightbulb.passes.adapt import Adapt
from lightbulb.passes.distill import Distill
from lightbulb.passes.evaluate import Evaluate
from lightbulb.passes.export import Export
from lightbulb.passes.format_task import FormatTask
from lightbulb.passes.measure import SOURCE, Measure
from lightbulb.passes.teacher_logits import CacheLogits
from lightbulb.passes.trim_vocab import TrimVocab
from lightbulb.pipeline.recipe import Execution, step
from lightbulb.pipeline.run import Run
from lightbulb.runtimes import runtime_class
from lightbulb.searching.choosing import first_students
from lightbulb.searching.cost_files import Parents, design, measure_table, table_key, work_of
from lightbulb.searching.cost_table import keep_table, read_table
from lightbulb.searching.halving import ETA, Halving, rung_sizes
from lightbulb.searching.pricing import Currency, Pricing, Specs
from lightbulb.searching.prior import Prior
from lightbulb.searching.steps import SCORES, TRIMMED, score_step
from lightbulb.searching.student import Cut, Student
from lightbulb.shrinking.floor import Floor
from lightbulb.tasks.load import load_task
from lightbulb.tasks.task import Task
from lightbulb.train.loop import Schedule

HEADING = "## Search"
DATA = ROOT.parent / "shared" / "data" / "banking77"
KEEP = 0.9
SHARES = (0.15, 0.3, 0.5)  # of the parent's joules, at which qualities are compared
MODEL_KEY = "stories260K"


@dataclass(frozen=True)
class Scored:
    """A student that a method has tried, after its last training."""

    student: Student
    joules: float
    validation: float
    label: str


class Bench:
    """One seed: the parent, its one-off scores, and trials of students."""

    def __init__(self, execution: Execution, pricing: Pricing, asked: argparse.Namespace):
        self.execution, self.pricing, self.asked = execution, pricing, asked
        self.facts = execution.made[SCORES].facts_as(BlockFacts)
        self.parent = execution.made["teacher-validation"].facts_as(ScoreFacts).score
        self.epochs = Counter[str]()

    def joules(self, student: Student) -> float:
        return self.pricing.point(student, self.pricing.currency)

    def train(self, method: str, student: Student, epochs: float, before: str | None = None) -> Scored:
        """Trains a student, cut anew or as an earlier training has left it, and scores it on validation."""
        shape = student.shape
        cut = step(f"{shape}-cut", student.cut(self.pricing.specs.space.multiple), TRIMMED, scores=SCORES)
        label = f"{shape}-{sha256_of(before, epochs)[:6]}"
        schedule = Schedule(epochs=epochs, learning_rate=2e-3, batch_size=16)
        self.execution.perform(
            *([] if before else [cut]),
            step(label, Distill(schedule=schedule), before or cut.label, logits="logits"),
            step(f"{label}-validation", Evaluate(split="validation"), label),
        )
        score = self.execution.made[f"{label}-validation"].facts_as(ScoreFacts).score
        self.epochs[method] += round(epochs)
        return Scored(student, self.joules(student), score.value or 0.0, label)

    def test(self, scored: Scored) -> float:
        evaluated = self.execution.perform(step(f"{scored.label}-test", Evaluate(split="test"), scored.label))
        return evaluated.facts_as(ScoreFacts).score.value or 0.0

    # the methods

    def searched(self, name: str, currency: Currency) -> list[Scored]:
        """This search, driven by a currency."""
        pricing = self.pricing
        specs = pricing.specs
        prior = Prior(specs.space, self.facts, lambda s: pricing.point(s, currency), specs.parent.layers)
        found, _ = first_students(prior, specs.space, "choose", lambda s: "", self.asked.candidates)
        floor = Floor(self.execution.run.task.metric, KEEP)
        halving = Halving([p.student for p in found], prior.cost_of, floor, self.parent, asks_for_a_score=True)
        last: dict[Student, Scored] = {}
        while trials := halving.ask():
            for trial in trials:
                before = last[trial.student].label if trial.rung else None
                last[trial.student] = self.train(name, trial.student, self.asked.epochs * ETA**trial.rung, before)
                score = self.execution.made[f"{last[trial.student].label}-validation"].facts_as(ScoreFacts).score
                halving.tell(trial, score)
        return list(last.values())

    @property
    def budget(self) -> float:
        """Epochs of the search, which the others have, too."""
        sizes = rung_sizes(self.asked.candidates)
        return sum(size * self.asked.epochs * ETA**rung for rung, size in enumerate(sizes))

    @property
    def trials(self) -> int:
        return round(self.budget / self.asked.rival_epochs)

    def at_random(self, seed: int) -> list[Scored]:
        rng = random.Random(seed)
        return [self.train("random", self._drawn(rng.choice), self.asked.rival_epochs) for _ in range(self.trials)]

    def by_tpe(self, seed: int) -> list[Scored]:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            directions=["maximize", "minimize"], sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=4)
        )
        found: list[Scored] = []

        def objective(trial: Any) -> tuple[float, float]:
            asked = iter(range(10**6))
            student = self._drawn(lambda options: options[trial.suggest_int(f"{next(asked)}", 0, len(options) - 1)])
            found.append(self.train("TPE", student, self.asked.rival_epochs))
            return found[-1].validation, found[-1].joules

        study.optimize(objective, n_trials=self.trials)
        return found

    def _drawn(self, choose: Callable[[Sequence[Any]], Any]) -> Student:
        """A student of the space: of each layer whether it stays, and with which shares."""
        space, options = self.pricing.specs.space, self.pricing.specs.space.options
        chosen = [choose([None, *options]) for _ in range(space.layers)]
        if not any(chosen):
            chosen[0] = options[0]
        cuts = [Cut(layer=i, feed_forward=o[0], groups=o[1]) for i, o in enumerate(chosen) if o]
        return Student(layers=tuple(cuts), types=space.finest)


@contextmanager
def bench_of(asked: argparse.Namespace, seed: int, model: Path, task: Task) -> Iterator[Bench]:
    """The parent of one seed, made or found."""
    meter = Meter()
    folder = asked.out / f"seed-{seed}"
    with Run(folder, task, seed=seed, progress=Silent(), meter=meter, threads=asked.threads) as run:
        source = resolve(str(model))
        key = sha256_of(fingerprint(source), MODEL_KEY)
        start = run.begin("model", key, lambda out, scratch, progress: import_model(source, out, progress, run.live))
        execution = Execution(run, start)
        teach = Schedule(epochs=asked.teacher_epochs, learning_rate=2e-3, batch_size=16)
        execution.perform(
            step("formatted", FormatTask(), "model"),
            step("teacher", Adapt(schedule=teach), "formatted"),
            step("teacher-validation", Evaluate(split="validation"), "teacher"),
            step("teacher-test", Evaluate(split="test"), "teacher"),
            step(TRIMMED, TrimVocab(), "teacher"),
            step("logits", CacheLogits(), TRIMMED),
        )
        specs = Specs(Parents(execution.made[TRIMMED], execution.made["teacher"]), asked.runtime)
        execution.perform(score_step(specs.space, order=False))
        yield Bench(execution, pricing_of(asked, specs, task), asked)
    meter.close()


def pricing_of(asked: argparse.Namespace, specs: Specs, task: Task) -> Pricing:
    """By the table of all seeds, which the first of them measures."""
    place = asked.out / "costs.json"
    key = table_key(specs.parent, task, asked.runtime, work_of(specs.parents.trimmed, task, 0))
    table = read_table(place, key, [])
    if table is None:
        table = measure_table(
            key, design(specs.space), specs.of, specs.parents, task, asked.out / "files", 0.3, Silent()
        )
        keep_table(place, table)
    return Pricing(specs, table, task)


def task_of(asked: argparse.Namespace) -> Task:
    """Some intents of banking77."""
    folder = asked.out / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        lines = (DATA / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        intents = sorted({json.loads(line)["completion"] for line in lines})[: asked.intents]
        kept = [line for line in lines if json.loads(line)["completion"] in intents]
        (folder / f"{split}.jsonl").write_text("\n".join(kept) + "\n", encoding="utf-8")
    return load_task(str(folder), kind="choose", seed=0)


def best_within(found: Sequence[Scored], joules: float) -> Scored | None:
    """The best on validation for no more joules."""
    return max((s for s in found if s.joules <= joules), key=lambda s: (s.validation, -s.joules), default=None)


def cheapest_that_keeps(found: Sequence[Scored], needed: float) -> Scored | None:
    return min((s for s in found if s.validation >= needed), key=lambda s: s.joules, default=None)


def check(bench: Bench, scored: Scored) -> float | None:
    """Predicted / measured - 1 of what is returned: its file is made and measured."""
    name = bench.pricing.currency
    made = bench.execution.perform(
        step(f"{scored.label}-file", Export(quant_type="f16"), scored.label),
        step(f"{scored.label}-costs", Measure(trials=8, window_seconds=1.0, runtime=bench.asked.runtime)),
    )
    measured = made.facts[SOURCE][name]["value"]
    return None if not measured else scored.joules / measured - 1


def prices(asked: argparse.Namespace) -> str:
    """A table of costs for a model of a real size on a task, and how far it is from files of other shapes."""
    task, meter = load_task(asked.task, seed=0), Meter()
    source = resolve(asked.prices)
    with Run(asked.out / "prices", task, seed=0, progress=Silent(), meter=meter, threads=asked.threads) as run:
        key = sha256_of(fingerprint(source), asked.prices)
        start = run.begin("model", key, lambda out, scratch, progress: import_model(source, out, progress, run.live))
        execution = Execution(run, start)
        execution.perform(step("formatted", FormatTask(), "model"), step(TRIMMED, TrimVocab()))
        specs = Specs(Parents(execution.made[TRIMMED], execution.made["formatted"]), asked.runtime)
        pricing = pricing_of(asked, specs, task)
        rng, space = random.Random(0), specs.space
        drawn = []
        for share in (0.15, 0.3, 0.5, 0.7, 0.9):
            kept = sorted(rng.sample(range(space.layers), max(1, round(share * space.layers))))
            cuts = [Cut(layer=i, feed_forward=f, groups=g) for i in kept for f, g in [rng.choice(space.options)]]
            drawn.append(Student(layers=tuple(cuts), types=rng.choice(space.types)))
        measured = measure_table(
            pricing.table.key, drawn, specs.of, specs.parents, task, asked.out / "drawn", 0.5, Silent(), seed=1
        )
    meter.close()
    lines = ["| student | by the table | measured | off |", "|---|--:|--:|--:|"]
    offs = []
    for student, file in zip(drawn, measured.files, strict=True):
        name = "cpu_seconds_per_answer"
        predicted, found = pricing.figures(student)[name], median_figure(file.costs[name], "s", "median")
        offs.append(predicted.value / found.value - 1)
        lines.append(f"| {student.name} | {units.text(predicted)} | {units.text(found)} | {offs[-1]:+.1%} |")
    table = pricing.table
    lines += [
        "",
        f"* CPU seconds an answer; table of {len(table.files)} files in {table.seconds:,.0f} s, whose own costs are "
        f"within {table.misfit['cpu_seconds_per_answer']:.1%} (95%) of sums of parts; {table.key.work}",
        f"* {asked.prices} on {task.name}, vocabulary trimmed, {asked.runtime}, {processor_name()}, one thread, "
        f"{time.strftime('%Y-%m-%d')}, {commit()}; `{command()}`",
    ]
    return "\n".join(lines)


def command() -> str:
    return f"python benchmarks/search.py {' '.join(a for a in sys.argv[1:] if a != '--write')}"


def row(name: str, results: Sequence[dict[str, Any]]) -> str:
    """A method's line: means over the seeds, with the least and the most."""

    def cell(values: Sequence[float | None]) -> str:
        known = [v for v in values if v is not None]
        if len(known) < len(values):
            return f"– ({len(known)} of {len(values)} seeds)"
        return f"{statistics.mean(known):.1%} [{min(known):.1%}, {max(known):.1%}]"

    cells = [cell([r["at"][share] for r in results]) for share in map(str, SHARES)]
    cells.append(cell([r["keeps"] for r in results]))
    epochs = {r["epochs"] for r in results}
    return f"| {name} | {' | '.join(cells)} | {', '.join(map(str, sorted(epochs)))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--intents", type=int, default=10)
    parser.add_argument("--candidates", type=int, default=9)
    parser.add_argument("--epochs", type=float, default=2, help="of the search's first rung")
    parser.add_argument("--rival-epochs", type=float, default=4, help="of each trial of random choice and TPE")
    parser.add_argument("--teacher-epochs", type=float, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runtime", default="filament" if runtime_class("filament").installed() else "llamacpp")
    parser.add_argument("--out", type=Path, default=Path("runs/search"))
    parser.add_argument("--prices", help="a model whose students are priced and measured, and nothing else")
    parser.add_argument("--task", default="home", help="with --prices")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    asked = parser.parse_args()
    name, text = ("search prices", prices(asked)) if asked.prices else ("search", compared(asked))
    print(f"\n{text}")
    if asked.write:
        put(name, text, HEADING)
        print(f"written into {PAGE.name}", file=sys.stderr)


def compared(asked: argparse.Namespace) -> str:
    """All methods with equal epochs, seed after seed."""
    model = asked.out / "stories260K"
    if not model.exists() and stories260k(model) is None:
        sys.exit("stories260K is not beside the checkout")
    task, began = task_of(asked), time.process_time()
    results: dict[str, list[dict[str, Any]]] = {}
    off, parents = [], []
    for seed in asked.seeds:
        with bench_of(asked, seed, model, task) as bench:
            whole = bench.joules(bench.pricing.specs.space.whole())
            parents.append(bench.execution.made["teacher-test"].facts_as(ScoreFacts).score.value)
            methods: dict[str, Callable[[], list[Scored]]] = {
                "search, joules": lambda b=bench: b.searched("search, joules", b.pricing.currency),
                "search, bytes": lambda b=bench: b.searched("search, bytes", "bytes"),
                "TPE": lambda b=bench, s=seed: b.by_tpe(s),
                "random": lambda b=bench, s=seed: b.at_random(s),
            }
            for name, method in methods.items():
                found = method()
                best = {str(share): best_within(found, share * whole) for share in SHARES}
                keeps = cheapest_that_keeps(found, KEEP * (bench.parent.value or 0.0))
                results.setdefault(name, []).append(
                    {
                        "at": {share: None if s is None else bench.test(s) for share, s in best.items()},
                        "keeps": None if keeps is None else keeps.joules / whole,
                        "epochs": bench.epochs[name],
                    }
                )
                print(seed, name, results[name][-1], flush=True)
                if name == "search, joules" and keeps is not None:
                    off.append(check(bench, keeps))
    shown = " | ".join(f"accuracy at {share:.0%} of the joules" for share in SHARES)
    checks = ", ".join("not measured" if o is None else f"{o:+.1%}" for o in off)
    return "\n".join(
        [
            f"| method | {shown} | joules at {KEEP:.0%} of the parent's score | epochs |",
            "|---|" + "--:|" * (len(SHARES) + 2),
            *(row(name, found) for name, found in results.items()),
            "",
            f"* test accuracy, and joules by the table over the parent's; mean over {len(asked.seeds)} seeds and "
            f"[least, most]; the parent scores {statistics.mean(parents):.1%}",
            f"* of what the search returns for {KEEP:.0%}, predicted / measured - 1: {checks or 'nothing kept it'}",
            f"* {MODEL_KEY}, {len(task.answers)} intents of banking77 ({len(task.train)} train, {len(task.validation)} "
            f"validation, {len(task.test)} test), {asked.runtime}, {processor_name()}, {asked.threads} thread, "
            f"{time.process_time() - began:,.0f} CPU s, {time.strftime('%Y-%m-%d')}, {commit()}; `{command()}`",
        ]
    )


if __name__ == "__main__":
    main()
