"""A layer of ternary weights beside `nn.Linear` of the same shape: in training in torch, in inference in filament.

    python benchmarks/ternary_linear.py [--widths 256 512 1024 2048 4096] [--tokens 1024] [--rounds 5] [--write]

Training: forward and backward of one square layer with bfloat16 products where the processor has them, float32 masters
that have changed since, as after a step. Inference: a gated feed-forward as wide inside as outside, three square layers
with their norm and gate, for one token and for 32; in filament the difference between models of many such blocks and of
one, all of one type, in torch three `nn.Linear` in float32. CPU time on one thread, medians of interleaved rounds.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGUFWriter
from matmulfree_shapes import Kind, random_blocks
from sections import commit, put

HEADING = "## Models without matrix products"
KINDS = (Kind.TQ2_0, Kind.Q4_0, Kind.Q8_0, Kind.F16)
MOST_WEIGHTS = 1 << 26  # of a model
MOST_BLOCKS = 9
HEADS, HEAD_WIDTH, VOCABULARY = 4, 64, 320
WINDOW = 0.1  # CPU seconds of a round at least
READ = 32  # tokens that are read at once


def cpu_seconds(works: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Of one call of each, the median over rounds, in which they take turns."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(rounds):
        for name, work in works.items():
            calls, begin = 0, time.process_time()
            while (took := time.process_time() - begin) < WINDOW:
                work()
                calls += 1
            found[name].append(took / calls)
    return {name: statistics.median(each) for name, each in found.items()}


def training(width: int, tokens: int, rounds: int) -> dict[str, float]:
    """CPU seconds of a step of one layer, by its kind."""
    import torch
    from torch import nn

    from lightbulb.models.ternary import TernaryLinear
    from lightbulb.train.forward import fast_math

    torch.manual_seed(0)
    x, back = torch.randn(tokens, width, requires_grad=True), torch.randn(tokens, width)

    def step(layer: nn.Linear) -> None:
        layer.weight.grad = x.grad = None
        with fast_math(x.device):
            out = layer(x)
        out.backward(back.to(out.dtype))

    layers = {"ternary": TernaryLinear(width, width), "nn.Linear": nn.Linear(width, width, bias=False)}
    return cpu_seconds({name: lambda layer=layer: step(layer) for name, layer in layers.items()}, rounds)


def write_blocks(path: Path, width: int, blocks: int, kind: Kind) -> None:
    """A model of one layer of attention with a feed-forward, and of blocks - 1 more feed-forwards."""
    writer, rng = GGUFWriter(path, "deci"), np.random.default_rng(0)
    none = [0] * (blocks - 1)
    writer.add_block_count(blocks)
    writer.add_embedding_length(width)
    writer.add_context_length(512)
    writer.add_layer_norm_rms_eps(1e-5)
    for key, value in (
        ("feed_forward_length", width),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", HEADS),
    ):
        writer.add_array(f"deci.{key}", [value, *([width] * len(none) if value == width else none)])
    for key in ("attention.key_length", "attention.value_length", "rope.dimension_count"):
        writer.add_uint32(f"deci.{key}", HEAD_WIDTH)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"w{i}" for i in range(VOCABULARY)])
    writer.add_token_scores([0.0] * VOCABULARY)
    writer.add_token_types([1] * VOCABULARY)

    def matrix(name: str, rows: int, columns: int, kind: Kind) -> None:
        per, size = GGML_QUANT_SIZES[kind]
        packed = random_blocks(rng, (rows, columns), kind).view(np.int8).reshape(rows, columns // per * size)
        writer.add_tensor(f"{name}.weight", packed, raw_shape=(rows, columns), raw_dtype=kind)

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(width, np.float32))

    inner = HEADS * HEAD_WIDTH
    matrix("token_embd", VOCABULARY, width, Kind.F16)
    norm("blk.0.attn_norm")
    for part in ("q", "k", "v"):
        matrix(f"blk.0.attn_{part}", inner, width, Kind.F16)
    matrix("blk.0.attn_output", width, inner, Kind.F16)
    for i in range(blocks):
        norm(f"blk.{i}.ffn_norm")
        for part in ("gate", "up", "down"):
            matrix(f"blk.{i}.ffn_{part}", width, width, kind)
    norm("output_norm")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def inference(width: int, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of one block, for one token and for READ, by what it is of."""
    import torch
    import torch.nn.functional as F
    from lightbulb_filament import Model

    blocks = max(2, min(MOST_BLOCKS, MOST_WEIGHTS // (3 * width * width)))
    linears = [torch.nn.Linear(width, width, bias=False) for _ in range(3)]
    inputs = [torch.randn(tokens, width) for tokens in (1, READ)]

    @torch.inference_mode()
    def plain(x: torch.Tensor) -> torch.Tensor:
        normed = F.rms_norm(x, (width,))
        return x + linears[2](F.silu(linears[0](normed)) * linears[1](normed))

    works: dict[str, Callable[[], Any]] = {f"nn.Linear/{len(x)}": lambda x=x: plain(x) for x in inputs}
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            for count in (1, blocks):
                write_blocks(Path(folder) / "m.gguf", width, count, kind)
                model = Model(Path(folder) / "m.gguf", threads=1)
                for tokens in (1, READ):
                    ids = list(range(3, 3 + tokens))
                    works[f"{kind.name}/{tokens}/{count}"] = lambda model=model, ids=ids: model.logits(ids)
        took = cpu_seconds(works, rounds)
    found = {"nn.Linear": [took[f"nn.Linear/{tokens}"] for tokens in (1, READ)]}
    for kind in KINDS:
        apart = [took[f"{kind.name}/{tokens}/{blocks}"] - took[f"{kind.name}/{tokens}/1"] for tokens in (1, READ)]
        found[kind.name] = [each / (blocks - 1) for each in apart]
    return found


def row(width: int, trained: Mapping[str, float], ran: Mapping[str, list[float]]) -> str:
    """A line of the table: milliseconds of a step, microseconds of a block."""
    names = ["TQ2_0", "Q4_0", "Q8_0", "F16", "nn.Linear"]
    steps = [f"{1e3 * trained[name]:.3g}" for name in ("ternary", "nn.Linear")]
    ratio = f"{trained['ternary'] / trained['nn.Linear']:.2f}x"
    cells = [" / ".join(f"{1e6 * each:.3g}" for each in ran[name]) for name in names]
    return f"| {width} | {' | '.join([*steps, ratio, *cells])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", nargs="+", type=int, default=[256, 512, 1024, 2048, 4096])
    parser.add_argument("--tokens", type=int, default=1024, help="of a step of training")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    options = parser.parse_args()
    import torch

    from lightbulb.energy.processor import processor_name

    torch.set_num_threads(1)
    of_blocks = " | ".join(f"{name}, µs" for name in ("TQ2_0", "Q4_0", "Q8_0", "F16", "nn.Linear f32"))
    lines = [f"| width | ternary step, ms | nn.Linear step, ms | ratio | {of_blocks} |", "|--:" * 9 + "|"]
    print("\n".join(lines), flush=True)
    for width in options.widths:
        lines.append(row(width, training(width, options.tokens, options.rounds), inference(width, options.rounds)))
        print(lines[-1], flush=True)
    if options.write:
        command = "python benchmarks/ternary_linear.py " + shlex.join(sys.argv[1:])
        about = (
            f"`{command.strip()}`, {date.today()}, commit {commit()}, {processor_name()}, one thread, CPU time. A "
            f"step: forward and backward of one square layer for {options.tokens:,} tokens in torch. A block: norm, "
            f"three square layers and a gate, for one token / for {READ}; all but `nn.Linear` in filament."
        )
        put("ternary linear", f"{about}\n\n" + "\n".join(lines), HEADING)


if __name__ == "__main__":
    main()
