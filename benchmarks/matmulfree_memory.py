"""Resident memory of a MatMul-free model at work beside transformers of as many weights, embedding and head one matrix.

    python benchmarks/matmulfree_memory.py [--only 370M] [--context 128] [--out runs/matmulfree_memory] [--write]

Files of random weights in the shapes of the paper (2406.02528), as `lightbulb train` would write them: the head is the
embedding, of the type q4_k, or f16 beside f16. Each is a process of its own that reads --context tokens and writes 8
and 8; its peak is what it had in memory at most, above what it had before loading. CPU time is of few tokens and told
for orientation only. Each row is kept in --out and not measured again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from matmulfree_shapes import SIZES, Kind, write_size
from matmulfree_speed import ask, engine, line
from sections import commit, put

HEADING = "## Models without matrix products"
ROWS = (  # architecture, layers, head, runtime; the first is what others are compared with
    ("matmulfree", Kind.TQ2_0, Kind.Q4_K, "filament"),
    ("llama", Kind.TQ2_0, Kind.Q4_K, "filament"),
    ("llama", Kind.Q4_0, Kind.Q4_K, "filament"),
    ("llama", Kind.Q4_0, Kind.Q4_K, "llama.cpp"),
    ("llama", Kind.F16, Kind.F16, "llama.cpp"),
)
HEAD = ("size", "model", "runtime", "file, MB", "peak memory, MB", "times the first", "CPU ms a token written")


def measured(size: str, row: tuple[str, Kind, Kind, str], asked: argparse.Namespace) -> dict[str, Any]:
    """One model in one runtime; found again where it was measured before."""
    architecture, layers, head, runtime = row
    place = asked.out / f"{size}-{architecture}-{layers.name}-{runtime}-{asked.context}.json"
    if not place.exists():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.gguf"
            write_size(path, replace(SIZES[size], tied=True), architecture, layers, head)
            told = ask(runtime, path, asked.context, asked) | {"bytes": path.stat().st_size, "commit": commit()}
        if "left_out" in told:
            raise SystemExit(told["left_out"])
        asked.out.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(told), encoding="utf-8")
    return json.loads(place.read_text(encoding="utf-8"))


def cells(size: str, row: tuple[str, Kind, Kind, str], told: dict[str, Any], first: dict[str, Any]) -> list[str]:
    architecture, layers, head, runtime = row
    name = "MatMul-free" if architecture == "matmulfree" else "transformer"
    return [
        size,
        f"{name}, {layers.name.lower()}, head {head.name.lower()}",
        runtime,
        f"{told['bytes'] / 1e6:,.0f}",
        f"{told['peak'] / 1e6:,.0f}",
        f"{told['peak'] / first['peak']:.2f}",
        f"{1e3 * min(window['cpu'] for window in told['write']):,.1f}",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(SIZES), default=["370M", "1.3B"])
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/matmulfree_memory"))
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    asked = parser.parse_args()
    asked.windows, asked.written = 2, 8
    rows, commits = [], set()
    for size in asked.only:
        found = {row: measured(size, row, asked) for row in ROWS if engine(row[-1])}
        rows += [cells(size, row, told, found[ROWS[0]]) for row, told in found.items()]
        commits |= {told["commit"] for told in found.values()}
    from lightbulb.energy.processor import processor_name

    head = (
        f"`python benchmarks/matmulfree_memory.py {shlex.join(sys.argv[1:])}`, {date.today()}, commit "
        f"{', '.join(sorted(commits))}, {processor_name()}, {asked.threads} thread(s), after {asked.context} tokens. "
        "Random weights; one run each."
    )
    text = "\n".join([head, "", line(HEAD), "|---" * len(HEAD) + "|", *map(line, rows)])
    print(text)
    if asked.write:
        put("matmulfree memory", text, HEADING)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
