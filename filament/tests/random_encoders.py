"""Random BERT classifiers as GGUF files, and what they compute in float64 from the definitions of their parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, GGUFWriter
from gguf.quants import dequantize, quantize
from random_models import MADE_UP, Type, made_up
from scipy.special import erf

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PIECE, UNKNOWN, CONTROL = 1, 2, 3
PAD, UNK, CLS, SEP = range(4)
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
MEAN, RANK = 1, 4


@dataclass(frozen=True)
class EncoderShape:
    """What a random encoder is like."""

    layers: int = 2
    width: int = 256
    heads: int = 8
    hidden: int = 512
    positions: int = 96
    answers: int = 5
    pooling: int = MEAN
    normalizes: bool = False
    temperature: float = 1.25
    epsilon: float = 1e-12


SMALL = EncoderShape(layers=1, width=32, heads=2, hidden=32, positions=8, answers=2)


def vocabulary() -> list[str]:
    """Every letter as a word and as an ending: a text of letters apart is as many tokens."""
    return [*SPECIAL, *(f"\u2581{c}" for c in LETTERS), *LETTERS]


def text_of(tokens: Sequence[int]) -> str:
    """A text whose tokens between [CLS] and [SEP] are these."""
    return " ".join(vocabulary()[t].removeprefix("\u2581") for t in tokens)


def texts_of_length(length: int, count: int, seed: int = 0) -> list[list[int]]:
    """`count` lists of `length` random tokens, [CLS] and [SEP] among them."""
    rng = np.random.default_rng([seed, length])
    words = range(len(SPECIAL), len(SPECIAL) + len(LETTERS))
    return [[CLS, *(int(t) for t in rng.choice(words, length - 2)), SEP] for _ in range(count)]


def write_encoder(path: Path, type: Type, shape: EncoderShape = EncoderShape(), seed: int = 0, **fields: Any) -> Path:
    """A random encoder whose matrices are of `type`. fields: keys of the file with other values, None where absent."""
    rng = np.random.default_rng(seed)
    writer = GGUFWriter(path, "bert")
    for key, value in (_fields(shape) | fields).items():
        if value is not None:
            _add(writer, key, value)

    def matrix(name: str, rows: int, columns: int, type: Type = type, gain: float = 1.0) -> None:
        weights = rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(gain / np.sqrt(columns))
        blocks = made_up(type, rows, columns, rng) if type in MADE_UP else quantize(weights, type)
        writer.add_tensor(f"{name}.weight", blocks, raw_dtype=type)

    def vector(name: str, n: int, middle: float) -> None:
        writer.add_tensor(name, (middle + 0.2 * rng.standard_normal(n)).astype(np.float32))

    def norm(name: str) -> None:
        vector(f"{name}.weight", shape.width, 1.0)
        vector(f"{name}.bias", shape.width, 0.0)

    def linear(name: str, rows: int, columns: int, **more: Any) -> None:
        matrix(name, rows, columns, **more)
        vector(f"{name}.bias", rows, 0.0)

    matrix("token_embd", len(vocabulary()), shape.width)
    matrix("position_embd", shape.positions, shape.width, type=Type.F32)
    matrix("token_types", 2, shape.width, type=Type.F32)
    norm("token_embd_norm")
    for i in range(shape.layers):
        for part in ("q", "k", "v", "output"):
            linear(f"blk.{i}.attn_{part}", shape.width, shape.width)
        norm(f"blk.{i}.attn_output_norm")
        linear(f"blk.{i}.ffn_up", shape.hidden, shape.width)
        linear(f"blk.{i}.ffn_down", shape.width, shape.hidden)
        norm(f"blk.{i}.layer_output_norm")
    linear("cls.output", shape.answers, shape.width, type=Type.F32, gain=2.0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _fields(shape: EncoderShape) -> dict[str, Any]:
    tokens = vocabulary()
    return {
        "bert.block_count": shape.layers,
        "bert.context_length": shape.positions,
        "bert.embedding_length": shape.width,
        "bert.feed_forward_length": shape.hidden,
        "bert.attention.head_count": shape.heads,
        "bert.attention.layer_norm_epsilon": shape.epsilon,
        "bert.attention.causal": False,
        "bert.pooling_type": shape.pooling,
        "bert.classifier.output_labels": [f"answer {i}" for i in range(shape.answers)],
        "lightbulb.kind": "choose",
        "lightbulb.answers": [f"answer {i}" for i in range(shape.answers)],
        "lightbulb.normalize": shape.normalizes,
        "lightbulb.temperature": shape.temperature,
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [UNKNOWN if i == UNK else CONTROL if i < 5 else PIECE for i in range(len(tokens))],
        "tokenizer.ggml.bos_token_id": CLS,
        "tokenizer.ggml.cls_token_id": CLS,
        "tokenizer.ggml.seperator_token_id": SEP,
        "tokenizer.ggml.unknown_token_id": UNK,
        "tokenizer.ggml.padding_token_id": PAD,
    }


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


class Reference:
    """An encoder in float64, from the definitions of its parts (docs/format.md)."""

    def __init__(self, path: Path):
        reader = GGUFReader(path)
        weights = {t.name: dequantize(t.data, t.tensor_type) for t in reader.tensors}
        self.weights = {name: values.astype(np.float64) for name, values in weights.items()}
        fields = {name: field.contents() for name, field in reader.fields.items()}
        self.layers, self.heads = fields["bert.block_count"], fields["bert.attention.head_count"]
        self.epsilon = fields["bert.attention.layer_norm_epsilon"]
        self.first_only = fields["bert.pooling_type"] == RANK
        self.normalizes = fields["lightbulb.normalize"]
        self.temperature = fields["lightbulb.temperature"]

    def scores(self, tokens: Sequence[int]) -> np.ndarray:
        """Of the answers: softmax(scores / temperature) are their probabilities."""
        pooled = self.embedding(tokens)
        return self.linear(pooled, "cls.output")

    def probabilities(self, tokens: Sequence[int]) -> np.ndarray:
        scores = self.scores(tokens) / self.temperature
        odds = np.exp(scores - scores.max())
        return odds / odds.sum()

    def embedding(self, tokens: Sequence[int]) -> np.ndarray:
        """What the head reads."""
        x = self.weights["token_embd.weight"][tokens] + self.weights["position_embd.weight"][: len(tokens)]
        x = self.norm(x + self.weights["token_types.weight"][0], "token_embd_norm")
        for i in range(self.layers):
            blk = f"blk.{i}."
            x = self.norm(x + self.attention(x, blk), blk + "attn_output_norm")
            raised = self.linear(x, blk + "ffn_up")
            x = self.norm(x + self.linear(gelu(raised), blk + "ffn_down"), blk + "layer_output_norm")
        pooled = x[0] if self.first_only else x.mean(0)
        return pooled / np.sqrt((pooled**2).sum()) if self.normalizes else pooled

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        centered = x - x.mean(-1, keepdims=True)
        deviation = np.sqrt((centered**2).mean(-1, keepdims=True) + self.epsilon)
        return centered / deviation * self.weights[name + ".weight"] + self.weights[name + ".bias"]

    def attention(self, x: np.ndarray, blk: str) -> np.ndarray:
        q, k, v = (self.linear(x, f"{blk}attn_{part}").reshape(len(x), self.heads, -1) for part in "qkv")
        scores_HTT = np.einsum("thd,shd->hts", q, k) / np.sqrt(q.shape[-1])
        p = np.exp(scores_HTT - scores_HTT.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        return self.linear(np.einsum("hts,shd->thd", p, v).reshape(len(x), -1), blk + "attn_output")


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + erf(x / math.sqrt(2)))
