"""Models of ternary weights in GGUF files (docs/format.md): keys, and what a file holds of the weights that were
trained. Those of transformers are of llama.cpp's `bitnet` where that can say what they are, else of `matmulfree`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lightbulb.core.errors import ModelError, UnsupportedModel
from lightbulb.formats.gguf.quant_types import QUANT_TYPES
from lightbulb.formats.gguf.type_map import TypeMap
from lightbulb.models.families import MATMULFREE
from lightbulb.models.gguf_keys import Keys, blocks_of, check_groups, check_head_width, mixers_of
from lightbulb.models.spec import LOWER, ModelSpec, Rope, attention_layer, mlgru_layer

if TYPE_CHECKING:
    import numpy as np
    import torch

    from lightbulb.formats.gguf.header import GgufHeader

TERNARY = QUANT_TYPES["tq2_0"]
BITNET = "bitnet"
NORMS = {"attn_out_norm": "attn_sub_norm", "ffn_down_norm": "ffn_sub_norm"}  # as `bitnet` calls them


def check_exportable(spec: ModelSpec) -> None:
    """Refuses what has no place in such a file.

    Raises:
        UnsupportedModel: rows are no whole number of ternary blocks, or layers differ in more than their mixers
    """
    inner = {layer.feed_forward for layer in spec.layers}
    heads = {(x.heads, x.kv_heads, x.head_width) for x in spec.layers if x.mixer == "attention"}
    widths = sorted(spec.row_widths)
    wrong = next((width for width in widths if not TERNARY.fits(width)), None)
    if wrong is not None:
        raise UnsupportedModel(
            f"rows of {wrong} weights are no whole number of ternary blocks of {TERNARY.block}",
            where="config.json",
            hint=f"train a model whose widths are multiples of {TERNARY.block}, or cut one by `prune-width` to such",
        )
    mixers = {layer.mixer for layer in spec.layers}
    if len(inner) > 1 or None in inner or len(heads) > 1 or "none" in mixers or spec.rope.kind != "default":
        raise UnsupportedModel(
            f"layers of a {MATMULFREE} file differ in their mixers only, and all have one and a feed-forward",
            where="config.json",
            hint="export another model",
        )


def architecture_for(spec: ModelSpec) -> str:
    """llama.cpp's `bitnet` for a transformer whose heads are as wide as the model and whose head is the embedding, else
    `matmulfree`. Raises UnsupportedModel as `check_exportable` does."""
    check_exportable(spec)
    plain = all(layer.mixer == "attention" and layer.attention_width == spec.width for layer in spec.layers)
    return BITNET if plain and spec.tied else MATMULFREE


def fields_of(spec: ModelSpec) -> dict[str, Any]:
    """GGUF keys -> values. Raises UnsupportedModel as `check_exportable` does."""
    architecture = architecture_for(spec)
    fields: dict[str, Any] = {
        "block_count": len(spec.layers),
        "context_length": spec.context,
        "embedding_length": spec.width,
        "feed_forward_length": spec.layers[0].feed_forward,
        "vocab_size": spec.vocabulary,
        "attention.layer_norm_rms_epsilon": spec.epsilon,
    }
    if architecture == MATMULFREE:
        fields["mixer"] = [layer.mixer for layer in spec.layers]
    if attends := next((layer for layer in spec.layers if layer.mixer == "attention"), None):
        fields |= {
            "attention.head_count": attends.heads,
            "attention.head_count_kv": attends.kv_heads,
            "attention.key_length": attends.head_width,
            "rope.freq_base": spec.rope.base,
        }
    if architecture == BITNET:
        fields["rope.dimension_count"] = fields["attention.value_length"] = fields["attention.key_length"]
    return {f"{architecture}.{key}": value for key, value in fields.items()}


def types_of(types: TypeMap) -> TypeMap:
    """`types` with ternary layers: nothing else holds them as they act."""
    return TypeMap(TERNARY.name, {role: types.type_of(role).name for role in ("embedding", "head")})


def spec_of_file(header: GgufHeader) -> ModelSpec:
    """What the keys of a file say.

    Raises:
        ModelError: something that they must say is missing or cannot be
    """
    keys, names = Keys(header), {tensor.name for tensor in header.tensors}
    blocks = blocks_of(keys, header)
    mixers = ["attention"] * blocks if keys.architecture == BITNET else mixers_of(keys, blocks)
    inner = keys.integer("feed_forward_length")
    layers = {"mlgru": mlgru_layer(inner)}
    if "attention" in mixers:
        sizes = [keys.integer(f"attention.{key}") for key in ("head_count", "head_count_kv", "key_length")]
        check_head_width(keys, sizes[2])
        check_groups(sizes[0], sizes[1])
        layers["attention"] = attention_layer(inner, *sizes)
    vocabulary = keys.integer("vocab_size")
    return ModelSpec(
        family=MATMULFREE,
        width=keys.integer("embedding_length"),
        vocabulary=vocabulary,
        vocabulary_out=vocabulary,
        tied="output.weight" not in names,
        context=keys.integer("context_length"),
        epsilon=keys.number("attention.layer_norm_rms_epsilon", 1e-6),
        rope=Rope(base=keys.number("rope.freq_base", 10_000.0)),
        layers=tuple(layers[mixer] for mixer in mixers),
    )


def acting(spec: ModelSpec, read: Callable[[str], torch.Tensor]) -> Callable[[str], torch.Tensor]:
    """Weights as a file holds them, by transformers' name: ternary values, and bounds instead of what they are made of.

    Args:
        spec: of the model
        read: gives what was trained
    """
    import torch

    from lightbulb.ops.recurrence import rising_bounds
    from lightbulb.ops.ternary import ternary_values

    bounded = _bounded(spec)
    bounds = dict(
        zip(bounded, rising_bounds(torch.stack([read(name) for name in bounded])) if bounded else (), strict=True)
    )

    def found(name: str) -> torch.Tensor:
        if name in bounds:
            return bounds[name]
        values = read(name).float()
        return ternary_values(values) if values.ndim > 1 and name.startswith(spec.arch.layers) else values

    return found


def trained(spec: ModelSpec, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What acts as `weights` of a file do: the inverse of `acting`, where only that decides.

    Raises:
        ModelError: a matrix with more than one magnitude, or bounds that do not rise from 0
    """
    import torch

    from lightbulb.ops.recurrence import logits_of_bounds
    from lightbulb.ops.ternary import masters_of, ternary_values

    found = dict(weights)
    for name, values in weights.items():
        if values.ndim > 1 and name.startswith(spec.arch.layers):
            masters = masters_of(tensor := torch.from_numpy(values))
            if not torch.equal(ternary_values(masters), tensor):
                raise ModelError(f"the weights of {name} are not -s, 0 and s with one s", hint="export the file again")
            found[name] = masters.numpy()
    if bounded := [name for name in _bounded(spec) if name in weights]:
        try:
            logits = logits_of_bounds(torch.stack([torch.from_numpy(weights[name]) for name in bounded]))
        except ValueError as e:
            raise ModelError(str(e), hint="export the file again") from e
        found |= {name: row.numpy() for name, row in zip(bounded, logits, strict=True)}
    return found


def _bounded(spec: ModelSpec) -> list[str]:
    layers = [n for n, layer in enumerate(spec.layers) if layer.mixer == "mlgru"]
    return [f"{spec.arch.layers}.{n}.{LOWER}" for n in layers]
