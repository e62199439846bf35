"""Random models as GGUF files, and what they compute in float64: the reference that the kernels are held to."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
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
    window: int = 0  # positions that the layers of `slides` see; their base is `local_base`
    slides: tuple[bool, ...] = ()
    local_base: float = 10000.0

    @property
    def gemma(self) -> bool:
        """Scaled embeddings, GELU, norms behind each branch."""
        return self.architecture == "gemma3"

    @property
    def norms_heads(self) -> bool:
        return self.architecture in ("qwen3", "openelm", "gemma3")

    @property
    def rope_halves(self) -> bool:
        """Rotary pairs are (i, i + d/2), not (2i, 2i + 1)."""
        return self.architecture in ("qwen2", "qwen3", "openelm", "gemma3")

    def seen(self, layer: int) -> int:
        """Positions that a layer sees, 0: all."""
        return self.window if self.slides and self.slides[layer] else 0


SMALL = Shape(layers=1, width=32, heads=(1,), kv_heads=(1,), head=32, feed_forward=(32,), vocabulary=16)
GEMMA = Shape(
    "gemma3",
    layers=3,
    heads=(4,) * 3,
    kv_heads=(1,) * 3,
    head=96,
    feed_forward=(512,) * 3,
    base=1e6,
    slower=8.0,
    window=24,
    slides=(True, False, True),
    epsilon=1e-6,
)
SHAPES = {
    "llama": Shape(),
    "untied": Shape(tied=False),
    "qwen2": Shape("qwen2", base=1e6),
    "qwen3": Shape("qwen3", head=32, base=1e6, epsilon=1e-6),
    "deci": Shape(  # whole, no attention, larger, linear, empty; llama.cpp takes no empty layer at the end
        "deci",
        layers=6,
        heads=(4, 0, 8, 4, 0, 4),
        kv_heads=(2, 0, 1, 0, 0, 2),
        feed_forward=(512, 256, 768, 96, 0, 256),
    ),
    "slower": Shape(slower=4.0),
    "openelm": Shape("openelm", heads=(4, 8), kv_heads=(2, 2), head=32, feed_forward=(256, 512)),
    "gemma3": GEMMA,
    "gemma3 of seven": replace(
        GEMMA,
        layers=7,
        heads=(4,) * 7,
        kv_heads=(2,) * 7,
        feed_forward=(256,) * 7,
        slides=(True, True, True, True, True, False, True),
    ),
}


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
    """A random model whose matrices are of `type`, norms and biases in F32. Its vocabulary is bytes and letters, where
    there is room for them."""
    rng = np.random.default_rng(seed)
    writer = GGUFWriter(path, shape.architecture)
    write_fields(writer, shape)
    write_tokenizer(writer, shape.vocabulary)

    def matrix(name: str, rows: int, columns: int) -> None:
        blocks = made_up(type, rows, columns, rng) if type in MADE_UP else None
        weights = rng.standard_normal((rows, columns), dtype=np.float32) / np.sqrt(columns)
        writer.add_tensor(f"{name}.weight", quantize(weights, type) if blocks is None else blocks, raw_dtype=type)

    def vector(name: str, n: int, middle: float = 1.0) -> None:
        writer.add_tensor(name, (middle + 0.1 * rng.standard_normal(n)).astype(np.float32))

    matrix("token_embd", shape.vocabulary, shape.width)
    for i in range(shape.layers):
        if shape.heads[i]:
            write_mixer(matrix, vector, shape, i)
        if hidden := shape.feed_forward[i]:
            vector(f"blk.{i}.ffn_norm.weight", shape.width)
            matrix(f"blk.{i}.ffn_gate", hidden, shape.width)
            matrix(f"blk.{i}.ffn_up", hidden, shape.width)
            matrix(f"blk.{i}.ffn_down", shape.width, hidden)
            if shape.gemma:
                vector(f"blk.{i}.post_ffw_norm.weight", shape.width)
    vector("output_norm.weight", shape.width)
    if not shape.tied:
        matrix("output", shape.vocabulary, shape.width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_fields(writer: GGUFWriter, shape: Shape) -> None:
    """Sizes, positions, windows. What differs by layer is an array."""
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
    writer.add_rope_dimension_count(shape.head)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_freq_base(shape.base)
    if shape.slower != 1:
        writer.add_float32(f"{shape.architecture}.rope.scale_linear", shape.slower)
    if shape.window:
        writer.add_sliding_window(shape.window)
        if shape.slides != tuple((i + 1) % 6 != 0 for i in range(shape.layers)):  # what a file means that says nothing
            writer.add_array(f"{shape.architecture}.attention.sliding_window_pattern", list(shape.slides))
        writer.add_float32(f"{shape.architecture}.rope.freq_base_swa", shape.local_base)


def write_tokenizer(writer: GGUFWriter, vocabulary: int) -> None:
    special = ["<unk>", "<s>", "</s>"]
    pieces = [f"<0x{b:02X}>" for b in range(256)], [chr(ord("a") + i) if i < 26 else f"w{i}" for i in range(vocabulary)]
    if vocabulary < len(special) + 256 + 26:
        writer.add_tokenizer_model("no_vocab")
        return
    tokens = [*special, *pieces[0], *pieces[1]][:vocabulary]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(i) for i in range(vocabulary)])
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * (vocabulary - 259))  # unknown, control, byte, normal
    writer.add_add_bos_token(False)


def write_mixer(matrix: Callable[..., None], vector: Callable[..., None], shape: Shape, i: int) -> None:
    queries, keys = shape.heads[i] * shape.head, shape.kv_heads[i] * shape.head
    vector(f"blk.{i}.attn_norm.weight", shape.width)
    if not keys:  # a matrix in the place of attention
        matrix(f"blk.{i}.attn_output", shape.width, shape.width)
        return
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
    if shape.norms_heads:
        vector(f"blk.{i}.attn_q_norm.weight", shape.head)
        vector(f"blk.{i}.attn_k_norm.weight", shape.head)
    if shape.gemma:
        vector(f"blk.{i}.post_attention_norm.weight", shape.width)


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
    return Reference(path, shape).logits(tokens)


class Reference:
    """A model in float64, from the definitions of its parts."""

    def __init__(self, path: Path, shape: Shape):
        tensors = {t.name: t for t in GGUFReader(path).tensors}
        self.weights = {name: dequantize(t.data, t.tensor_type).astype(np.float64) for name, t in tensors.items()}
        self.shape = shape

    def logits(self, tokens: list[int]) -> np.ndarray:
        shape = self.shape
        x = self.weights["token_embd.weight"][tokens] * (np.sqrt(shape.width) if shape.gemma else 1)
        for i in range(shape.layers):
            blk = f"blk.{i}."
            if shape.heads[i]:
                h = self.norm(x, blk + "attn_norm.weight")
                mixed = self.attention(h, i) if shape.kv_heads[i] else self.linear(h, blk + "attn_output")
                x = x + (self.norm(mixed, blk + "post_attention_norm.weight") if shape.gemma else mixed)
            if shape.feed_forward[i]:
                h = self.feed_forward(self.norm(x, blk + "ffn_norm.weight"), blk)
                x = x + (self.norm(h, blk + "post_ffw_norm.weight") if shape.gemma else h)
        head = self.weights["token_embd.weight" if shape.tied else "output.weight"]
        return self.norm(x, "output_norm.weight") @ head.T

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.weights[name + ".weight"].T + self.weights.get(name + ".bias", 0)

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.shape.epsilon) * self.weights[name]

    def feed_forward(self, x: np.ndarray, blk: str) -> np.ndarray:
        gate, up = self.linear(x, blk + "ffn_gate"), self.linear(x, blk + "ffn_up")
        if self.shape.gemma:
            active = gate / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
        else:
            active = gate / (1 + np.exp(-gate))
        return self.linear(active * up, blk + "ffn_down")

    def apply_rope(self, x_THD: np.ndarray, layer: int) -> np.ndarray:
        shape, half, n = self.shape, self.shape.head // 2, len(x_THD)
        local = shape.seen(layer) > 0
        positions = np.arange(n) / (1 if local else shape.slower)
        frequencies = (shape.local_base if local else shape.base) ** (-2.0 * np.arange(half) / shape.head)
        angles = positions[:, None, None] * frequencies
        first, second = (
            (slice(0, half), slice(half, None)) if shape.rope_halves else (slice(0, None, 2), slice(1, None, 2))
        )
        a, b, out = x_THD[..., first], x_THD[..., second], np.empty_like(x_THD)
        out[..., first] = a * np.cos(angles) - b * np.sin(angles)
        out[..., second] = a * np.sin(angles) + b * np.cos(angles)
        return out

    def attention(self, h: np.ndarray, i: int) -> np.ndarray:
        shape, blk, n = self.shape, f"blk.{i}.", len(h)
        heads, kv = shape.heads[i], shape.kv_heads[i]
        if shape.architecture == "openelm":
            q, k, v = np.split(
                self.linear(h, blk + "attn_qkv"), [heads * shape.head, (heads + kv) * shape.head], axis=-1
            )
        else:
            q, k, v = (self.linear(h, f"{blk}attn_{part}") for part in "qkv")
        q, k, v = q.reshape(n, heads, -1), k.reshape(n, kv, -1), v.reshape(n, kv, -1)
        if shape.norms_heads:
            q, k = self.norm(q, blk + "attn_q_norm.weight"), self.norm(k, blk + "attn_k_norm.weight")
        k = np.repeat(self.apply_rope(k, i), heads // kv, 1)
        scores_HTT = np.einsum("thd,shd->hts", self.apply_rope(q, i), k) / np.sqrt(shape.head)
        back = np.arange(n)[:, None] - np.arange(n)
        scores_HTT = np.where((back >= 0) & (back < (shape.seen(i) or n)), scores_HTT, -np.inf)
        p = np.exp(scores_HTT - scores_HTT.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        mixed = np.einsum("hts,shd->thd", p, np.repeat(v, heads // kv, 1)).reshape(n, -1)
        return self.linear(mixed, blk + "attn_output")
