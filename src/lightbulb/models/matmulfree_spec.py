"""MatMul-free decoders as a config says them, and as a spec does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightbulb.models.families import MATMULFREE, OWN
from lightbulb.models.spec import LayerSpec, ModelSpec, Norm, Rope

KINDS = {"mlgru": "linear_attention", "attention": "full_attention"}  # mixer -> transformers' name in layer_types
MLGRU_NORMS: tuple[Norm, ...] = ("attn_norm", "mix_out_norm", "ffn_norm", "ffn_down_norm")
ATTENTION_NORMS: tuple[Norm, ...] = ("attn_norm", "attn_out_norm", "ffn_norm", "ffn_down_norm")


def mlgru_layer(feed_forward: int) -> LayerSpec:
    """A layer with a recurrent mixer."""
    return LayerSpec(mixer="mlgru", feed_forward=feed_forward, norms=MLGRU_NORMS)


def attention_layer(feed_forward: int, heads: int, kv_heads: int, head_width: int) -> LayerSpec:
    """A layer of a hybrid that has attention, of ternary weights as well."""
    return LayerSpec(
        heads=heads, kv_heads=kv_heads, head_width=head_width, feed_forward=feed_forward, norms=ATTENTION_NORMS
    )


def spec_of_matmulfree(config: Mapping[str, Any]) -> ModelSpec:
    """As `spec_of_config`, of a config of this family."""
    heads, width, inner = config["num_attention_heads"], config["hidden_size"], config["intermediate_size"]
    kv_heads, head_width = config.get("num_key_value_heads") or heads, config.get("head_dim") or width // heads
    layers = {
        "linear_attention": mlgru_layer(inner),
        "full_attention": attention_layer(inner, heads, kv_heads, head_width),
    }
    return ModelSpec(
        family=MATMULFREE,
        width=width,
        vocabulary=config["vocab_size"],
        vocabulary_out=config["vocab_size"],
        tied=bool(config.get("tie_word_embeddings")),
        context=config["max_position_embeddings"],
        epsilon=config["rms_norm_eps"],
        rope=Rope.of(config.get("rope_parameters") or {}),
        layers=tuple(layers[kind] for kind in config["layer_types"]),
    )


def config_of_matmulfree(spec: ModelSpec) -> dict[str, Any]:
    """As `config_of`: values of a `MatMulFreeConfig`, or where layers differ in more than their mixers, of ours."""
    first = next((layer for layer in spec.layers if layer.mixer == "attention"), None)
    sizes = (first.heads, first.kv_heads, first.head_width) if first else (1, 1, spec.width)
    values = {
        "model_type": MATMULFREE,
        "num_hidden_layers": len(spec.layers),
        "hidden_size": spec.width,
        "num_attention_heads": sizes[0],
        "num_key_value_heads": sizes[1],
        "head_dim": sizes[2],
        "intermediate_size": spec.layers[0].feed_forward,
        "max_position_embeddings": spec.context,
        "rope_parameters": spec.rope.parameters,
        "rms_norm_eps": spec.epsilon,
        "vocab_size": spec.vocabulary,
        "tie_word_embeddings": spec.tied,
        "layer_types": [KINDS.get(layer.mixer) for layer in spec.layers],
    }
    if None not in values["layer_types"] and spec_of_matmulfree(values) == spec:
        return values
    return {"model_type": OWN, "spec": spec.model_dump(mode="json", exclude_defaults=True)}
