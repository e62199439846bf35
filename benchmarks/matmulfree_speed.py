"""What a token of a MatMul-free model costs in filament, beside a transformer of as many weights in filament and in
llama.cpp: tokens/s, CPU seconds, joules and memory at contexts of 128 to 32k.

    python benchmarks/matmulfree_speed.py [--only 1.3B] [--contexts 128 2048] [--out runs/matmulfree_speed] [--write]

Weights are random, in the shapes of the paper (2406.02528). A file is written into a temporary folder, measured in each
runtime and removed; a runtime is a process of its own for each context, which reads a prompt and then writes --windows
times --written tokens after it. Each of these is a line of --out, and what was measured there is not measured again: a
run that was ended goes on. A prompt that would take over --most minutes, and what has no room in memory, is left out.
Power is the estimate of the meter with its 90% interval. "other work" is how many processors others kept busy
meanwhile: where it is not near 0, figures are too slow.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from matmulfree_shapes import SIZES, Kind, Size, write_size
from sections import commit, put

HEADING = "## Models without matrix products"
CONTEXTS = (128, 512, 2048, 8192, 32768)
HEAD_BYTES = {"filament": 1, "llama.cpp": 2}  # of a key or value
SPARE = 2 << 30  # bytes of memory that stay free
Entry = dict[str, Any]


@dataclass(frozen=True)
class Model:
    """A file, and the runtimes that read it."""

    architecture: str
    kind: Kind
    runtimes: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{'MatMul-free' if self.architecture == 'matmulfree' else 'transformer'}, {self.kind.name}"

    def file_bytes(self, size: Size) -> float:
        bits = {Kind.F16: 16, Kind.Q4_0: 4.5, Kind.TQ2_0: 2.0625}[self.kind]
        dense = 2 * size.vocabulary * size.width
        return (bits * (size.weights - dense) + (16 if self.kind == Kind.F16 else 8.5) * dense) / 8

    def memory(self, size: Size, runtime: str, context: int) -> float:
        """Bytes that it needs, about."""
        cache = 0 if self.architecture == "matmulfree" else 2 * size.layers * size.width * context
        return self.file_bytes(size) + cache * HEAD_BYTES[runtime]


MODELS = (
    Model("matmulfree", Kind.TQ2_0, ("filament",)),
    Model("llama", Kind.TQ2_0, ("filament", "llama.cpp")),
    Model("llama", Kind.Q4_0, ("llama.cpp",)),
    Model("llama", Kind.F16, ("llama.cpp",)),
)


def main() -> int:
    asked = arguments()
    asked.out.mkdir(parents=True, exist_ok=True)
    for name in asked.only or SIZES:
        for model in MODELS:
            measure(name, model, asked)
    text = render(read_records(asked.out), asked)
    print(text)
    if asked.write:
        put(" ".join(["matmulfree speed", *(asked.only or ())]), text, HEADING)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(SIZES))
    parser.add_argument("--contexts", nargs="+", type=int, default=list(CONTEXTS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--written", type=int, default=32, help="tokens of a window, a multiple of 8")
    parser.add_argument("--most", type=float, default=10, help="minutes that reading a prompt may take")
    parser.add_argument("--out", type=Path, default=Path("runs/matmulfree_speed"), help="where the records are")
    parser.add_argument("--files", type=Path, help="where models are written meanwhile")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    return parser.parse_args()


def measure(name: str, model: Model, asked: argparse.Namespace) -> None:
    """What is not in the records yet. The file is made only for that."""
    with ExitStack() as stack:
        path = None
        for runtime, context in [(r, c) for r in model.runtimes for c in sorted(asked.contexts)]:
            if measured(asked, name, model, runtime, context):
                continue
            entry = {"size": name, "model": model.name, "runtime": runtime, "context": context}
            entry |= {"threads": asked.threads, "date": str(date.today()), "commit": commit()}
            if why := refused(name, model, runtime, context, asked):
                entry["left_out"] = why
            else:
                path = path or stack.enter_context(made(name, model, asked))
                entry |= ask(runtime, path, context, asked)
            with (asked.out / "records.jsonl").open("a", encoding="utf-8") as records:
                records.write(json.dumps(entry) + "\n")
            print(line(cells(entry)), flush=True)


@contextmanager
def made(name: str, model: Model, asked: argparse.Namespace) -> Iterator[Path]:
    """The model's file, as long as it is used."""
    with tempfile.TemporaryDirectory(dir=asked.files) as folder:
        if shutil.disk_usage(folder).free < 1.1 * model.file_bytes(SIZES[name]):
            raise SystemExit(f"no room for {name} as {model.name} in {folder}: name another folder (--files)")
        path = Path(folder) / "model.gguf"
        dense = Kind.F16 if model.kind == Kind.F16 else Kind.Q8_0
        write_size(path, SIZES[name], model.architecture, model.kind, dense)
        yield path


def measured(asked: argparse.Namespace, name: str, model: Model, runtime: str, context: int) -> Entry | None:
    """What the records say of it, where it was not left out."""
    wanted = (name, model.name, runtime, context, asked.threads)
    found = [e for e in read_records(asked.out) if key(e) == wanted and "left_out" not in e]
    return found[0] if found else None


def key(entry: Entry) -> tuple[Any, ...]:
    return tuple(entry[k] for k in ("size", "model", "runtime", "context", "threads"))


def read_records(folder: Path) -> list[Entry]:
    """The last of each. A line that was cut short is none."""
    path, found = folder / "records.jsonl", dict[tuple[Any, ...], Entry]()
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        with suppress(json.JSONDecodeError):
            entry = json.loads(text)
            found[key(entry)] = entry
    return list(found.values())


def refused(name: str, model: Model, runtime: str, context: int, asked: argparse.Namespace) -> str | None:
    """Why it is left out."""
    if engine(runtime) is None:
        return f"{runtime} is not installed"
    free = next(int(t.split()[1]) for t in Path("/proc/meminfo").read_text().splitlines() if t.startswith("MemAvail"))
    if model.memory(SIZES[name], runtime, context) + SPARE > 1024 * free:
        return "no room in memory"
    shorter = [e for c in sorted(asked.contexts) if c < context and (e := measured(asked, name, model, runtime, c))]
    if shorter and shorter[-1]["read"]["wall"] * context > 60 * asked.most:
        return f"reading takes over {asked.most:g} minutes"
    return None


def engine(runtime: str) -> str | None:
    """The engine of filament_worker.py: llama.cpp as it was compiled here rather than the wheel."""
    if runtime == "filament":
        return "filament" if find_spec("lightbulb_filament") else None
    return "native" if find_spec("llama_cpp") else "xllamacpp" if find_spec("xllamacpp") else None


def ask(runtime: str, path: Path, context: int, asked: argparse.Namespace) -> Entry:
    worker = Path(__file__).with_name("matmulfree_worker.py")
    numbers = [str(n) for n in (asked.threads, context, asked.windows, asked.written)]
    done = subprocess.run(
        [sys.executable, worker, str(engine(runtime)), str(path), *numbers], stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        return {"left_out": f"{runtime} ended with {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


HEAD = (
    "size",
    "model",
    "runtime",
    "context",
    "reading, tokens/s",
    "writing, tokens/s",
    "CPU ms a token written",
    "mJ a token written (estimated)",
    "power, W (estimated)",
    "of the roofline",
    "fastest 8 tokens",
    "peak memory, MB",
    "other work, processors",
)


def cells(entry: Entry) -> list[str]:
    start = [entry["size"], entry["model"], entry["runtime"], f"{entry['context']:,}"]
    if "left_out" in entry:
        return [*start, f"not measured: {entry['left_out']}", *["-"] * (len(HEAD) - len(start) - 1)]
    wrote = entry["write"]
    speeds = sorted(1 / w["wall"] for w in wrote)
    return [
        *start,
        f"{1 / entry['read']['wall']:,.1f}",
        f"{statistics.median(speeds):,.1f} [{speeds[0]:,.1f}, {speeds[-1]:,.1f}]",
        f"{1e3 * statistics.median(w['cpu'] for w in wrote):,.1f}",
        interval([[1e3 * j for j in w["joules"]] for w in wrote if w["joules"]]),
        interval([[j / w["wall"] for j in w["joules"]] for w in wrote if w["joules"]]),
        share(entry, "wall"),
        share(entry, "fastest"),
        "not measured" if entry["peak"] is None else f"{entry['peak'] / 1e6:,.0f}",
        f"{entry['others']:.2f}",
    ]


def interval(rows: list[list[float]]) -> str:
    """Medians of value, low and high."""
    if not rows:
        return "not measured"
    value, low, high = (statistics.median(column) for column in zip(*rows, strict=True))
    return f"{value:,.3g} [{low:,.3g}, {high:,.3g}]"


def share(entry: Entry, what: str) -> str:
    """Of the roofline, which is the best pass of a probe: the fastest tokens are what compares with it."""
    if entry["least"] is None:
        return "-"
    shares = sorted(entry["least"] / w[what] for w in entry["write"])
    return f"{statistics.median(shares):.0%}"


def render(entries: list[Entry], asked: argparse.Namespace) -> str:
    from lightbulb.energy.processor import processor_name

    order = [(name, model.name) for name in SIZES for model in MODELS]
    rows = sorted(
        (e for e in entries if e["size"] in (asked.only or SIZES)),
        key=lambda e: (order.index((e["size"], e["model"])), e["runtime"], e["context"]),
    )
    commits, days = sorted({e["commit"] for e in rows}), sorted({e["date"] for e in rows})
    return "\n".join(
        [
            f"`python benchmarks/matmulfree_speed.py {shlex.join(sys.argv[1:])}`, {', '.join(days)}, commit "
            f"{', '.join(commits)}, {processor_name()}, {asked.threads} threads at most. Random weights; embedding and "
            f"head q8_0, or f16 beside f16. Medians of {asked.windows} times {asked.written} tokens written, "
            "least and most in brackets; the prompt is read once.",
            "",
            line(HEAD),
            "|---" * len(HEAD) + "|",
            *(line(cells(e)) for e in rows),
            "",
            *(f"* {told}" for name in SIZES for told in comparisons(name, rows)),
        ]
    )


def comparisons(name: str, rows: list[Entry]) -> list[str]:
    """The MatMul-free model beside the others, at each context where both were measured."""
    found = {(e["model"], e["runtime"], e["context"]): e for e in rows if e["size"] == name and "left_out" not in e}
    free, told = MODELS[0], []
    for model in MODELS[1:]:
        for runtime in model.runtimes:
            pairs = {c: (found[free.name, "filament", c], e) for (m, r, c), e in sorted(found.items(), key=str)
                     if (m, r) == (model.name, runtime) and (free.name, "filament", c) in found}  # fmt: skip
            if pairs:
                told.append(f"{name}, {model.name} in {runtime} / MatMul-free in filament: " + "; ".join(
                    f"after {c:,} {times(pairs[c])}" for c in sorted(pairs)))  # fmt: skip
    return told


def times(pair: tuple[Entry, Entry]) -> str:
    ours, theirs = pair
    wall = [statistics.median(w["wall"] for w in e["write"]) for e in (theirs, ours)]
    memory = "" if None in (ours["peak"], theirs["peak"]) else f", {theirs['peak'] / ours['peak']:.1f} x the memory"
    return f"{wall[0] / wall[1]:.2f} x the time{memory}"


def line(each: Any) -> str:
    return "| " + " | ".join(each) + " |"


if __name__ == "__main__":
    raise SystemExit(main())
