"""Random models as GGUF files, and what they compute in float64: the reference that the kernels are held to."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import dequantize, quantize

Type = GGMLQuantizationType
WRITTEN = (Type.F32, Type.F16, Type.BF16, Type.Q4_0, Type.Q4_1, Type.Q8_0, Type.TQ2_0)  # gguf-py can quantize to
MADE_UP = (Type.Q4_K, Type.Q6_K, Type.IQ4_NL)  # it cannot: blocks are made of random bytes


@dataclass(frozen=True)
class Shape:
    architecture: str = "llama"
    layers: int = 2
    width: int = 256
    heads: tuple[int, ...] = (4, 4)
    kv_heads: tuple[int, ...] = (2, 2)
    head: int = 64
    feed_forward: tuple[int, ...] = (512, 512)
    vocabulary: int = 304
    tied: bool = True
    base: float = 10000.0
    slower: float = 1.0  # by which positions are divided
    epsilon: float = 1e-5


SMALL = Shape(layers=1, width=32, heads=(1,), kv_heads=(1,), head=32, feed_forward=(32,), vocabulary=16)


def damaged_headers(whole: bytes, count: int) -> Iterator[bytes]:
    """Files with a few bytes of the header turned into others."""
    rng, header = random.Random(0), whole.rfind(b"output_norm.weight") + 60
    for _ in range(count):
        copy = bytearray(whole)
        for _ in range(rng.choice([1, 1, 2, 8])):
            copy[rng.randrange(header)] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        yield bytes(copy)


def damaged_weights(whole: bytes, count: int) -> Iterator[bytes]:
    """Files whose weights hold infinities, what is no number, and other bytes."""
    rng = random.Random(1)
    for _ in range(count):
        copy = bytearray(whole)
        for _ in range(40):
            at = rng.randrange(len(copy) // 3, len(copy) - 2)
            copy[at : at + 2] = rng.choice([b"\x00\x7e", b"\x00\x7c", b"\x00\xfc", rng.randbytes(2)])
        yield bytes(copy)


def write_model(path: Path, type: Type, shape: Shape = Shape(), seed: int = 0) -> Path:
    """A random model whose matrices are of `type`, norms and biases in F32."""
    rng = np.random.default_rng(seed)
    writer = GGUFWriter(path, shape.architecture)
    writer.add_block_count(shape.layers)
    writer.add_embedding_length(shape.width)
    writer.add_context_length(4096)
    for add, values in (
        (writer.add_head_count, shape.heads),
        (writer.add_head_count_kv, shape.kv_heads),
        (writer.add_feed_forward_length, shape.feed_forward),
    ):
        add(values[0] if len(set(values)) == 1 else list(values))
    writer.add_key_length(shape.head)
    writer.add_value_length(shape.head)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_freq_base(shape.base)
    if shape.slower != 1:
        writer.add_float32(f"{shape.architecture}.rope.scale_linear", shape.slower)
    writer.add_tokenizer_model("no_vocab")

    def matrix(name: str, rows: int, columns: int) -> None:
        blocks = made_up(type, rows, columns, rng) if type in MADE_UP else None
        weights = rng.standard_normal((rows, columns), dtype=np.float32) / np.sqrt(columns)
        writer.add_tensor(f"{name}.weight", quantize(weights, type) if blocks is None else blocks, raw_dtype=type)

    def vector(name: str, n: int, middle: float = 1.0) -> None:
        writer.add_tensor(name, (middle + 0.1 * rng.standard_normal(n)).astype(np.float32))

    matrix("token_embd", shape.vocabulary, shape.width)
    for i in range(shape.layers):
        queries, keys, hidden = shape.heads[i] * shape.head, shape.kv_heads[i] * shape.head, shape.feed_forward[i]
        if queries:
            vector(f"blk.{i}.attn_norm.weight", shape.width)
            if shape.architecture == "openelm":
                matrix(f"blk.{i}.attn_qkv", queries + 2 * keys, shape.width)
            else:
                matrix(f"blk.{i}.attn_q", queries, shape.width)
                matrix(f"blk.{i}.attn_k", keys, shape.width)
                matrix(f"blk.{i}.attn_v", keys, shape.width)
            matrix(f"blk.{i}.attn_output", shape.width, queries)
            if shape.architecture == "qwen2":
                for part, n in (("q", queries), ("k", keys), ("v", keys)):
                    vector(f"blk.{i}.attn_{part}.bias", n, 0.0)
            if shape.architecture in ("qwen3", "openelm"):
                vector(f"blk.{i}.attn_q_norm.weight", shape.head)
                vector(f"blk.{i}.attn_k_norm.weight", shape.head)
        vector(f"blk.{i}.ffn_norm.weight", shape.width)
        matrix(f"blk.{i}.ffn_gate", hidden, shape.width)
        matrix(f"blk.{i}.ffn_up", hidden, shape.width)
        matrix(f"blk.{i}.ffn_down", shape.width, hidden)
    vector("output_norm.weight", shape.width)
    if not shape.tied:
        matrix("output", shape.vocabulary, shape.width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def made_up(type: Type, rows: int, columns: int, rng: np.random.Generator) -> np.ndarray:
    """Blocks of random bytes whose scales give weights of about 1 / sqrt(columns)."""
    block, size = GGML_QUANT_SIZES[type]
    data = rng.integers(0, 256, (rows, columns // block, size), dtype=np.uint8)

    def halves(at: int, value: float) -> None:
        scale = (value * rng.uniform(0.5, 1.5, data.shape[:2])).astype(np.float16)
        data[:, :, at : at + 2] = scale[..., None].view(np.uint8)

    near = 1 / np.sqrt(columns)
    if type == Type.IQ4_NL:
        halves(0, near / 64)
    elif type == Type.Q4_K:
        halves(0, near / 8 / 32)
        halves(2, near / 32)
    else:
        halves(208, near / 18 / 64)
    return data.reshape(rows, -1)


def logits_in_float64(path: Path, shape: Shape, tokens: list[int]) -> np.ndarray:
    """What the file's weights compute, [n, vocabulary], with nothing rounded on the way."""
    tensors = {t.name: t for t in GGUFReader(path).tensors}
    weights = {name: dequantize(t.data, t.tensor_type).astype(np.float64) for name, t in tensors.items()}
    n, half = len(tokens), shape.head // 2

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + shape.epsilon) * weights[name]

    angles = (np.arange(n) / shape.slower)[:, None] * shape.base ** (-2.0 * np.arange(half) / shape.head)[None]
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]

    def turn(x_THD: np.ndarray) -> np.ndarray:
        out = np.empty_like(x_THD)
        halves = shape.architecture in ("qwen2", "qwen3", "openelm")
        first, second = (slice(0, half), slice(half, None)) if halves else (slice(0, None, 2), slice(1, None, 2))
        a, b = x_THD[..., first], x_THD[..., second]
        out[..., first], out[..., second] = a * cos - b * sin, a * sin + b * cos
        return out

    x = weights["token_embd.weight"][tokens]
    for i in range(shape.layers):
        heads, kv = shape.heads[i], shape.kv_heads[i]
        if heads:
            h = norm(x, f"blk.{i}.attn_norm.weight")
            if shape.architecture == "openelm":
                cuts = [heads * shape.head, (heads + kv) * shape.head]
                q, k, v = np.split(h @ weights[f"blk.{i}.attn_qkv.weight"].T, cuts, axis=-1)
            else:
                q, k, v = (
                    h @ weights[f"blk.{i}.attn_{p}.weight"].T + weights.get(f"blk.{i}.attn_{p}.bias", 0) for p in "qkv"
                )
            q, k, v = q.reshape(n, heads, -1), k.reshape(n, kv, -1), v.reshape(n, kv, -1)
            if f"blk.{i}.attn_q_norm.weight" in weights:
                q, k = norm(q, f"blk.{i}.attn_q_norm.weight"), norm(k, f"blk.{i}.attn_k_norm.weight")
            q, k = turn(q), np.repeat(turn(k), heads // kv, 1)
            v = np.repeat(v, heads // kv, 1)
            scores_HTT = np.einsum("thd,shd->hts", q, k) / np.sqrt(shape.head)
            scores_HTT = np.where(np.tril(np.ones((n, n), bool)), scores_HTT, -np.inf)
            p = np.exp(scores_HTT - scores_HTT.max(-1, keepdims=True))
            p /= p.sum(-1, keepdims=True)
            x = x + np.einsum("hts,shd->thd", p, v).reshape(n, -1) @ weights[f"blk.{i}.attn_output.weight"].T
        h = norm(x, f"blk.{i}.ffn_norm.weight")
        gate, up = h @ weights[f"blk.{i}.ffn_gate.weight"].T, h @ weights[f"blk.{i}.ffn_up.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ weights[f"blk.{i}.ffn_down.weight"].T
    head = weights["token_embd.weight"] if shape.tied else weights["output.weight"]
    return norm(x, "output_norm.weight") @ head.T
