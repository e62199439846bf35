"""SmolLM2-135M rounded by us and by llama.cpp: perplexity and KL divergence from the unrounded model on WikiText-2.

    python benchmarks/quantize.py --text ../shared/data/wikitext2/wiki.test.raw [--tokens 8192] [--write]

The first part of the text calibrates, the last is read. Both sides get the same types of tensors, the same weights and
the same importance matrix; llama.cpp's side is the code of its quantizers (`ggml_quantize_chunk`), tensor by tensor.
Every model is then computed in float32 from the weights that its file holds. Intervals: 95%, bootstrap over chunks,
paired with the unrounded model. One process a row; finished rows are found again.
"""

from __future__ import annotations

import argparse
import math
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from sections import ROOT, commit, put

sys.path.insert(0, str(ROOT / "src"))
sys.path.append(str(ROOT / "tests" / "formats"))

from lightbulb.core.files import read_json, write_json
from lightbulb.formats.gguf.type_map import TypeMap

HEADING = "## Types of weights"
MODEL, CHUNK = "smollm2-135m", 512  # tokens
CALIBRATION, PROBE = 8192, 256  # tokens
CALIBRATES, READS = 0.6, 0.65  # shares of the text: up to here, from here
ENDS = {"embedding": "q8_0", "head": "q8_0"}
DOWN = "feed_forward.down"  # the only rows of SmolLM2-135M that are whole blocks of 256
MAPS = {
    "8": TypeMap("q8_0", ENDS),
    "6": TypeMap("q8_0", ENDS | {DOWN: "q6_k"}),
    "5": TypeMap("q5_0", ENDS),
    "4": TypeMap("q4_0", ENDS),
    "4, iq4_nl": TypeMap("iq4_nl", ENDS),
    "3": TypeMap("iq4_nl", ENDS | {DOWN: "q3_k"}),
    "2": TypeMap("iq4_nl", ENDS | {DOWN: "q2_k"}),
}  # as llama.cpp's quantize falls back where rows are no whole blocks
LLAMACPP, LLAMACPP_IMATRIX, IMATRIX, GPTQ, MIXTURE = (
    "llama.cpp",
    "llama.cpp, imatrix",
    "imatrix",
    "gptq",
    "mixture, gptq",
)
SIDES = {
    "8": (LLAMACPP, IMATRIX, GPTQ),  # llama.cpp's q8_0 takes no importance matrix
    "6": (LLAMACPP, LLAMACPP_IMATRIX, GPTQ, MIXTURE),
    "5": (LLAMACPP, LLAMACPP_IMATRIX, IMATRIX, GPTQ, MIXTURE),
    "4": (LLAMACPP, LLAMACPP_IMATRIX, IMATRIX, GPTQ, MIXTURE),
    "4, iq4_nl": (LLAMACPP_IMATRIX, IMATRIX, GPTQ),
    "3": (LLAMACPP, LLAMACPP_IMATRIX, IMATRIX, GPTQ, MIXTURE),
    "2": (LLAMACPP, LLAMACPP_IMATRIX, IMATRIX, GPTQ, MIXTURE),
}
AMONG = ("q8_0", "q6_k", "q5_0", "q4_k", "iq4_nl", "q3_k", "q2_k")  # without q4_1, whose values the weights came with


@dataclass(frozen=True)
class Row:
    """A model, and how it was made."""

    size: str
    side: str

    @property
    def file(self) -> str:
        return f"{self.size}-{self.side}".replace(", ", "-").replace(" ", "-") + ".json"


ROWS = [Row(size, side) for size, sides in SIDES.items() for side in sides]


def main() -> int:
    asked = arguments()
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.row is not None:
        prepare(asked) if asked.row < 0 else measure(asked, ROWS[asked.row])
        return 0
    for number in range(-1, len(ROWS)):
        file = asked.out / (ROWS[number].file if number >= 0 else "prepared.json")
        wanted = number < 0 or not asked.only or ROWS[number].size in asked.only
        if wanted and not file.exists():
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--row", str(number)], check=True)
    print(text := table(asked))
    if asked.write:
        put("quantize", text, HEADING)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=8192, help="that are read")
    parser.add_argument("--only", nargs="*", choices=MAPS, help="sizes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/quantize"))
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    parser.add_argument("--row", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def chunks(asked: argparse.Namespace) -> tuple[list[list[int]], list[list[int]]]:
    """Tokens to calibrate with, and to read, from all over their parts of the text."""
    from lightbulb.models.loading import load_tokenizer

    text, tokenizer = asked.text.read_text(encoding="utf-8"), load_tokenizer(asked.out / "model")
    parts = (text[: int(CALIBRATES * len(text))], text[int(READS * len(text)) :])
    found = []
    for part, tokens in zip(parts, (CALIBRATION, asked.tokens), strict=True):
        ids = tokenizer(part).input_ids
        starts = np.linspace(0, len(ids) - CHUNK, tokens // CHUNK).astype(int)
        found.append([ids[s : s + CHUNK] for s in starts])
    return found[0], found[1]


def calibration_batches(asked: argparse.Namespace, tokens: int = CALIBRATION) -> list[Any]:
    from lightbulb.models.form import Encoded
    from lightbulb.train.tracing import batches_of

    at_once = min(CHUNK, tokens)
    return batches_of([Encoded(ids[:at_once], 1) for ids in chunks(asked)[0][: tokens // at_once]])


def prepare(asked: argparse.Namespace) -> None:
    """The model, what calibration tells, and what the unrounded model says."""
    from lightbulb.models.importing import import_model
    from lightbulb.models.loading import load_model
    from lightbulb.models.resolve import resolve
    from lightbulb.train.calibration import mean_squares_of, sensitivities_of, write_mean_squares
    from lightbulb.train.forward import deterministic

    import_model(resolve(MODEL), asked.out / "model")
    model = load_model(asked.out / "model")
    with deterministic(0, asked.threads):
        began = time.perf_counter()
        write_mean_squares(mean_squares_of(model, calibration_batches(asked), told), asked.out)
        calibrated = time.perf_counter()
        sensitivities = sensitivities_of(model, calibration_batches(asked, PROBE), told)
        probed = time.perf_counter()
        reference = np.lib.format.open_memmap(
            asked.out / "reference.npy", "w+", np.float16, (asked.tokens // CHUNK, CHUNK - 1, model.config.vocab_size)
        )
        nats = []
        for at, log_probs in enumerate(read(model, asked)):
            reference[at] = log_probs
            nats.append(nats_of(log_probs, chunks(asked)[1][at]))
    said = {"sensitivities": sensitivities, "calibrate": calibrated - began, "probe": probed - calibrated, "nats": nats}
    write_json(asked.out / "prepared.json", said)


def told(done: float, note: str) -> None:
    print(f"\r{done:g} {note}", end="", file=sys.stderr, flush=True)


def read(model: Any, asked: argparse.Namespace) -> Any:
    """Log-probabilities [CHUNK - 1, V] of each chunk, in float32."""
    import torch

    for ids in chunks(asked)[1]:
        with torch.no_grad():
            yield model(torch.tensor([ids[:-1]])).logits[0].float().log_softmax(-1).numpy()


def nats_of(log_probs: np.ndarray, ids: list[int]) -> float:
    return float(-np.take_along_axis(log_probs, np.array(ids[1:])[:, None], axis=1).mean())


def measure(asked: argparse.Namespace, row: Row) -> None:
    """Makes one model, reads the text with it, and writes down both."""
    import torch

    from lightbulb.models.loading import load_model
    from lightbulb.train.forward import deterministic

    prepared, model = read_json(asked.out / "prepared.json"), load_model(asked.out / "model")
    with deterministic(0, asked.threads):
        began, cpu = time.perf_counter(), time.process_time()
        types = make(asked, row, model, prepared["sensitivities"])
        made = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        reference = np.load(asked.out / "reference.npy", mmap_mode="r")
        nats, divergence = [], []
        for at, log_probs in enumerate(read(model, asked)):
            base = torch.from_numpy(reference[at].astype(np.float32)).log_softmax(-1)
            divergence.append(float((base.exp() * (base - torch.from_numpy(log_probs))).sum(-1).mean()))
            nats.append(nats_of(log_probs, chunks(asked)[1][at]))
    said = made | {"peak_bytes": peak, "bits_per_weight": bits_of(model, types), "nats": nats, "divergence": divergence}
    write_json(asked.out / row.file, said)
    print(f"{row.file}: {np.mean(divergence):.5f} nats, {made['seconds']:.0f} s", file=sys.stderr, flush=True)


def make(asked: argparse.Namespace, row: Row, model: Any, sensitivities: Mapping[str, float]) -> TypeMap:
    """Rounds the model in place; says its types."""
    import torch
    from llama_quantize import llama_quantize

    from lightbulb.core.progress import Silent
    from lightbulb.train.calibration import read_mean_squares
    from lightbulb.train.gptq import gptq_
    from lightbulb.train.mixture import choose_types
    from lightbulb.train.quantized import matrices_of, round_

    types, mean_squares = MAPS[row.size], read_mean_squares(asked.out)
    if row.side == MIXTURE:
        chosen = choose_types(model, sensitivities, mean_squares, AMONG, bits_of(model, types), "q8_0")
        assert chosen is not None
        types = chosen
    if row.side in (GPTQ, MIXTURE):
        with tempfile.TemporaryDirectory() as scratch:
            gptq_(model, types, calibration_batches(asked), Path(scratch), Silent())
        return types
    for matrix in matrices_of(model):
        known, importance = types.asked_for(matrix.tensor), mean_squares.get(matrix.name)
        if row.side == IMATRIX:
            round_(matrix, known.name, importance)
            continue
        weighted = importance.numpy() if row.side == LLAMACPP_IMATRIX and importance is not None else None
        packed = llama_quantize(known, matrix.weight.detach().numpy(), weighted)
        with torch.no_grad():
            matrix.weight.copy_(torch.from_numpy(known.dequantize(packed)))
    return types


def bits_of(model: Any, types: TypeMap) -> float:
    """The mean over all matrices."""
    from lightbulb.train.quantized import matrices_of

    matrices = matrices_of(model)
    bits = sum(m.weights * types.asked_for(m.tensor).bits_per_weight for m in matrices)
    return bits / sum(m.weights for m in matrices)


def table(asked: argparse.Namespace) -> str:
    prepared = read_json(asked.out / "prepared.json")
    base = np.array(prepared["nats"])
    drawn = np.random.default_rng(0).integers(0, len(base), (10_000, len(base)))
    found = {row: read_json(asked.out / row.file) for row in ROWS if (asked.out / row.file).exists()}
    lines = [
        f"`python benchmarks/quantize.py {shlex.join(sys.argv[1:])}`, {date.today()}, commit {commit()}, "
        f"{len(base)} chunks of {CHUNK} tokens; calibrated with {CALIBRATION:,} tokens in "
        f"{prepared['calibrate']:.0f} s, sensitivities with {PROBE:,} in {prepared['probe']:.0f} s.",
        "",
        f"Unrounded (f32 of the Q4_1 and other blocks that the package holds): perplexity {math.exp(base.mean()):.3f}.",
        "",
        "| bits | made by | bits a weight | perplexity / unrounded | KL divergence, 10⁻³ nats | of llama.cpp's best |"
        " made in s | peak memory, GB |",
        "|---|---|--:|---|---|---|--:|--:|",
    ]
    for row, said in found.items():
        kl = np.array(said["divergence"])
        theirs = [np.array(o["divergence"]) for r, o in found.items() if r.size == row.size and "llama.cpp" in r.side]
        best = min(theirs, key=lambda x: x.mean(), default=None)
        against = "" if best is None or "llama.cpp" in row.side else interval(*quotient(kl, best, drawn), "x")
        ratio = np.exp((np.array(said["nats"]) - base)[drawn].mean(1))
        shown = interval(math.exp(np.mean(said["nats"]) - base.mean()), *np.quantile(ratio, [0.025, 0.975]), digits=4)
        divergence = interval(1e3 * kl.mean(), *np.quantile(1e3 * kl[drawn].mean(1), [0.025, 0.975]))
        lines.append(
            f"| {row.size} | {row.side} | {said['bits_per_weight']:.3f} | {shown} | {divergence} |"
            f" {against} | {said['seconds']:.0f} | {said['peak_bytes'] / 1e9:.2f} |"
        )
    return "\n".join(lines)


def quotient(ours: np.ndarray, theirs: np.ndarray, drawn: np.ndarray) -> tuple[float, float, float]:
    """Of means, with its interval over the same chunks of both."""
    low, high = np.quantile(ours[drawn].mean(1) / theirs[drawn].mean(1), [0.025, 0.975])
    return float(ours.mean() / theirs.mean()), float(low), float(high)


def interval(value: float, low: float, high: float, unit: str = "", digits: int = 3) -> str:
    a, b, c = (f"{x:.{digits}g}" for x in (value, low, high))
    return f"{a}{unit} [{b}, {c}]"


if __name__ == "__main__":
    raise SystemExit(main())
