"""Models of random weights at the sizes of the MatMul-free paper (2406.02528): `matmulfree`, and llamas of as many
weights. They are written block by block: what a token costs does not depend on the weights' values."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter
from shapes import write_tokenizer

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

Kind = GGMLQuantizationType
HEAD_WIDTH = 64
CONTEXT = 1 << 16
TERNARY_BYTES = np.array([a | b << 2 | c << 4 | d << 6 for a in range(3) for b in range(3) for c in range(3)
                          for d in range(3)], np.uint8)  # fmt: skip


@dataclass(frozen=True)
class Size:
    layers: int
    width: int
    feed_forward: int
    vocabulary: int = 32000
    tied: bool = False  # the embedding is the head as well

    @property
    def weights(self) -> int:
        """Of every model of this size; norms left out."""
        layer = 4 * self.width**2 + 3 * self.width * self.feed_forward
        return self.layers * layer + (1 if self.tied else 2) * self.vocabulary * self.width


SIZES = {"370M": Size(24, 1024, 2816), "1.3B": Size(24, 2048, 5632), "2.7B": Size(32, 2560, 6912)}
TINY = Size(2, 256, 512, 300)


def write_size(path: Path, size: Size, architecture: str, kind: Kind, dense: Kind = Kind.Q8_0) -> None:
    """A model whose layers' matrices are of `kind`, embedding and head of `dense`."""
    writer = GGUFWriter(path, architecture)
    _write_keys(writer, size, architecture)
    entries = list(_matrices(size, architecture, kind, dense))
    for name, shape, each in entries:
        bytes_ = int(np.prod(shape)) // GGML_QUANT_SIZES[each][0] * GGML_QUANT_SIZES[each][1]
        writer.add_tensor_info(f"{name}.weight", shape, np.dtype(np.int8), bytes_, each)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = np.random.default_rng(0)
    for name, shape, each in entries:
        middle = 0.5 if name.endswith("mix_lower") else 1.0
        values = np.full(shape, middle, np.float32) if len(shape) == 1 else random_blocks(rng, shape, each)
        writer.write_tensor_data(values)
    writer.close()


def _write_keys(writer: GGUFWriter, size: Size, architecture: str) -> None:
    writer.add_block_count(size.layers)
    writer.add_embedding_length(size.width)
    writer.add_context_length(CONTEXT)
    writer.add_feed_forward_length(size.feed_forward)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(size.vocabulary)
    if architecture == "matmulfree":
        writer.add_array("matmulfree.mixer", ["mlgru"] * size.layers)
    else:
        writer.add_head_count(size.width // HEAD_WIDTH)
        writer.add_head_count_kv(size.width // HEAD_WIDTH)
        writer.add_rope_dimension_count(HEAD_WIDTH)
    write_tokenizer(writer, size.vocabulary)


def _matrices(size: Size, architecture: str, kind: Kind, dense: Kind) -> Iterator[tuple[str, tuple[int, ...], Kind]]:
    """Name, shape and type of each tensor, in file order."""
    width, hidden = size.width, size.feed_forward
    yield "token_embd", (size.vocabulary, width), dense
    for i in range(size.layers):
        blk = f"blk.{i}."
        yield blk + "attn_norm", (width,), Kind.F32
        if architecture == "matmulfree":
            yield from ((f"{blk}mix_{part}", (width, width), kind) for part in ("f", "c", "g", "out"))
            yield from ((blk + name, (width,), Kind.F32) for name in ("mix_lower", "mix_out_norm"))
            yield blk + "ffn_down_norm", (hidden,), Kind.F32
        else:
            yield from ((f"{blk}attn_{part}", (width, width), kind) for part in ("q", "k", "v", "output"))
        yield blk + "ffn_norm", (width,), Kind.F32
        yield from ((f"{blk}ffn_{part}", (hidden, width), kind) for part in ("gate", "up"))
        yield blk + "ffn_down", (width, hidden), kind
    yield "output_norm", (width,), Kind.F32
    if not size.tied:
        yield "output", (size.vocabulary, width), dense


def random_blocks(rng: np.random.Generator, shape: tuple[int, ...], kind: Kind) -> np.ndarray:
    """Random weights of about 1 / sqrt(columns), as bytes of the file."""
    scale = np.float16(1 / np.sqrt(shape[-1]))
    if kind == Kind.F16:
        few = (rng.standard_normal(shape[-1] * 16, dtype=np.float32) * scale).astype(np.float16)
        return np.tile(few, shape[0] // 16)  # 16 rows, again and again: drawing them all would take minutes
    weights, size = GGML_QUANT_SIZES[kind]
    blocks = np.empty((int(np.prod(shape)) // weights, size), np.uint8)
    if kind == Kind.TQ2_0:  # the scale is last, as large for all blocks
        blocks[:, :-2] = TERNARY_BYTES[rng.integers(0, len(TERNARY_BYTES), (len(blocks), size - 2), dtype=np.uint8)]
        blocks[:, -2:] = np.frombuffer(scale.tobytes(), np.uint8)
    elif kind in (Kind.Q4_0, Kind.Q8_0):
        blocks[:, 2:] = rng.integers(0, 256, (len(blocks), size - 2), dtype=np.uint8)
        largest = np.float16(scale / (4 if kind == Kind.Q4_0 else 64))
        blocks[:, :2] = np.frombuffer(largest.tobytes(), np.uint8)
    elif kind == Kind.Q4_K:  # a block's scale and the scale of its least values, then bits
        blocks[:, 4:] = rng.integers(0, 256, (len(blocks), size - 4), dtype=np.uint8)
        blocks[:, :4] = np.frombuffer(np.array([scale / 256, scale / 32], np.float16).tobytes(), np.uint8)
    else:
        raise ValueError(f"no random blocks of {kind.name}")
    return blocks
