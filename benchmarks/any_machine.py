"""Does the main job keep its word beside other work? The same job under four conditions, each in a folder of its own.

    python benchmarks/any_machine.py --kinds decoder --out runs/any_machine --write
    python benchmarks/any_machine.py --task ../shared/data/restaurant8k --keep 0.97 --max-time 40m --conditions alone

alone: nothing beside it. one-core: on one core. spinning: a process that spins on each core from the start.
mid-teacher: the same, from the middle of the teacher's training on. For each: time asked and taken, planned against
real seconds of each phase, what was handed out and what it scores on test. A finished folder is only read.
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
from lightbulb.core.files import read_json, write_json
from lightbulb.energy.family import family_here
from lightbulb.energy.processor import processor_name
from lightbulb.shrinking.goal import seconds as seconds_of
from lightbulb.shrinking.plan import Plan
from lightbulb.shrinking.record import Result

HEADING = "## On any machine"
CONDITIONS = {
    "alone": "nothing beside it",
    "one-core": "one core",
    "spinning": "a spinning process on each core",
    "mid-teacher": "the same, from mid-teacher on",
}
SPIN = "while True: pass"


@dataclass(frozen=True)
class Phase:
    """Seconds of a part of the job: planned, and taken by its steps."""

    name: str
    planned: float
    real: float


def main() -> int:
    asked = arguments()
    rows = []
    for condition in asked.conditions:
        folder = asked.out / f"{Path(asked.task).name}-{condition}"
        if code := shrink(asked, condition, folder):
            return code
        rows.append(row(condition, folder, seconds_of(asked.max_time)))
        print(f"\n{table(rows)}\n", flush=True)
    if asked.write:
        name = f"any_machine {Path(asked.task).name}"
        put(name, f"### {Path(asked.task).name}, {asked.max_time}\n\n{provenance(asked)}\n\n{table(rows)}", HEADING)
        print(f"written into {PAGE.relative_to(ROOT)}", file=sys.stderr)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--task", default="home")
    parser.add_argument("--keep", default="0.9")
    parser.add_argument("--max-time", default="11m")
    parser.add_argument("--out", type=Path, default=Path("runs/any_machine"))
    parser.add_argument("--kinds", help="of students, as `shrink` takes them; all without it")
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    return parser.parse_args()


def shrink(asked: argparse.Namespace, condition: str, folder: Path) -> int:
    """Runs the job unless it is done; notes what it took by the clock beside the folder."""
    if (folder / "result.json").exists():
        return 0
    command = [sys.executable, "-m", "lightbulb", "shrink", asked.model, "--task", asked.task]
    command += ["--keep", asked.keep, "--max-time", asked.max_time, "--out", str(folder)]
    command += ["--kinds", asked.kinds] if asked.kinds else []
    cores = sorted(os.sched_getaffinity(0))
    folder.parent.mkdir(parents=True, exist_ok=True)
    print(f"{condition}: {shlex.join(command)}", file=sys.stderr, flush=True)
    spinning = spin(cores) if condition == "spinning" else []
    begin = time.monotonic()
    job = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.DEVNULL,
        preexec_fn=(lambda: os.sched_setaffinity(0, cores[:1])) if condition == "one-core" else None,
    )
    try:
        while job.poll() is None:
            time.sleep(0.5)
            if condition == "mid-teacher" and not spinning and in_mid_teacher(folder):
                print("mid-teacher: others begin to spin", file=sys.stderr, flush=True)
                spinning = spin(cores)
    finally:
        for process in [*spinning, job]:
            process.kill()
    write_json(noted(folder), {"seconds": time.monotonic() - begin, "commit": commit(), "date": str(date.today())})
    return job.returncode


def spin(cores: list[int]) -> list[subprocess.Popen[bytes]]:
    """A busy process on each core."""

    def pinned(core: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", SPIN], preexec_fn=lambda: os.sched_setaffinity(0, {core}))

    return [pinned(core) for core in cores]


def in_mid_teacher(folder: Path) -> bool:
    """Whether half of the planned seconds of the teacher's training are over."""
    begun = next((folder / "steps").glob(".teacher-*.tmp"), None) if (folder / "plan.json").exists() else None
    return (
        begun is not None
        and time.time() - begun.stat().st_ctime > Plan(**read_json(folder / "plan.json")).teacher_seconds / 2
    )


def noted(folder: Path) -> Path:
    return folder.with_name(folder.name + ".any_machine.json")


def phases(folder: Path) -> list[Phase]:
    """Planned and real seconds of the teacher, its score on validation, its logits, the student that got furthest, and
    the proof."""
    plan = Plan(**read_json(folder / "plan.json"))
    took = {p.name.rpartition("-")[0]: read_json(p / "cost.json")["seconds"] for p in (folder / "steps").iterdir()}
    proof = [
        label for label in took if label in ("verify", "costs") or label.startswith("teacher-") or "-test" in label
    ]
    proof.remove("teacher-validation")
    found = [
        Phase("teacher", plan.teacher_seconds, took["teacher"]),
        Phase("its check", plan.check_seconds, took["teacher-validation"]),
    ]
    if "logits" in took:
        found.append(Phase("its logits", plan.logits_seconds, took["logits"]))
    decided = read_json(folder / "clock.json")
    students = [label for label in took if label.startswith("student-") and label.endswith("-gguf-validation")]
    if students:
        first = students[0].split("-")
        layers, stem = int(first[1]), "-".join(first[:3])
        mine = {f"pruned-{layers}", stem, f"{stem}-validation"} | {
            f"{stem}-{plan.space.quant_types[0]}{end}" for end in ("", "-gguf", "-gguf-validation")
        }
        planned = plan.costs.student(decided[f"epochs of {layers} layers"], layers)
        real = sum(seconds for label, seconds in took.items() if label in mine)
        found.append(Phase(f"student of {layers}", planned, real))
    found.append(Phase("proof", plan.proof_seconds, sum(took[label] for label in proof)))
    return found


def row(condition: str, folder: Path, asked_seconds: float) -> str:
    result, taken = Result.read(folder / "result.json"), read_json(noted(folder))["seconds"]
    parts = ", ".join(f"{p.name} {p.planned:.0f} / {p.real:.0f} ({p.real / p.planned:.2f})" for p in phases(folder))
    clock = read_json(folder / "clock.json")
    cut = [name.rsplit("-", 1)[0] for name in clock if name.endswith("shortened to")]
    handed = result.student
    what = "nothing" if handed is None else f"{handed.name}: {units.text(handed.score)}"
    return (
        f"| {CONDITIONS[condition]} | {taken:,.0f} s ({taken / asked_seconds:.2f}) | {parts} | "
        f"{', '.join(cut) or '-'} | {result.verdict}: {what}, {result.floor:.3g} needed |"
    )


def table(rows: list[str]) -> str:
    head = ["| beside it | by the clock (of asked) | seconds planned / real | shortened | handed out, score on test |"]
    return "\n".join([*head, "|---|---|---|---|---|", *rows])


def provenance(asked: argparse.Namespace) -> str:
    words = [
        f"--task {asked.task} --keep {asked.keep} --max-time {asked.max_time}",
        *([f"--kinds {asked.kinds}"] if asked.kinds else []),
        *(["--conditions", *asked.conditions] if asked.conditions != list(CONDITIONS) else []),
    ]
    command = f"python benchmarks/any_machine.py {' '.join(words)} --out {asked.out} --write"
    machine = f"{processor_name()} ({family_here()}), {len(os.sched_getaffinity(0))} cores"
    return f"```\n{command}\n```\n{date.today()}, commit {commit()}, {machine}."


if __name__ == "__main__":
    sys.exit(main())
