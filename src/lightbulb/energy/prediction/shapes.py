"""The shape of a model: what the arithmetic of `predict` needs to know of it, and where to read it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightbulb.errors import ModelError, UserError
from lightbulb.formats.gguf_header import GgufHeader, block_sizes, read_header
from lightbulb.store import read_json

F16_BITS = 16.0
# Mixtures that llama.cpp's quantize makes, bits per weight of the whole file (its own table for Llama 3 8B)
MIXTURES = {
    "q2_k": 2.96,
    "q3_k_s": 3.41,
    "q3_k_m": 3.91,
    "q3_k_l": 4.22,
    "q4_k_s": 4.58,
    "q4_k_m": 4.85,
    "q5_k_s": 5.54,
    "q5_k_m": 5.70,
    "ternary": 1.58,
}


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A dense decoder.

    layers, width; kv_width: width of one layer's keys (kv_heads x head_dim), as large as that of its values;
    attention_width: heads x head_dim; layer_parameters: weights of one layer; vocabulary: rows of the embedding;
    tied: the head is the embedding. bits, head_bits: bits per weight as stored, of the layers and of the head.
    guessed: only the number of parameters was given, the rest follows what is usual.
    """

    layers: int
    width: int
    kv_width: int
    attention_width: int
    layer_parameters: float
    vocabulary: int
    tied: bool
    bits: float = F16_BITS
    head_bits: float = F16_BITS
    guessed: bool = False

    @property
    def parameters(self) -> float:
        """All weights, embeddings included."""
        return self.layers * self.layer_parameters + self.vocabulary * self.width * (1 if self.tied else 2)

    @property
    def weights_per_token(self) -> float:
        """Weights that one token is multiplied with: the layers and the head."""
        return self.layers * self.layer_parameters + self.vocabulary * self.width

    @property
    def bytes_read(self) -> float:
        """Bytes of weights that one decoding step streams."""
        layers = self.layers * self.layer_parameters * self.bits
        return (layers + self.vocabulary * self.width * self.head_bits) / 8

    @property
    def bytes_stored(self) -> float:
        """Bytes of all weights."""
        return self.bytes_read + (0 if self.tied else self.vocabulary * self.width * self.head_bits / 8)

    @property
    def kv_bytes_per_token(self) -> float:
        """Keys and values in 16 bits of all layers."""
        return 2 * self.layers * self.kv_width * 2

    def at_bits(self, bits: float) -> ModelShape:
        """The same model stored in `bits`; the head stays as wide as 6-bit files keep it, or wider (llama.cpp)."""
        return replace(self, bits=bits, head_bits=max(bits, min(F16_BITS, 6.5625)))


def from_sizes(
    layers: int, width: int, heads: int, kv_heads: int, ffn: int, vocabulary: int, *, head_dim: int = 0, tied: bool
) -> ModelShape:
    """A gated decoder (Llama, Qwen, Gemma, Mistral): q, k, v, o, gate, up, down, and norms."""
    if min(layers, width, heads, kv_heads, ffn, vocabulary) < 1 or heads % kv_heads:
        raise UserError(
            f"not a shape: {layers=} {width=} {heads=} {kv_heads=} {ffn=} {vocabulary=}",
            mend="positive numbers, and --heads a multiple of --kv-heads",
        )
    head_dim = head_dim or max(1, width // heads)
    attention = width * head_dim * (2 * heads + 2 * kv_heads)
    return ModelShape(
        layers=layers,
        width=width,
        kv_width=kv_heads * head_dim,
        attention_width=heads * head_dim,
        layer_parameters=attention + 3 * width * ffn + 2 * width,
        vocabulary=vocabulary,
        tied=tied,
    )


def from_parameters(parameters: float) -> ModelShape:
    """What a decoder of that many weights usually looks like: 32 layers at 8 billion, depth growing as parameters^0.42
    above (70 billion: 80) and as parameters^0.15 below (small ones are deep: 0.5 billion: 24); grouped keys and values
    of a quarter of the width, at most 1,024 (Llama 3, Qwen 2.5)."""
    if not (math.isfinite(parameters) and parameters >= 1e3):
        raise UserError(f"{parameters:g} parameters", where="--parameters", mend="such as --parameters 8.03e9")
    layers = max(2, round(32 * (parameters / 8e9) ** (0.42 if parameters > 8e9 else 0.15)))
    vocabulary = min(128_000, max(64, int(parameters / 8e9 * 512_000)))  # no more than an eighth or so of the weights
    tied = parameters < 3e9
    # layers * 12.5 width^2 + heads * vocabulary * width = parameters
    heads = vocabulary * (1 if tied else 2)
    width = (math.sqrt(heads**2 + 50 * layers * parameters) - heads) / (25 * layers)
    return ModelShape(
        layers=layers,
        width=round(width),
        kv_width=max(1, round(min(width / 4, 1024))),
        attention_width=round(width),
        layer_parameters=(parameters - heads * round(width)) / layers,
        vocabulary=vocabulary,
        tied=tied,
        guessed=True,
    )


def from_config(config: dict[str, Any], where: str) -> ModelShape:
    """From transformers' config.json (Gemma 3's text_config included). Raises ModelError when sizes are missing."""
    config = config.get("text_config", config)
    try:
        heads = int(config["num_attention_heads"])
        shape = from_sizes(
            int(config["num_hidden_layers"]),
            int(config["hidden_size"]),
            heads,
            int(config.get("num_key_value_heads") or heads),
            int(config["intermediate_size"]),
            int(config["vocab_size"]),
            head_dim=int(config.get("head_dim") or 0),
            tied=bool(config.get("tie_word_embeddings", "gemma" in str(config.get("model_type", "")))),
        )
    except (KeyError, TypeError, ValueError) as e:
        raise ModelError(
            f"the configuration tells no shape: {e}",
            where=where,
            mend="give it with --layers --width --heads --kv-heads --ffn --vocab",
        ) from e
    stored = str(config.get("torch_dtype") or config.get("dtype") or "bfloat16")
    return shape if "float32" not in stored else replace(shape, bits=32, head_bits=32)


def from_gguf(file: Path) -> ModelShape:
    """From the header of a GGUF: the real bytes of its tensors, whatever mixture they are in."""
    header = read_header(file)
    architecture = str(header.fields.get("general.architecture", ""))
    weights = {t.name: (math.prod(t.shape), t.bytes) for t in header.tensors}
    embedding = next((t for t in header.tensors if t.name == "token_embd.weight"), None)
    blocks = [sizes for name, sizes in weights.items() if name.startswith("blk.")]
    if embedding is None or not blocks:
        raise ModelError("this GGUF holds no language model", where=str(file), mend="give a model's file")
    layers = _number(header, f"{architecture}.block_count", file)
    vocabulary, width = embedding.shape
    heads = _number(header, f"{architecture}.attention.head_count", file)
    kv_heads = _number(header, f"{architecture}.attention.head_count_kv", file, heads)
    head_dim = _number(header, f"{architecture}.attention.key_length", file, width // max(1, heads))
    count, length = (sum(column) for column in zip(*blocks, strict=True))
    head_count, head_bytes = weights.get("output.weight", weights["token_embd.weight"])
    return ModelShape(
        layers=layers,
        width=width,
        kv_width=kv_heads * head_dim,
        attention_width=heads * head_dim,
        layer_parameters=count / layers,
        vocabulary=vocabulary,
        tied="output.weight" not in weights,
        bits=8 * length / count,
        head_bits=8 * head_bytes / head_count,
    )


def from_model(name: str) -> ModelShape:
    """From whatever names a model: a folder, a config.json, a GGUF, a short name, or a hub id (its config.json only,
    from the local cache or else the hub, because the user named it)."""
    from lightbulb.models.resolve import resolve

    path = Path(os.path.expanduser(name))
    if path.name == "config.json" and path.is_file():
        return from_config(read_json(path), str(path))
    source = resolve(name)
    if source.gguf is not None:
        return from_gguf(source.gguf)
    if source.path is not None:
        return from_config(read_json(source.path / "config.json"), str(source.path / "config.json"))
    return from_config(_hub_config(source.hub_id or name), name)


def _hub_config(hub_id: str) -> dict[str, Any]:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return dict(read_json(Path(hf_hub_download(hub_id, "config.json"))))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as e:
        raise ModelError(
            f"the hub did not give {hub_id}/config.json: {str(e).splitlines()[0]}",
            where=hub_id,
            mend="give the shape with --layers --width --heads --kv-heads --ffn --vocab, or --parameters 8.03e9",
        ) from e


def parse_bits(text: str) -> float:
    """Bits per weight: a number such as 4.85, or a GGUF type or mixture such as q4_0, Q4_K_M, tq2_0, ternary, bf16."""
    word = text.strip().casefold()
    try:
        bits = float(word)
    except ValueError:
        bits = MIXTURES.get(word) or _type_bits().get(word, math.nan)
    if not 0 < bits <= 64:
        known = ", ".join(sorted({*MIXTURES, *_type_bits()}))
        raise UserError(
            f"no weights of {text!r} bits", where="--bits", mend=f"a number such as 4.85, or one of {known}"
        )
    return bits


def _type_bits() -> dict[str, float]:
    from gguf.constants import GGMLQuantizationType

    sizes = block_sizes()
    return {
        kind.name.casefold(): 8 * sizes[kind.value][1] / sizes[kind.value][0]
        for kind in GGMLQuantizationType
        if kind.value in sizes and kind.name[0] in "FBQIT" and kind.name not in ("I8", "I16", "I32", "I64", "F64")
    }


def _number(header: GgufHeader, key: str, file: Path, default: int | None = None) -> int:
    """A size that a header gives once, or once a layer (then the mean)."""
    value = header.fields.get(key, default)
    if isinstance(value, list) and value:
        value = round(sum(value) / len(value))
    if not isinstance(value, int) or value < 1:
        raise ModelError(f"{key} is {value!r}", where=str(file), mend="export the file again")
    return value
