"""The shape of a model: what the arithmetic of `predict` needs to know of it, and where to read it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from lightbulb.core.errors import ModelError, UserError
from lightbulb.core.files import read_json
from lightbulb.formats.gguf.header import GgufHeader, read_header
from lightbulb.formats.gguf.quant_types import QUANT_TYPES
from lightbulb.formats.gguf.type_map import bits_by_name
from lightbulb.models.spec import LayerSpec

F16_BITS = QUANT_TYPES["f16"].bits_per_weight
TERNARY_BITS = 1.58  # weights of -1, 0 and 1 at best (Ma et al. 2024, arXiv:2402.17764)


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder, as far as its cost depends on it.

    Attributes:
        layers: how many
        width: of what goes from layer to layer
        kv_width: width of one layer's keys (kv_heads x head_dim), as large as that of its values; of this and the next
            two the mean, where layers differ
        attention_width: heads x head_dim
        layer_parameters: weights of one layer
        vocabulary: rows of the embedding
        tied: the head is the embedding
        bits: per weight as stored, of the layers
        head_bits: likewise, of the head
        guessed: only the number of parameters was given, the rest follows what is usual
        routed_parameters: those of a layer's weights that lie in experts
        routed_share: of which a token sees this share
        routed_bits: in which they are stored; None: as `bits`
        window: tokens that the share `windowed` of the layers sees at most
        windowed: share of the layers
        kv_bits: of a key or value
        state_bytes: that layers which are no attention keep for each sequence, all layers together
        stored: how the weights are stored, in words, where a configuration says it
    """

    layers: int
    width: int
    kv_width: float
    attention_width: float
    layer_parameters: float
    vocabulary: int
    tied: bool
    bits: float = F16_BITS
    head_bits: float = F16_BITS
    guessed: bool = False
    routed_parameters: float = 0.0
    routed_share: float = 1.0
    routed_bits: float | None = None
    window: int | None = None
    windowed: float = 0.0
    kv_bits: float = F16_BITS
    state_bytes: float = 0.0
    stored: str = ""

    @staticmethod
    def of(
        layers: Sequence[LayerSpec], width: int, vocabulary: int, *, tied: bool, window: int | None = None
    ) -> ModelShape:
        """Of a model that a spec describes, in 16 bits."""
        return ModelShape(
            layers=len(layers),
            width=width,
            kv_width=mean(layer.kv_width for layer in layers),
            attention_width=mean(layer.attention_width for layer in layers),
            layer_parameters=mean(layer.parameters(width) for layer in layers),
            vocabulary=vocabulary,
            tied=tied,
            window=window,
            windowed=mean(float(layer.slides) for layer in layers),
        )

    @property
    def parameters(self) -> float:
        """All weights, embeddings included."""
        return self.layers * self.layer_parameters + self.vocabulary * self.width * (1 if self.tied else 2)

    @property
    def active_layer_parameters(self) -> float:
        """Weights of a layer that one token is multiplied with."""
        return self.layer_parameters - self.routed_parameters * (1 - self.routed_share)

    @property
    def weights_per_token(self) -> float:
        """Weights that one token is multiplied with: the layers and the head."""
        return self.layers * self.active_layer_parameters + self.vocabulary * self.width

    @property
    def bytes_read(self) -> float:
        """Bytes of weights that one decoding step of one sequence streams."""
        return self.bytes_read_by(1)

    def bytes_read_by(self, tokens: float) -> float:
        """...of a step of so many tokens, each of which chooses its experts by itself."""
        return self.layer_bytes_read_by(tokens) + self.vocabulary * self.width * self.head_bits / 8

    def layer_bytes_read_by(self, tokens: float) -> float:
        """Without the head."""
        idle = self.routed_parameters * (1 - self.routed_share) ** tokens
        return self.layers * (self.layer_parameters * self.bits - idle * (self.routed_bits or self.bits)) / 8

    @property
    def bytes_stored(self) -> float:
        """Bytes of all weights."""
        heads = self.vocabulary * self.width * self.head_bits / 8
        return self.layers * self.layer_parameters * self.bits / 8 + heads * (1 if self.tied else 2)

    @property
    def kv_bytes_per_token(self) -> float:
        """Keys and values of all layers."""
        return 2 * self.layers * self.kv_width * self.kv_bits / 8

    def tokens_seen(self, context: float) -> float:
        """Tokens that a layer sees of so many, in the mean of the layers."""
        seen = context if self.window is None else min(context, self.window)
        return self.windowed * seen + (1 - self.windowed) * context

    def mean_tokens_seen(self, context: float) -> float:
        """...in the mean of all places in the text, each of which sees those before it."""
        window = context if self.window is None else min(context, self.window)
        return self.windowed * window * (1 - window / (2 * context)) + (1 - self.windowed) * context / 2

    def at_bits(self, bits: float) -> ModelShape:
        """The same model stored in `bits`; the head stays as wide as 6-bit files keep it, or wider (llama.cpp)."""
        head = max(bits, QUANT_TYPES["q6_k"].bits_per_weight)
        return replace(self, bits=bits, head_bits=head, routed_bits=None, stored="")


def from_sizes(
    layers: int, width: int, heads: int, kv_heads: int, ffn: int, vocabulary: int, *, head_dim: int = 0, tied: bool
) -> ModelShape:
    """A gated decoder (Llama, Qwen, Gemma, Mistral): q, k, v, o, gate, up, down, and norms.

    Args:
        layers: how many
        width: of what goes from layer to layer
        heads: of queries
        kv_heads: of keys and values
        ffn: inner width of the feed-forward
        vocabulary: rows of the embedding
        head_dim: width of a head; 0: width / heads
        tied: the head is the embedding

    Raises:
        UserError: sizes that no model has
    """
    if min(layers, width, heads, kv_heads, ffn, vocabulary) < 1 or heads % kv_heads:
        raise UserError(
            f"not a shape: {layers=} {width=} {heads=} {kv_heads=} {ffn=} {vocabulary=}",
            hint="positive numbers, and `heads` a multiple of `kv_heads`",
        )
    head_width = head_dim or max(1, width // heads)
    layer = LayerSpec(
        heads=heads, kv_heads=kv_heads, head_width=head_width, feed_forward=ffn, norms=("attn_norm", "ffn_norm")
    )
    return replace(ModelShape.of([layer], width, vocabulary, tied=tied), layers=layers)


def from_parameters(parameters: float) -> ModelShape:
    """What a decoder of that many weights usually looks like: 32 layers at 8 billion, depth growing as parameters^0.42
    above (70 billion: 80) and as parameters^0.15 below (small ones are deep: 0.5 billion: 24); grouped keys and values
    of a quarter of the width, at most 1,024 (Llama 3, Qwen 2.5).

    Raises:
        UserError: a number out of range
    """
    if not (math.isfinite(parameters) and parameters >= 1e3):
        raise UserError(f"{parameters:g} parameters", where="`parameters`", hint="such as `parameters=8.03e9`")
    layers = max(2, round(32 * (parameters / 8e9) ** (0.42 if parameters > 8e9 else 0.15)))
    vocabulary = min(128_000, max(64, int(49_152 * (parameters / 1.35e8) ** 0.6)))  # small ones: as SmolLM2-135M's
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


def from_gguf(file: Path) -> ModelShape:
    """From the header of a GGUF: the real bytes of its tensors, whatever mixture they are in.

    Raises:
        ModelError: it does not hold a decoder
    """
    header = read_header(file)
    architecture = str(header.fields.get("general.architecture", ""))
    weights = {t.name: (math.prod(t.shape), t.bytes) for t in header.tensors}
    embedding = next((t for t in header.tensors if t.name == "token_embd.weight"), None)
    blocks = [sizes for name, sizes in weights.items() if name.startswith("blk.")]
    if embedding is None or not blocks:
        raise ModelError("this GGUF holds no language model", where=str(file), hint="give a model's file")
    recurrent = {name.split(".")[1] for name in weights if ".mix_f." in name}  # layers of a MatMul-free model
    if not header.fields.get(f"{architecture}.attention.head_count") and not recurrent:
        raise ModelError(
            f"layers of the kind {architecture!r} are not predicted", where=str(file), hint="or `parameters=8.03e9`"
        )
    layers = math.ceil(_number(header, f"{architecture}.block_count", file))
    vocabulary, width = embedding.shape
    attending = (layers - len(recurrent)) / layers
    heads = attending and _number(header, f"{architecture}.attention.head_count", file)
    kv_heads = attending and _number(header, f"{architecture}.attention.head_count_kv", file, heads)
    head_dim = attending and _number(header, f"{architecture}.attention.key_length", file, width // math.ceil(heads))
    count, length = (sum(column) for column in zip(*blocks, strict=True))
    routed = [sizes for name, sizes in weights.items() if "_exps." in name]
    routed_count, routed_bytes = (sum(column) for column in zip(*routed, strict=True)) if routed else (0, 0)
    share = 1.0
    if routed:
        used = _number(header, f"{architecture}.expert_used_count", file)
        share = min(1.0, used / _number(header, f"{architecture}.expert_count", file))
    head_count, head_bytes = weights.get("output.weight", weights["token_embd.weight"])
    return ModelShape(
        layers=layers,
        width=width,
        kv_width=kv_heads * head_dim * attending,
        attention_width=heads * head_dim * attending,
        layer_parameters=count / layers,
        vocabulary=vocabulary,
        tied="output.weight" not in weights,
        bits=8 * length / count,
        head_bits=8 * head_bytes / head_count,
        routed_parameters=routed_count / layers,
        routed_share=share,
        routed_bits=8 * routed_bytes / routed_count if routed else None,
        state_bytes=_state_bytes(header, architecture, file) + 4 * width * len(recurrent),
    )


def _state_bytes(header: GgufHeader, architecture: str, file: Path) -> float:
    """Of state space layers (Mamba 2, delta rules), in float32: width x numbers for each of it."""
    layers = {t.name.split(".")[1] for t in header.tensors if ".ssm_" in t.name}
    if not layers:
        return 0.0
    inner, state = (_number(header, f"{architecture}.ssm.{size}_size", file) for size in ("inner", "state"))
    return 4 * len(layers) * inner * state


def from_model(name: str, *, bits: bool = True) -> ModelShape:
    """From whatever names a model.

    Args:
        name: a folder, a config.json, a GGUF, a short name, or a hub id (its config.json only, from the local cache or
            else the hub, because the user named it)
        bits: as for `from_config`

    Raises:
        ModelError: it cannot be read
    """
    from lightbulb.models.resolve import json_object, resolve
    from lightbulb.predicting.configs import from_config

    path = Path(os.path.expanduser(name))
    if path.name == "config.json" and path.is_file():
        return from_config(json_object(path), str(path), bits=bits)
    source = resolve(name)
    if source.gguf is not None:
        return from_gguf(source.gguf)
    if source.path is not None:
        file = source.path / "config.json"
        return from_config(json_object(file), str(file), bits=bits)
    return from_config(_hub_config(source.hub_id or name), name, bits=bits)


def _hub_config(hub_id: str) -> dict[str, Any]:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return dict(read_json(Path(hf_hub_download(hub_id, "config.json"))))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as e:
        raise ModelError(
            f"the hub did not give {hub_id}/config.json: {str(e).splitlines()[0]}",
            where=hub_id,
            hint="give the shape with `layers` `width` `heads` `kv_heads` `ffn` `vocab`, or `parameters=8.03e9`",
        ) from e


def parse_bits(text: str) -> float:
    """Bits per weight of a number such as 4.85, or of a GGUF type or mixture such as q4_0, Q4_K_M, tq2_0, ternary,
    bf16.

    Raises:
        UserError: it is none
    """
    word, named = text.strip().casefold(), bits_by_name() | {"ternary": TERNARY_BITS}
    try:
        bits = float(word)
    except ValueError:
        bits = named.get(word, math.nan)
    if not 0 < bits <= 64:
        raise UserError(
            f"no weights of {text!r} bits",
            where="`bits`",
            hint=f"a number such as 4.85, or one of {', '.join(sorted(named))}",
        )
    return bits


def _number(header: GgufHeader, key: str, file: Path, default: float | None = None) -> float:
    """A size that a header gives once, or once a layer (then the mean)."""
    value = header.fields.get(key, default)
    sizes = value if isinstance(value, list) else [value]
    if not sizes or not all(isinstance(size, (int, float)) and size >= 0 for size in sizes) or not any(sizes):
        raise ModelError(f"{key} is {value!r}", where=str(file), hint="export the file again")
    return mean(sizes)
