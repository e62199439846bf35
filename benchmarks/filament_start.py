"""How soon does a model answer, and in how much memory? filament beside llama.cpp, a process of its own each time.

    python benchmarks/filament_start.py [--trials 10] [--write]

A model of 20 MB (8 layers, d 512, q4_0; its file is in the page cache) is opened by a fresh Python and writes one
token. Time: from starting the process until the token is there, the interpreter's own start included; the library's
import is in it. Memory: the peak of the resident set above what it was after the import, less keys and values, as a
share of the file.
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
import time
from datetime import date
from pathlib import Path

from sections import commit, put
from shapes import Shape, write_shape

from filament import version

SHAPE = Shape(8, 512, 1536, 8192, "Q4_0")
HEADING = "## Start-up and memory of filament"
PROMPT = list(range(300, 364))
BARE = "print('0 0')"
# Each prints: the peak of resident memory above what it was after the import, and the bytes of keys and values in it.
OURS = """
import lightbulb_filament as f
START
m = f.Model(PATH, threads=2)
m.generate(PROMPT, 1, stop=[])
PEAK
n = -(-(len(PROMPT) + 1) // 32) * 32  # positions come in blocks of 32
print(peak, m.cost(n)[0] - m.weight_bytes)
"""
THEIRS = """
import xllamacpp
START
p = xllamacpp.CommonParams()
p.model.path, p.n_ctx, p.n_parallel, p.warmup, p.verbosity = PATH, 256, 1, False, -1
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 2
p.cache_ram_mib = p.n_ctx_checkpoints = 0
s = xllamacpp.Server(p)
s.handle_completions({"prompt": PROMPT, "max_tokens": 1, "ignore_eos": True})
PEAK
print(peak, KV)
import os; os._exit(0)
"""
START = """
def status(field):
    return 1024 * next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith(field))
open('/proc/self/clear_refs', 'w').write('5')
before = status('VmRSS')
"""
PEAK = "peak = status('VmHWM') - before"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    kv = 2 * 2 * 256 * SHAPE.width * SHAPE.layers  # f16 keys and values of llama.cpp's 256 tokens
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.gguf"
        write_shape(path, SHAPE)
        size = path.stat().st_size
        programs = {"python alone": BARE, "filament": OURS, "xllamacpp": THEIRS}
        for name, text in programs.items():
            for word, code in (("START", START), ("PEAK", PEAK), ("PATH", repr(str(path)))):
                text = text.replace(word, code)
            programs[name] = text.replace("PROMPT", repr(PROMPT)).replace("KV", str(kv))
        found: dict[str, list[tuple[float, int, int]]] = {name: [] for name in programs}
        for _ in range(asked.trials):
            for name in random.sample(list(programs), len(programs)):
                found[name].append(once(programs[name]))
    lines = [
        f"`python benchmarks/filament_start.py {shlex.join(sys.argv[1:])}`, {date.today()}, commit {commit()}; "
        f"xllamacpp {version('xllamacpp')}. A model of {size / 1e6:.1f} MB; medians of {asked.trials} trials (least to "
        "most).",
        "",
        "| | first token from a cold process, s | peak memory without keys and values, share of the file |",
        "|---|---|---|",
    ]
    for name, rows in found.items():
        seconds = sorted(r[0] for r in rows)
        shares = [(peak - kept) / size for _, peak, kept in rows]
        memory = "" if name == "python alone" else f"{statistics.median(shares):.2f}"
        lines.append(
            f"| {name} | {statistics.median(seconds):.3f} ({seconds[0]:.3f} to {seconds[-1]:.3f}) | {memory} |"
        )
    print(text := "\n".join(lines))
    if asked.write:
        put("filament-start", text, HEADING)
    return 0


def once(program: str) -> tuple[float, int, int]:
    """Seconds until the process has said what it found, the peak of its memory and its keys and values."""
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        said = process.stdout.readline()
        took = time.perf_counter() - start
        process.stdout.read()
    assert process.returncode == 0, json.dumps(program)
    peak, kept = (int(x) for x in said.split())
    return took, peak, kept


if __name__ == "__main__":
    raise SystemExit(main())
