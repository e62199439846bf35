"""Kills a small run at random moments, repeats its command, and compares the bytes of model.gguf.

    python benchmarks/kill_resume.py --kills 20

A tiny random model learns which of 14 things a spoken home command asks for: training, exporting and measuring as in
the main job, in about two minutes. First two runs are left alone: they must give one sha256, and they tell how long a
run takes. Then every trial starts in a folder of its own, is killed (SIGKILL to the whole process group), and the same
command is repeated to its end.

Half of the kills come after the clock has decided something: these runs have little time and more examples, and once
their plan is made others spin on their cores until the kill, so that trainings are shortened. They begin with a model
that knows the task a little (the teacher of a run left alone), so that a busy machine leaves them something to hand
out. What they decide hangs on the moment, so each is compared with its own recipe.toml, performed straight by
`lightbulb run` in another folder. Trials that are done stand in kills.json of --out, and the same command goes on after
them. Exits 1 when any model.gguf differs from what it is compared with, or anything half-written is left over.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from lightbulb.core.files import read_json, sha256_of_file, write_json  # noqa: E402
from lightbulb.shrinking.record import Result  # noqa: E402

MAX_TIME = "20m"  # far more than is needed, so that the clock decides nothing
PRESSED_TIME, PRESSED_EXAMPLES = "3m", 12_000
SPINNING = 1  # process a core
PATIENCE_SECONDS = 900


@dataclass(frozen=True)
class Trial:
    """One kill: when (seconds after the start), in which steps, and what came of repeating the command."""

    number: int
    seconds: float
    during: str
    kept: int  # steps that were finished at the kill
    sha256: str
    wanted: str  # the sha256 that it is compared with
    decided: str = ""  # what the clock had shortened by then
    left_over: tuple[str, ...] = ()  # unfinished files that the resumed run did not clear away

    @property
    def same(self) -> bool:
        return self.sha256 == self.wanted


def main() -> int:
    asked = arguments()
    out, record = asked.out, asked.out / "kills.json"
    if out.exists() and not record.exists():
        print(f"error: {out} exists\n  hint:  remove it, or choose another --out", file=sys.stderr)
        return 2
    model, task = prepare(out, asked.layers, asked.width, asked.examples, asked.seed)
    _, pressed = prepare(out / "pressed", asked.layers, asked.width, PRESSED_EXAMPLES, asked.seed)
    done = Done(record)

    def command(folder: Path, data: Path = task, max_time: str = MAX_TIME, of: Path = model) -> list[str]:
        words = [sys.executable, "-m", "lightbulb", "shrink", str(of), "--task", str(data), "--keep", "0.9"]
        words += ["--kinds", "decoder"]  # n-grams know this task in a second, and nothing would be left to kill
        return [*words, "--max-time", max_time, "--threads", "1", "--out", str(folder), "--seed", str(asked.seed)]

    rng = random.Random(asked.seed)
    alone = [out / f"alone-{n}" for n in range(2)]
    with workers(asked.jobs) as pool:
        if not done.seconds_alone:
            done.alone([run.result() for run in [pool.submit(finish, command(folder), folder) for folder in alone]])
        check_plans(alone)
        digests = {sha256_of_file(student(folder)) for folder in alone}
        named = ", ".join(d[:16] for d in sorted(digests))
        fastest, slowest = min(done.seconds_alone), max(done.seconds_alone)
        print(f"runs left alone: {fastest:.0f} to {slowest:.0f} s, sha256 {named}", flush=True)
        first, taught = sha256_of_file(student(alone[0])), next(alone[0].glob("steps/teacher-" + 12 * "[0-9a-f]"))
        waiting: list[Future[None]] = []
        calm = asked.kills - asked.kills // 2
        for n, moment in enumerate(kill_moments(calm, fastest, measure_share(alone[0]), asked.seed), start=1):
            waiting.append(pool.submit(done.once, n, out, trial, moment, command, first))
        for n in range(calm + 1, asked.kills + 1):
            words = partial(command, data=pressed, max_time=PRESSED_TIME, of=taught)
            waiting.append(pool.submit(done.once, n, out, pressed_trial, rng.uniform(0, 8), words))
        for run in waiting:
            run.result()
    trials = done.trials
    print(table(trials), flush=True)
    same = sum(t.same for t in trials)
    print(f"\n{same} of {len(trials)} killed runs ended with the bytes of a run left alone, or of their recipe")
    return 0 if same == len(trials) and len(digests) == 1 and not any(t.left_over for t in trials) else 1


class Done:
    """What was done, kept in a file: seconds of the runs left alone, and trials."""

    def __init__(self, file: Path):
        self.file, self._lock = file, threading.Lock()
        kept = read_json(file) if file.exists() else {}
        self.seconds_alone: list[float] = kept.get("alone", [])
        self.trials = [Trial(**{**row, "left_over": tuple(row["left_over"])}) for row in kept.get("trials", [])]
        self._write()

    def _write(self) -> None:
        write_json(self.file, {"alone": self.seconds_alone, "trials": [asdict(t) for t in self.trials]})

    def alone(self, seconds: list[float]) -> None:
        self.seconds_alone = seconds
        self._write()

    def once(self, number: int, out: Path, perform: Callable[..., Trial], *arguments: Any) -> None:
        """Performs a trial in a folder of its own, unless it was done. Folders of one that went well are removed."""
        if any(t.number == number for t in self.trials):
            return
        folders = [out / f"kill-{number}", out / f"kill-{number}-recipe"]
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        made = perform(number, folders[0], *arguments)
        after = f", after {made.decided}" if made.decided else ""
        print(
            f"kill {number}: {made.seconds:.1f} s, {made.during}{after}: {made.sha256[:16]}",
            file=sys.stderr,
            flush=True,
        )
        for folder in folders if made.same else ():
            shutil.rmtree(folder, ignore_errors=True)
        with self._lock:
            self.trials.append(made)
            self._write()


def workers(jobs: int) -> ThreadPoolExecutor:
    """Threads with cores of their own, which what they start inherits: trials side by side do not slow each other."""
    cores, shares = sorted(os.sched_getaffinity(0)), queue.SimpleQueue[set[int]]()
    for n in range(jobs):
        shares.put(set(cores[n::jobs]) or {cores[n % len(cores)]})
    return ThreadPoolExecutor(jobs, initializer=lambda: os.sched_setaffinity(0, shares.get()))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("runs/kill_resume"))
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="trials side by side, on cores of their own"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--examples",
        type=int,
        default=1200,
        help="training examples: more make training longer, and beyond a minute a step it writes checkpoints",
    )
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=64)
    return parser.parse_args()


def prepare(out: Path, layers: int, width: int, examples: int, seed: int) -> tuple[Path, Path]:
    """The random model and the task: (their folders)."""
    from tiny import tiny_model

    from lightbulb.tasks.demo import home_task

    home, task, model = home_task(seed, train=examples, validation=150, test=200), out / "task", out / "model"
    task.mkdir(parents=True, exist_ok=True)
    for split in ("train", "validation", "test"):
        rows = [{"prompt": e.prompt, "completion": json.loads(e.completion)["do"]} for e in getattr(home, split)]
        (task / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return model if model.exists() else tiny_model(model, layers=layers, width=width, seed=seed), task


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


def trial(number: int, folder: Path, seconds: float, command: Callable[[Path], list[str]], wanted: str) -> Trial:
    """Start, kill after `seconds` (sooner, where the run was done by then), look, repeat to the end, hash."""
    while not killed(command(folder), folder, seconds):
        shutil.rmtree(folder)
        seconds *= 0.9
    during, kept = state(folder), len(finished(folder))
    finish(command(folder), folder)
    return Trial(number, seconds, during, kept, sha256_of_file(student(folder)), wanted, left_over=left_over(folder))


def pressed_trial(number: int, folder: Path, delay: float, command: Callable[[Path], list[str]]) -> Trial:
    """Start, load this thread's cores when the plan is made, kill `delay` seconds after the clock has decided
    something, repeat to the end, perform the recipe in another folder, compare."""
    words, begin, spinning = command(folder), time.monotonic(), []
    process = start(words, folder.with_suffix(".log"))
    try:
        while process.poll() is None and not shortened(folder):
            time.sleep(0.2)
            if not spinning and (folder / "plan.json").exists():
                spinning = spin()
        if process.poll() is not None:
            raise SystemExit(f"error: {folder}: the clock decided nothing before the run was done")
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        seconds, during, kept = time.monotonic() - begin, state(folder), len(finished(folder))
        decided = ", ".join(shortened(folder))
    finally:
        for other in spinning:
            other.kill()
    finish(words, folder)
    again = folder.with_name(folder.name + "-recipe")
    task = words[words.index("--task") + 1]
    run = [*words[:3], "run", str(folder / "recipe.toml"), "--task", task, "--out", str(again), "--threads", "1"]
    perform(run, again)
    digest = sha256_of_file(student(folder))
    files = {sha256_of_file(f) for f in again.glob("steps/*/model.gguf")}
    wanted = digest if digest in files else "none of its recipe's files"
    return Trial(number, seconds, during, kept, digest, wanted, decided, left_over(folder))


def perform(command: Sequence[str], folder: Path) -> None:
    """Runs `lightbulb run`. Raises SystemExit with the log where it failed."""
    log = folder.with_suffix(".log")
    if code := start(command, log).wait(PATIENCE_SECONDS):
        raise SystemExit(f"error: exit code {code}: {' '.join(command)}\n" + log.read_text(errors="replace")[-2000:])


def shortened(folder: Path) -> list[str]:
    """Labels of the steps that the clock has shortened."""
    place = folder / "clock.json"
    return [name.rpartition("-")[0] for name in read_json(place) if name.endswith("to")] if place.exists() else []


def spin() -> list[subprocess.Popen[bytes]]:
    cores = SPINNING * len(os.sched_getaffinity(0))
    return [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]


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
    decided = ("batch_size", "teacher_epochs", "freeze_layers", "space", "distill_epochs")
    plans = [{k: read_json(f / "plan.json")[k] for k in decided} for f in folders]
    equal = all(p == plans[0] for p in plans)
    print(f"decisions of the plans {'equal' if equal else 'DIFFER: ' + json.dumps(plans)}", flush=True)


def table(trials: Sequence[Trial]) -> str:
    lines = [
        "| kill | after, s | killed | shortened before | steps kept | same bytes | left over |",
        "|--:|--:|---|---|--:|---|---|",
    ]
    for t in sorted(trials, key=lambda t: (t.decided != "", t.seconds)):
        same = "yes" if t.same else f"NO: {t.sha256[:16]}"
        stray = ", ".join(t.left_over) or "-"
        lines.append(
            f"| {t.number} | {t.seconds:.1f} | {t.during} | {t.decided or '-'} | {t.kept} | {same} | {stray} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
