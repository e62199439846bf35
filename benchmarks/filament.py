"""filament beside llama.cpp on the same GGUF files: CPU seconds and wall seconds a token, in pairs, in one run.

    python benchmarks/filament.py [--trials 3] [--threads 1 2] [--only NAME ...] [--write]

Shapes with random weights (what a token costs does not depend on their values) and SmolLM2-135M as q4_0 and q8_0. Each
runtime is a process of its own that loads the file once; in a trial all of them, in random order, read a prompt and
then write after it: the two are timed apart. llama.cpp comes as xllamacpp (the prebuilt wheel that lightbulb ships
with) and, where it is installed, as llama-cpp-python built for this processor:

    pip install --no-binary llama-cpp-python llama-cpp-python

Ratios are llama.cpp / filament, trial by trial: median and range. Power is the estimate of the meter with its 90%
interval. Rows are printed as they are found; --write puts the table into docs/benchmarks.md at the end.
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
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sections import commit, put
from shapes import SHAPES, make

HEADING = "## filament beside llama.cpp"
WRITTEN = 64  # tokens written in a trial
READ_ONLY = (32, 128)  # prompts after which nothing is written
CONTEXTS = (64, 512, 2048)
LARGE = 200_000_000  # bytes of a file from which prompts of at most MOST tokens are read
MOST = 128


@dataclass(frozen=True)
class Timed:
    """Of one token. joules: value, low, high; None where they were not found. least: seconds at the roofline, tried
    right after it; fastest: of the fastest eight tokens. None where they were not."""

    cpu: float
    wall: float
    joules: tuple[float, float, float] | None
    least: float | None = None
    fastest: float | None = None


@dataclass(frozen=True)
class Row:
    name: str
    threads: int
    work: str
    found: dict[str, list[Timed]]  # by runtime, trial by trial

    def cells(self) -> list[str]:
        ours = self.found["filament"]
        cells = [self.name, str(self.threads), self.work, micro(ours)]
        for runtime in ("xllamacpp", "native"):
            theirs = self.found.get(runtime)
            cells += [micro(theirs), ratio(theirs, ours, "cpu"), ratio(theirs, ours, "wall")] if theirs else ["-"] * 3
        speed = 1 / statistics.median(t.wall for t in ours)
        return [*cells, f"{speed:,.0f}", share(ours, "wall"), share(ours, "fastest"), watts(ours)]


HEAD = (
    "model",
    "threads",
    "work",
    "filament, CPU µs a token",
    "xllamacpp",
    "CPU, times",
    "wall, times",
    "native llama.cpp",
    "CPU, times",
    "wall, times",
    "filament, tokens/s",
    "of the roofline",
    "fastest 8 tokens",
    "power, W (estimated)",
)


def main() -> int:
    asked = arguments()
    if asked.worker:
        from filament_worker import work

        return work(*asked.worker)
    names = [n for n in SHAPES if not asked.only or any(o in n for o in asked.only)]
    rows = []
    with tempfile.TemporaryDirectory(dir=asked.files) as folder:
        for name in names:
            path = make(name, Path(folder))
            for row in measure(name, path, asked):
                print(line(row.cells()), flush=True)
                rows.append(row)
            path.unlink()
    text = render(rows, asked)
    print(text)
    if asked.write:
        put("filament", text, HEADING)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", nargs="+", help="parts of names")
    parser.add_argument("--files", type=Path, help="where the models are written meanwhile")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def runtimes() -> list[str]:
    return ["filament", "xllamacpp", *(["native"] if find_spec("llama_cpp") else [])]


class Worker:
    """A runtime in a process of its own (filament_worker.py)."""

    def __init__(self, runtime: str, path: Path, threads: int):
        command = [sys.executable, __file__, "--worker", runtime, str(path), str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, read: int, write: int) -> dict[str, Timed]:
        """Reads a prompt of so many tokens, then writes: "read" and "write", of one token each."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps([read, write]) + "\n")
        self.process.stdin.flush()
        return {k: Timed(**v) for k, v in json.loads(self.process.stdout.readline()).items()}

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def measure(name: str, path: Path, asked: argparse.Namespace) -> list[Row]:
    """Rows of the table: reading and writing, for each number of threads."""
    rows = []
    most = MOST if path.stat().st_size > LARGE else max(CONTEXTS)
    for threads in asked.threads:
        workers = {r: Worker(r, path, threads) for r in runtimes()}
        for worker in workers.values():
            worker.ask(64, 8)  # warm
        for read in sorted(n for n in {*READ_ONLY, *CONTEXTS} if n <= most):
            write = WRITTEN if read in CONTEXTS else 0
            trials = [trial(workers, read, write) for _ in range(asked.trials)]
            for what in ("read", "write") if write else ("read",):
                found = {r: [t[r][what] for t in trials] for r in workers}
                work = f"read {read}" if what == "read" else f"write after {read}"
                rows.append(Row(name, threads, work, found))
        for worker in workers.values():
            worker.close()
    return rows


def trial(workers: dict[str, Worker], read: int, write: int) -> dict[str, dict[str, Timed]]:
    return {r: workers[r].ask(read, write) for r in random.sample(list(workers), len(workers))}


def share(ours: list[Timed], what: str) -> str:
    """Of the roofline, trial by trial. That is the best pass of a probe, so the fastest tokens are what compares with
    it; the wall time of all has what other work took, too."""
    shares = sorted(t.least / getattr(t, what) for t in ours if t.least is not None)
    return f"{statistics.median(shares):.0%} ({shares[0]:.0%} to {shares[-1]:.0%})" if shares else ""


def render(rows: list[Row], asked: argparse.Namespace) -> str:
    from lightbulb.energy.processor import processor_name

    native = f"; llama-cpp-python {version('llama-cpp-python')}, built here" if "native" in runtimes() else ""
    return "\n".join(
        [
            f"`python benchmarks/filament.py {shlex.join(sys.argv[1:])}`, {date.today()}, commit {commit()}, "
            f"{processor_name()}; kernels {kernels()}; xllamacpp {version('xllamacpp')}{native}. Medians of "
            f"{asked.trials} trials; "
            "times: llama.cpp / filament, trial by trial, median (least to most).",
            "",
            line(HEAD),
            "|---" * len(HEAD) + "|",
            *(line(row.cells()) for row in rows),
        ]
    )


def line(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"


def micro(timed: list[Timed]) -> str:
    return f"{1e6 * statistics.median(t.cpu for t in timed):,.0f}"


def ratio(theirs: list[Timed], ours: list[Timed], what: str) -> str:
    ratios = sorted(getattr(a, what) / getattr(b, what) for a, b in zip(theirs, ours, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def watts(timed: list[Timed]) -> str:
    found = [[joules / t.wall for joules in t.joules] for t in timed if t.joules is not None]
    if not found:
        return "not measured"
    value, low, high = (statistics.median(column) for column in zip(*found, strict=True))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def kernels() -> str:
    import lightbulb_filament

    return lightbulb_filament.available()[0]


def version(package: str) -> str:
    import importlib.metadata

    return importlib.metadata.version(package)


if __name__ == "__main__":
    raise SystemExit(main())
