"""Kills a small run at random moments, repeats its command, and compares the bytes of model.gguf.

    python benchmarks/kill_resume.py --kills 20

A tiny random model learns which of 14 things a spoken home command asks for: training, exporting and measuring as in
the main job, in about two minutes. First a few runs are left alone: they must give one sha256, and they tell how long
a run takes when several work side by side. Then every trial starts in a folder of its own, is killed (SIGKILL to the
whole process group), and the same command is repeated to its end. Exits 1 when any model.gguf differs from the first,
or anything half-written is left over.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from lightbulb.report.record import Result  # noqa: E402
from lightbulb.store import read_json, sha256_of_file  # noqa: E402

MAX_TIME = "20m"  # far more than is needed, so that the clock decides nothing
PATIENCE_SECONDS = 900


@dataclass(frozen=True)
class Trial:
    """One kill: when (seconds after the start), in which steps, and what came of repeating the command."""

    number: int
    seconds: float
    during: str
    kept: int  # steps that were finished at the kill
    sha256: str
    left_over: tuple[str, ...]  # unfinished files that the resumed run did not clear away


def main() -> int:
    asked = arguments()
    if asked.out.exists():
        print(f"error: {asked.out} exists\n  mend:  remove it, or choose another --out", file=sys.stderr)
        return 2
    model, task = prepare(asked.out, asked.layers, asked.width, asked.examples, asked.seed)

    def command(folder: Path) -> list[str]:
        return [
            sys.executable,
            "-m",
            "lightbulb",
            "shrink",
            str(model),
            "--task",
            str(task),
            "--keep",
            "0.9",
            "--max-time",
            MAX_TIME,
            "--threads",
            "1",
            "--out",
            str(folder),
            "--seed",
            str(asked.seed),
        ]

    with ThreadPoolExecutor(asked.jobs) as pool:
        alone = [asked.out / f"alone-{n}" for n in range(max(2, asked.jobs))]
        durations = list(pool.map(lambda folder: finish(command(folder), folder), alone))
        check_plans(alone)
        wanted = {sha256_of_file(student(folder)) for folder in alone}
        print(
            f"{len(alone)} runs left alone, {asked.jobs} side by side: {min(durations):.0f} to {max(durations):.0f}"
            f" s, {len(wanted)} sha256: {', '.join(s[:16] for s in sorted(wanted))}",
            flush=True,
        )
        moments = kill_moments(asked.kills, min(durations), measure_share(alone[0]), asked.seed)
        trials = list(
            pool.map(
                lambda n: trial(n, moments[n], command, asked.out / f"kill-{n + 1}", asked.keep_runs),
                range(asked.kills),
            )
        )
    first = sha256_of_file(student(alone[0]))
    same = sum(t.sha256 == first for t in trials)
    print(table(trials, first), flush=True)
    print(f"\n{same} of {len(trials)} killed runs ended with the model.gguf of a run left alone ({first[:16]})")
    return 0 if same == len(trials) and len(wanted) == 1 and not any(t.left_over for t in trials) else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("runs/kill_resume"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trials side by side")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--examples",
        type=int,
        default=1200,
        help="training examples: more make training longer, and beyond a minute a step it writes checkpoints",
    )
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--keep-runs", action="store_true", help="leave the folders of good trials")
    return parser.parse_args()


def prepare(out: Path, layers: int, width: int, examples: int, seed: int) -> tuple[Path, Path]:
    """The random model and the task: (their folders)."""
    from tiny import tiny_model

    from lightbulb.tasks.demo import home_task

    home, task = home_task(seed, train=examples, validation=150, test=200), out / "task"
    task.mkdir(parents=True)
    for split in ("train", "validation", "test"):
        rows = [{"prompt": e.prompt, "completion": json.loads(e.completion)["do"]} for e in getattr(home, split)]
        (task / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tiny_model(out / "model", layers=layers, width=width, seed=seed), task


def start(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with log.open("ab") as out:
        return subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)


def student(folder: Path) -> Path:
    """The student's file: what is handed out, or what lies beside a stock file that is."""
    result = Result.read(folder / "result.json")
    model = result.below or result.student
    assert model is not None
    return folder / str(model.path)


def finish(command: Sequence[str], folder: Path) -> float:
    """Runs to the end; returns the seconds it took. Raises SystemExit with the log where it failed."""
    log, begin = folder.with_suffix(".log"), time.monotonic()
    process = start(command, log)
    try:
        code = process.wait(PATIENCE_SECONDS)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    if code != 0 or not (folder / "result.json").exists():
        raise SystemExit(f"error: exit code {code}: {' '.join(command)}\n" + log.read_text(errors="replace")[-2000:])
    return time.monotonic() - begin


def trial(n: int, seconds: float, command: Callable[[Path], list[str]], folder: Path, keep: bool) -> Trial:
    """Start, kill after `seconds` (sooner, where the run was done by then), look, repeat to the end, hash."""
    while not killed(command(folder), folder, seconds):
        shutil.rmtree(folder)
        seconds *= 0.9
    during, kept = state(folder), len(finished(folder))
    finish(command(folder), folder)
    made = Trial(n + 1, seconds, during, kept, sha256_of_file(student(folder)), left_over(folder))
    if not keep:
        shutil.rmtree(folder)
    print(f"kill {made.number}: {made.seconds:.1f} s, {made.during}: {made.sha256[:16]}", file=sys.stderr, flush=True)
    return made


def killed(command: Sequence[str], folder: Path, seconds: float) -> bool:
    """Whether the run was still at work after `seconds`, when it was killed."""
    process = start(command, folder.with_suffix(".log"))
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    if process.returncode != 0:
        raise SystemExit(f"error: exit code {process.returncode} before the kill; see {folder.with_suffix('.log')}")
    return False


def finished(folder: Path) -> list[Path]:
    return [p for p in (folder / "steps").glob("*") if not p.name.startswith(".")]


def state(folder: Path) -> str:
    """What a killed run was doing, from what it left."""
    if not folder.exists():
        return "starting"
    inside = [p.name[1 : -len(".tmp")].rsplit("-", 1)[0] for p in (folder / "steps").glob(".*.tmp")]
    if inside:
        return "in " + ", ".join(inside)
    return "publishing" if any(folder.glob(".*.tmp")) else "between steps" if finished(folder) else "starting"


def left_over(folder: Path) -> tuple[str, ...]:
    """Names of temporary files and checkpoints in a finished run's folder."""
    stray = [*folder.rglob("*.tmp"), *(p for p in (folder / "scratch").rglob("*") if p.is_file())]
    return tuple(sorted(str(p.relative_to(folder)) for p in stray))


def measure_share(folder: Path) -> float:
    """The share of a run's time before its costs are measured."""
    seconds = {p.name.rsplit("-", 1)[0]: read_json(p / "cost.json")["seconds"] for p in finished(folder)}
    return 1 - seconds["costs"] / max(1e-9, sum(seconds.values()))


def kill_moments(kills: int, duration: float, share: float, seed: int) -> list[float]:
    """Seconds after the start, one at random in each of equal parts: of the whole run for every second kill, of the
    part before the costs are measured (training, exporting, evaluating) for the others."""
    rng = random.Random(seed)
    whole, early = kills - kills // 2, kills // 2
    moments = [duration * (i + rng.random()) / whole for i in range(whole)]
    moments += [share * duration * (i + rng.random()) / early for i in range(early)]
    rng.shuffle(moments)
    return moments


def check_plans(folders: Sequence[Path]) -> None:
    """Fresh folders may measure different speeds; what their plans decide must be equal, or nothing can be compared."""
    free = ("train_flops", "answer_flops", "teacher_seconds", "proof_seconds", "answering_seconds")
    plans = [{k: v for k, v in read_json(f / "plan.json").items() if k not in free} for f in folders]
    speeds = sorted({read_json(f / "plan.json")["train_flops"] for f in folders})
    print(
        f"speed in the plans: {', '.join(f'{s / 1e9:.1f} Gflop/s' for s in speeds)}; decisions "
        f"{'equal' if all(p == plans[0] for p in plans) else 'DIFFER: ' + json.dumps(plans)}",
        flush=True,
    )


def table(trials: Sequence[Trial], wanted: str) -> str:
    lines = ["| kill | after, s | killed | steps kept | same bytes | left over |", "|--:|--:|---|--:|---|---|"]
    for t in sorted(trials, key=lambda t: t.seconds):
        same = "yes" if t.sha256 == wanted else f"NO: {t.sha256[:16]}"
        stray = ", ".join(t.left_over) or "-"
        lines.append(f"| {t.number} | {t.seconds:.1f} | {t.during} | {t.kept} | {same} | {stray} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
