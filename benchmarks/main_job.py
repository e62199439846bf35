"""The main job on real tasks: runs `lightbulb shrink` on each and prints one table a task.

    python benchmarks/main_job.py --task ../shared/data/banking77 --max-time 60m --keep 0.97 --out runs/bench --write

Each task is one process of its own, so that wall time and peak memory are those of the command a user types. A run
folder that is already finished is only read. --write puts the table between its markers in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from sections import PAGE, ROOT, commit, put

sys.path.insert(0, str(ROOT / "src"))

from lightbulb.core import units
from lightbulb.core.figures import Figure
from lightbulb.core.files import read_json, write_json
from lightbulb.pipeline.recipe import Recipe
from lightbulb.report import words
from lightbulb.shrinking.record import Quantity, Result, Scored

HEADING = "## The main job"


@dataclass(frozen=True)
class Attempts:
    """What the command took by the clock, all attempts of a resumed run together, and the most memory it held."""

    wall_seconds: float | None
    peak_bytes: int | None
    count: int
    finished: str = "finished earlier, day and commit not noted"

    @staticmethod
    def read(path: Path) -> Attempts:
        rows = read_json(path) if path.exists() else []
        if not rows:
            return Attempts(None, None, 0)
        return Attempts(
            sum(r["wall_seconds"] for r in rows),
            max(r["peak_bytes"] for r in rows),
            len(rows),
            f"{rows[-1]['date']}, commit {rows[-1]['commit']}",
        )


def main() -> int:
    asked = arguments()
    for task in asked.task:
        name = Path(task).name if Path(task).is_dir() else Path(task).stem
        folder = asked.out / name
        if code := shrink(asked, task, folder):
            return code
        attempts = Attempts.read(account(folder))
        section = render(Result.read(folder / "result.json"), attempts, test_items(folder))
        print(f"\n{section}\n", flush=True)
        if asked.write:
            put(f"main_job {name}", f"### {name}\n\n{provenance(asked, task, attempts)}\n\n{section}", HEADING)
            print(f"written into {PAGE.relative_to(ROOT)}", file=sys.stderr)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", action="append", required=True, help="may be given several times")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--max-time", default="60m")
    parser.add_argument("--keep", default="0.97")
    parser.add_argument("--metric", help="instead of the one inferred, e.g. chrf")
    parser.add_argument("--group", help="column of what must not be in two splits")
    parser.add_argument("--kinds", nargs="+", help="only these kinds of student, e.g. decoder")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    return parser.parse_args()


def account(folder: Path) -> Path:
    """Where the attempts are written down: beside the run folder, which is the run's own."""
    return folder.with_name(folder.name + ".attempts.json")


def job(asked: argparse.Namespace, task: str) -> list[str]:
    """The options that this script and the command share."""
    named = {"--metric": asked.metric, "--group": asked.group}
    said = [word for option, value in named.items() if value for word in (option, value)]
    kinds = ["--kinds", *asked.kinds] if asked.kinds else []
    return ["--task", task, "--keep", asked.keep, "--max-time", asked.max_time, "--seed", asked.seed, *said, *kinds]


def shrink(asked: argparse.Namespace, task: str, folder: Path) -> int:
    """Runs the command to its end (or finds it done) and notes wall time and peak memory; returns its exit code."""
    done_before = (folder / "result.json").exists()
    command = [sys.executable, "-m", "lightbulb", "shrink", asked.model, *job(asked, task), "--out", str(folder)]
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    begin = time.monotonic()
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if not done_before and folder.exists():
        rows = read_json(account(folder)) if account(folder).exists() else []
        row = {
            "wall_seconds": time.monotonic() - begin,
            "peak_bytes": usage.ru_maxrss * 1024,
            "date": date.today().isoformat(),
            "commit": commit(),
        }
        write_json(account(folder), [*rows, row])
    return process.returncode


def test_items(folder: Path) -> str:
    """How many test items were answered: the whole split, unless there was no time for it."""
    tests = [s for s in Recipe.read(folder / "recipe.toml").steps if s.label.endswith("-test")]
    answered = {read_json(p / "lightbulb.json")["facts"]["items"] for p in (folder / "steps").glob("*-test-*")}
    limited = any("limit" in s.parameters for s in tests)
    return " and ".join(f"{n:,}" for n in sorted(answered)) + (" (NOT ALL: too little time)" if limited else " (all)")


def render(result: Result, attempts: Attempts, items: str) -> str:
    """The table of one task and the lines under it, as markdown."""
    head = f"test score, {result.metric}"
    lines = [
        f"| | {head} | bytes | CPU per answer | joules per answer | student: fewer CPU seconds | fewer bytes |",
        "|---|---|--:|---|---|---|---|",
    ]
    for model in result.models:
        handed = result.student is not None and model.name == result.student.name
        name = f"**{model.name}**" if handed else model.name
        if model.name == result.compare_with and model is not result.teacher:
            name += " (cheapest stock file that does what was asked)"
        lines.append(
            f"| {name} | {units.text(model.score)} | {units.text(units.counted_bytes(model.bytes))} | "
            f"{cell(model.cpu_seconds_per_answer)} | {cell(model.joules_per_answer, source=True)} | "
            f"{times(result, model, 'cpu_seconds_per_answer')} | {times(result, model, 'bytes')} |"
        )
    return "\n".join([*lines, "", f"* test items answered: {items}", *summary(result, attempts)])


def cell(figure: Figure | None, source: bool = False) -> str:
    return units.text(figure, source=source)


def times(result: Result, before: Scored, quantity: Quantity) -> str:
    """How many times less the student needs than `before`; empty where the run did not compare them."""
    found = [r.value for r in result.ratios if r.quantity == quantity and r.against == before.name]
    return f"{units.text(found[0], '')} x" if found else ""


def summary(result: Result, attempts: Attempts) -> list[str]:
    making = result.making
    clock = (
        f"{units.quantity(attempts.wall_seconds, 's')} in {attempts.count} attempt{'s' * (attempts.count != 1)}"
        if attempts.count
        else "not measured (the run was finished before)"
    )
    processor, threads = (result.machine.get(key, "unknown") for key in ("processor", "threads used"))
    return [
        f"* verdict: **{result.verdict}**; retention {units.text(result.retention, '')} of the adapted teacher, "
        f"asked for {words.floor_text(result)}",
        *([f"* why: {result.reason}"] if result.reason else []),
        f"* making: {units.quantity(making.seconds, 's')}, {units.text(making.cpu_seconds)} of CPU time, "
        f"{units.text(making.joules, source=True)}",
        f"* paid back after {units.text(result.break_even_answers, source=True)}",
        f"* wall time of the whole command: {clock}; peak memory {units.quantity(attempts.peak_bytes, 'B')}",
        f"* machine: {processor}, {threads} threads; "
        + ", ".join(f"{name} {version}" for name, version in result.versions.items()),
    ]


def provenance(asked: argparse.Namespace, task: str, attempts: Attempts) -> str:
    """The command that prints the table again, when its run ended, and on which commit."""
    command = shlex.join(
        [
            "python",
            "benchmarks/main_job.py",
            "--model",
            asked.model,
            *job(asked, task),
            "--out",
            str(asked.out),
            "--write",
        ]
    )
    return f"```\n{command}\n```\nRun: {attempts.finished}."


if __name__ == "__main__":
    sys.exit(main())
