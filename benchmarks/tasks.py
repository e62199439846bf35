"""What is kept, and what an answer costs, on six tasks that are written or must be read with understanding.

    python benchmarks/tasks.py --data ../shared/data [--only nl2bash home] [--max-time 2h] [--out runs/tasks] [--write]

Each is the whole job, `lightbulb shrink --keep 0.97`, in a process of its own and on its full test set; a run that is
finished is only read, one that was broken off goes on. The rival is the cheapest stock file of the fine-tuned model
within a point of it. Answers that are right are counted where the metric says which are.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from main_job import Attempts, account, shrink, test_items
from sections import commit, put

from lightbulb.core import units
from lightbulb.core.figures import Figure
from lightbulb.shrinking.record import Result, Scored

HEADING = "## Writing and reading"
HEAD = (
    "| task | handed out | score on test | kept | CPU an answer | to the rival | joules an answer | a right answer "
    "| bytes | making | rival |\n|---|---|---|---|---|---|---|---|--:|---|---|"
)


@dataclass(frozen=True)
class Job:
    """A task of the table. folder: below --data, or a built-in name; metric: where the inferred one is not meant."""

    folder: str
    metric: str | None = None
    built_in: bool = False


JOBS = {
    "nl2bash": Job("nl2bash", "chrf"),
    "home": Job("home", built_in=True),
    "restaurant8k": Job("restaurant8k"),
    "finqa": Job("finqa"),
    "pubmedqa": Job("pubmedqa"),
    "medquad": Job("medquad"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--keep", default="0.97")
    parser.add_argument("--max-time", default="2h")
    parser.add_argument("--kinds", nargs="+", help="only these kinds of student, e.g. decoder")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--out", type=Path, default=Path("runs/tasks"))
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    asked = parser.parse_args()
    asked.group = None
    lines = []
    for name in asked.only:
        job, folder = JOBS[name], asked.out / name
        asked.metric = job.metric
        if code := shrink(asked, name if job.built_in else str(asked.data / job.folder), folder):
            return code
        result = Result.read(folder / "result.json")
        lines.append(row(name, result, Attempts.read(account(folder)), test_items(folder)))
        print(lines[-1], flush=True)
    machine = result.machine.get("processor", "unknown")
    command = (
        f"python benchmarks/tasks.py --keep {asked.keep} --max-time {asked.max_time} --only {' '.join(asked.only)}"
    )
    section = "\n".join([f"`{command}`, commit {commit()}, {machine}; one run of each.\n", HEAD, *lines])
    print(f"\n{section}")
    if asked.write:
        put("tasks", section, HEADING)
    return 0


def row(name: str, result: Result, attempts: Attempts, items: str) -> str:
    """One line of the table; what was not measured is left empty."""
    handed = result.student
    rival = next((m for m in result.models if m.name == result.compare_with), None)
    kept = f"{result.verdict}: {units.text(result.retention, '')}"
    wall = units.quantity(attempts.wall_seconds, "s") if attempts.count else ""
    if handed is None:
        return f"| {name} ({items}) | nothing | | {kept} | | | | | | {wall} | {described(rival)} |"
    cells = [
        f"{name} ({items})",
        handed.name,
        units.text(handed.score),
        kept,
        units.text(handed.cpu_seconds_per_answer),
        fewer(result),
        units.text(handed.joules_per_answer, source=True),
        units.text(handed.joules_per_right_answer),
        units.text(units.counted_bytes(handed.bytes)),
        wall,
        described(rival),
    ]
    return f"| {' | '.join(cells)} |"


def fewer(result: Result) -> str:
    """How many times fewer CPU seconds an answer than the rival."""
    found: list[Figure] = [
        r.value for r in result.ratios if r.quantity == "cpu_seconds_per_answer" and r.against == result.compare_with
    ]
    return f"{units.text(found[0], '')} x fewer" if found else ""


def described(model: Scored | None) -> str:
    return (
        "" if model is None else f"{model.name}: {units.text(model.score)}, {units.text(model.cpu_seconds_per_answer)}"
    )


if __name__ == "__main__":
    sys.exit(main())
