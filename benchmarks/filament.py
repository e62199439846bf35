"""filament beside llama.cpp on the same GGUF files: CPU seconds and wall seconds a token, in pairs, in one run.

    python benchmarks/filament.py [--trials 5] [--threads 1 2] [--contexts 64 512 2048] [--only NAME ...] [--write]

Shapes with random weights (what a token costs does not depend on their values) and SmolLM2-135M as q4_0 and q8_0. Each
runtime is a process of its own that loads the file once; a trial asks both, in random order, to read a prompt and to
write. Decoding is the difference between writing many tokens and writing one; prefill is the reading with one token
written. Ratios are llama.cpp / filament, trial by trial: median and range. --write puts it into docs/benchmarks.md.
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
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

PAGE = ROOT / "docs" / "benchmarks.md"
HEADING = "## filament beside llama.cpp"
RUNTIMES = ("filament", "llamacpp")
WRITTEN = 64  # tokens decoded in a trial
PREFILLS = (32, 128, 512)
SLACK = 16


@dataclass(frozen=True)
class Shape:
    """A llama of random weights. `type`: of the layers' matrices; the embedding, also the head, is q8_0."""

    layers: int
    width: int
    feed_forward: int
    vocabulary: int
    type: str
    head: int = 64


SHAPES = {
    "6 layers, d 512, q4_0": Shape(6, 512, 1536, 8192, "Q4_0"),
    "6 layers, d 512, ternary": Shape(6, 512, 1536, 8192, "TQ2_0"),
    "10 layers, d 512, q4_0": Shape(10, 512, 1536, 8192, "Q4_0"),
    "10 layers, d 512, ternary": Shape(10, 512, 1536, 8192, "TQ2_0"),
    "SmolLM2-135M q4_0": "Q4_0",
    "SmolLM2-135M q8_0": "Q8_0",
    "24 layers, d 2048, ternary (1.2B)": Shape(24, 2048, 5632, 32768, "TQ2_0"),
}


def main() -> int:
    asked = arguments()
    if asked.worker:
        return work(*asked.worker)
    names = [n for n in SHAPES if not asked.only or any(o in n for o in asked.only)]
    with tempfile.TemporaryDirectory(dir=asked.files) as folder:
        rows = [row for name in names for row in measure(name, make(name, Path(folder)), asked)]
    text = render(rows, asked)
    print(text)
    if asked.write:
        write_section(text)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--contexts", type=int, nargs="+", default=[64, 512, 2048])
    parser.add_argument("--only", nargs="+", help="parts of names")
    parser.add_argument("--files", type=Path, help="where the models are written meanwhile")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def make(name: str, folder: Path) -> Path:
    path, shape = folder / f"{len(list(folder.iterdir()))}.gguf", SHAPES[name]
    if isinstance(shape, Shape):
        write_shape(path, shape)
        return path
    from lightbulb.formats.gguf import write_gguf
    from lightbulb.models.loading import import_model
    from lightbulb.models.resolve import resolve

    model = folder / "smollm2"
    if not model.exists():
        model.mkdir()
        import_model(resolve("smollm2-135m"), model)
    write_gguf(model, path, shape.lower(), "q8_0")
    return path


def write_shape(path: Path, shape: Shape) -> None:
    from gguf import GGMLQuantizationType, GGUFWriter, TokenType
    from gguf.quants import quantize

    rng = np.random.default_rng(0)
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(shape.layers)
    writer.add_embedding_length(shape.width)
    writer.add_context_length(4096)
    writer.add_head_count(shape.width // shape.head)
    writer.add_head_count_kv(shape.width // shape.head)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.head)
    words = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    words += [f"\u2581w{i}" for i in range(shape.vocabulary - len(words))]
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL] + [TokenType.BYTE] * 256
    writer.add_tokenizer_model("llama")
    writer.add_token_list(words)
    writer.add_token_scores([0.0] * len(words))
    writer.add_token_types(kinds + [TokenType.NORMAL] * (len(words) - len(kinds)))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)

    def matrix(name: str, rows: int, columns: int, type: str) -> None:
        weights = rng.standard_normal((rows, columns), dtype=np.float32) / np.sqrt(columns)
        kind = GGMLQuantizationType[type]
        writer.add_tensor(f"{name}.weight", quantize(weights, kind), raw_dtype=kind)

    def ones(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(shape.width, np.float32))

    matrix("token_embd", shape.vocabulary, shape.width, "Q8_0")
    for i in range(shape.layers):
        ones(f"blk.{i}.attn_norm")
        ones(f"blk.{i}.ffn_norm")
        for part in ("q", "k", "v", "output"):
            matrix(f"blk.{i}.attn_{part}", shape.width, shape.width, shape.type)
        matrix(f"blk.{i}.ffn_gate", shape.feed_forward, shape.width, shape.type)
        matrix(f"blk.{i}.ffn_up", shape.feed_forward, shape.width, shape.type)
        matrix(f"blk.{i}.ffn_down", shape.width, shape.feed_forward, shape.type)
    ones("output_norm")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Worker:
    """A runtime in a process of its own: ask(prompt tokens, tokens to write) -> CPU seconds and wall seconds."""

    def __init__(self, runtime: str, path: Path, threads: int):
        command = [sys.executable, __file__, "--worker", runtime, str(path), str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, prompt: int, written: int) -> dict[str, float]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps([prompt, written]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def work(runtime: str, path: str, threads: str) -> int:
    """The other side of Worker."""
    from lightbulb.runtimes.filament import Filament
    from lightbulb.runtimes.llamacpp import LlamaCpp

    longest = 4096
    opened: Any = {"filament": Filament, "llamacpp": LlamaCpp}[runtime](
        Path(path), threads=int(threads), context=longest
    )
    rng = random.Random(0)
    for line in sys.stdin:
        n, written = json.loads(line)
        prompt = [rng.randrange(300, 8000) for _ in range(n)]
        cpu, wall = time.process_time(), time.perf_counter()
        opened.write_exactly([prompt], written)
        took = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        print(json.dumps(took), flush=True)
    return 0


def measure(name: str, path: Path, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of the table: decoding at each context, and prefill, for each number of threads."""
    rows = []
    for threads in asked.threads:
        workers = {r: Worker(r, path, threads) for r in RUNTIMES}
        for worker in workers.values():
            worker.ask(64, 8)  # warm
        for context in asked.contexts:
            rows.append(row(name, f"decode at {context}", threads, path, workers, asked, context, WRITTEN))
        for prompt in PREFILLS:
            rows.append(row(name, f"prefill of {prompt}", threads, path, workers, asked, prompt, 0))
        for worker in workers.values():
            worker.close()
    return rows


def row(
    name: str,
    what: str,
    threads: int,
    path: Path,
    workers: dict[str, Worker],
    asked: argparse.Namespace,
    prompt: int,
    written: int,
) -> dict[str, Any]:
    found: dict[str, dict[str, list[float]]] = {r: {"cpu": [], "wall": []} for r in RUNTIMES}
    for _ in range(asked.trials):
        for runtime in random.sample(RUNTIMES, len(RUNTIMES)):
            least = workers[runtime].ask(prompt, 1)
            most = workers[runtime].ask(prompt, 1 + written) if written else least
            for kind, seconds in found[runtime].items():
                seconds.append((most[kind] - least[kind]) / written if written else least[kind] / prompt)
    print(f"{name}, {threads} thread(s), {what}", file=sys.stderr, flush=True)
    return {"name": name, "what": what, "threads": threads, "bytes": path.stat().st_size, "found": found}


def render(rows: list[dict[str, Any]], asked: argparse.Namespace) -> str:
    from lightbulb.energy.processor import processor_name

    lines = [
        f"`python benchmarks/filament.py {shlex.join(sys.argv[1:])}`, {date.today()}, {processor_name()}; kernels "
        f"{kernels()}; xllamacpp {version('xllamacpp')}. Medians of {asked.trials} trials; ratios are llama.cpp / "
        "filament, trial by trial: median (least to most).",
        "",
        "| model | threads | work | filament, CPU µs a token | llama.cpp, CPU µs a token | ratio of CPU seconds | "
        "ratio of wall seconds | filament, tokens/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        ours, theirs = (r["found"][runtime] for runtime in RUNTIMES)
        cells = [
            r["name"],
            str(r["threads"]),
            r["what"],
            f"{1e6 * statistics.median(ours['cpu']):,.0f}",
            f"{1e6 * statistics.median(theirs['cpu']):,.0f}",
            ratio(theirs["cpu"], ours["cpu"]),
            ratio(theirs["wall"], ours["wall"]),
            f"{1 / statistics.median(ours['wall']):,.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ratio(theirs: list[float], ours: list[float]) -> str:
    ratios = sorted(a / b for a, b in zip(theirs, ours, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def kernels() -> str:
    import lightbulb_filament

    return lightbulb_filament.available()[0]


def version(package: str) -> str:
    import importlib.metadata

    return importlib.metadata.version(package)


def write_section(text: str) -> None:
    """Puts the table between its markers, under its heading."""
    begin, end = "<!-- filament -->", "<!-- /filament -->"
    page = PAGE.read_text(encoding="utf-8")
    if begin not in page:
        page = f"{page.rstrip()}\n\n{HEADING}\n\n{begin}\n{end}\n"
    before, _, rest = page.partition(begin)
    PAGE.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
