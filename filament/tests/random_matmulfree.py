"""Random models of the architectures `matmulfree`, `lightbulb-recurrent` and `bitnet` as GGUF files, and docs/format.md
in numpy: what they compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, GGUFWriter
from gguf.quants import dequantize, quantize
from random_models import Type, write_tokenizer

RECURRENT, BITNET = "lightbulb-recurrent", "bitnet"
NORMS = {BITNET: ("attn_sub_norm", "ffn_sub_norm")}  # of others: attn_out_norm, ffn_down_norm
ACTIVATIONS = {Type.TQ2_0: 256, Type.Q8_0: 32, Type.Q4_0: 32}  # of which so many share a scale, as filament has it


@dataclass(frozen=True)
class MixedShape:
    """`dense`: type of embedding, head and all matrices that are not ternary; `tied`: the embedding is the head."""

    architecture: str = "matmulfree"
    mixers: tuple[str, ...] = ("mlgru", "mlgru")
    width: int = 256
    feed_forward: int = 512
    heads: int = 4
    kv_heads: int = 2
    head: int = 64
    vocabulary: int = 304
    tied: bool = False
    dense: Type = Type.F16
    epsilon: float = 1e-6
    base: float = 10000.0

    @property
    def ternary(self) -> bool:
        """Of its layers: ternary matrices, and a norm before the last of each part."""
        return self.architecture != RECURRENT

    @property
    def norms(self) -> tuple[str, str]:
        """Before attn_output, and before ffn_down."""
        return NORMS.get(self.architecture, ("attn_out_norm", "ffn_down_norm"))


SMALL = MixedShape(mixers=("mlgru", "attention"), feed_forward=256, heads=2, kv_heads=1, head=128, vocabulary=16)
SMALL_MIXED = {
    "matmulfree": SMALL,
    RECURRENT: replace(SMALL, architecture=RECURRENT, dense=Type.Q8_0),
    BITNET: replace(SMALL, architecture=BITNET, mixers=("attention", "attention"), tied=True),
}
Fields = dict[str, Any]
Tensors = dict[str, tuple[np.ndarray, Type, tuple[int, ...]]]  # what the file holds, type, shape


def write_matmulfree(
    path: Path,
    shape: MixedShape = MixedShape(),
    seed: int = 0,
    change: Callable[[Fields, Tensors], None] = lambda fields, tensors: None,
) -> Path:
    """A random model. change: what is done to keys and tensors before they are written."""
    fields, tensors = fields_of(shape), tensors_of(shape, np.random.default_rng(seed))
    change(fields, tensors)
    writer = GGUFWriter(path, shape.architecture)
    add = {int: writer.add_uint32, float: writer.add_float32, list: writer.add_array, str: writer.add_string}
    for key, value in fields.items():
        add[type(value)](f"{shape.architecture}.{key}", value)
    write_tokenizer(writer, shape.vocabulary)
    for name, (values, kind, sizes) in tensors.items():
        writer.add_tensor(name, values.view(np.int8), raw_shape=sizes, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def fields_of(shape: MixedShape) -> Fields:
    fields: Fields = {
        "block_count": len(shape.mixers),
        "embedding_length": shape.width,
        "feed_forward_length": shape.feed_forward,
        "context_length": 4096,
        "vocab_size": shape.vocabulary,
        "attention.layer_norm_rms_epsilon": shape.epsilon,
    }
    if shape.architecture != BITNET:
        fields["mixer"] = list(shape.mixers)
    if shape.architecture == RECURRENT:
        fields["family"] = "llama"
    if "attention" in shape.mixers:
        fields |= {
            "attention.head_count": shape.heads,
            "attention.head_count_kv": shape.kv_heads,
            "attention.key_length": shape.head,
            "rope.freq_base": shape.base,
        }
    return fields


def tensors_of(shape: MixedShape, rng: np.random.Generator) -> Tensors:
    width, hidden, tensors = shape.width, shape.feed_forward, Tensors()

    def put(name: str, values: np.ndarray, kind: Type = Type.F32) -> None:
        values = values.astype(np.float32)
        tensors[f"{name}.weight"] = quantize(values, kind), kind, values.shape

    def dense(name: str, rows: int, columns: int) -> None:
        put(name, rng.standard_normal((rows, columns)) / np.sqrt(columns), shape.dense)

    def matrix(name: str, rows: int, columns: int) -> None:
        if not shape.ternary:
            return dense(name, rows, columns)
        scale = np.float16(rng.uniform(1, 2) / np.sqrt(columns))
        put(name, rng.integers(-1, 2, (rows, columns)) * np.float32(scale), Type.TQ2_0)

    def norm(name: str, n: int) -> None:
        put(name, 1 + 0.1 * rng.standard_normal(n))

    before_output, before_down = shape.norms
    dense("token_embd", shape.vocabulary, width)
    for i, mixer in enumerate(shape.mixers):
        blk = f"blk.{i}."
        norm(blk + "attn_norm", width)
        if mixer == "mlgru":
            for part in ("f", "c", "g", "out"):
                matrix(blk + "mix_" + part, width, width)
            if shape.ternary:
                put(blk + "mix_lower", rng.uniform(0, 0.9, width))
                norm(blk + "mix_out_norm", width)
            else:
                bias = rng.standard_normal(width).astype(np.float32)
                tensors[blk + "mix_f.bias"] = bias, Type.F32, bias.shape
        else:
            queries, keys = shape.heads * shape.head, shape.kv_heads * shape.head
            for part, n in (("q", queries), ("k", keys), ("v", keys)):
                matrix(blk + "attn_" + part, n, width)
            if shape.ternary:
                norm(blk + before_output, queries)
            matrix(blk + "attn_output", width, queries)
        norm(blk + "ffn_norm", width)
        matrix(blk + "ffn_gate", hidden, width)
        matrix(blk + "ffn_up", hidden, width)
        if shape.ternary:
            norm(blk + before_down, hidden)
        matrix(blk + "ffn_down", width, hidden)
    norm("output_norm", width)
    if not shape.tied:
        dense("output", shape.vocabulary, width)
    return tensors


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


class MatmulFreeReference:
    """A file's model in float64, token by token. Activations are rounded to int8 where a matrix of whole numbers reads
    them, by as many columns as filament rounds together; nothing else is."""

    def __init__(self, path: Path, shape: MixedShape):
        tensors = {t.name.removesuffix(".weight"): t for t in GGUFReader(path).tensors}
        self.types = {name: Type(t.tensor_type) for name, t in tensors.items()}
        self.weights = {name: dequantize(t.data, t.tensor_type).astype(np.float64) for name, t in tensors.items()}
        self.shape = shape
        self.h = {i: np.zeros(shape.width) for i in range(len(shape.mixers))}
        self.seen: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {i: [] for i in self.h}  # keys and values

    def logits(self, tokens: list[int]) -> np.ndarray:
        """After each token, [n, vocabulary]. What was read before is remembered."""
        return np.array([self.step(token) for token in tokens])

    def step(self, token: int) -> np.ndarray:
        x = self.weights["token_embd"][token]
        for i, mixer in enumerate(self.shape.mixers):
            blk = f"blk.{i}."
            x = x + (self.mlgru if mixer == "mlgru" else self.attention)(self.norm(x, blk + "attn_norm"), i, blk)
            b = self.norm(x, blk + "ffn_norm")
            gate, up = self.linear(b, blk + "ffn_gate"), self.linear(b, blk + "ffn_up")
            x = x + self.linear(self.norm(gate * sigmoid(gate) * up, blk + self.shape.norms[1]), blk + "ffn_down")
        return self.linear(self.norm(x, "output_norm"), "token_embd" if self.shape.tied else "output")

    def mlgru(self, a: np.ndarray, i: int, blk: str) -> np.ndarray:
        f, c, g = (self.linear(a, f"{blk}mix_{part}") for part in "fcg")
        lower = self.weights.get(blk + "mix_lower", 0.0)
        f = lower + (1 - lower) * sigmoid(f + self.weights.get(blk + "mix_f.bias", 0.0))
        self.h[i] = f * self.h[i] + (1 - f) * c * sigmoid(c)
        return self.linear(self.norm(sigmoid(g) * self.h[i], blk + "mix_out_norm"), blk + "mix_out")

    def attention(self, a: np.ndarray, i: int, blk: str) -> np.ndarray:
        shape, position = self.shape, len(self.seen[i])
        q, k, v = (self.linear(a, f"{blk}attn_{part}").reshape(-1, shape.head) for part in "qkv")
        self.seen[i].append((self.turned(k, position), v))
        keys_THD, values_THD = (
            np.repeat(np.array(part), shape.heads // shape.kv_heads, 1) for part in zip(*self.seen[i], strict=True)
        )
        scores_HT = np.einsum("hd,thd->ht", self.turned(q, position), keys_THD) / np.sqrt(shape.head)
        p = np.exp(scores_HT - scores_HT.max(-1, keepdims=True))
        mixed = np.einsum("ht,thd->hd", p / p.sum(-1, keepdims=True), values_THD).reshape(-1)
        return self.linear(self.norm(mixed, blk + self.shape.norms[0]), blk + "attn_output")

    def turned(self, x_HD: np.ndarray, position: int) -> np.ndarray:
        half = self.shape.head // 2
        angles = position * self.shape.base ** (-np.arange(half) / half)
        a, b = x_HD[:, :half], x_HD[:, half:]
        return np.concatenate(
            [a * np.cos(angles) - b * np.sin(angles), a * np.sin(angles) + b * np.cos(angles)], axis=-1
        )

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        """x itself where the model has no such norm."""
        if name not in self.weights and not self.shape.ternary:
            return x
        return x / np.sqrt((x * x).mean() + self.shape.epsilon) * self.weights[name]

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        if block := ACTIVATIONS.get(self.types[name]):
            blocks = x.reshape(-1, block)
            scales = np.abs(blocks).max(-1, keepdims=True) / 127
            x = (np.rint(blocks / np.where(scales > 0, scales, 1)) * scales).reshape(-1)
        return self.weights[name] @ x
