"""What a config says of a decoder, as a spec, and a spec as a config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightbulb.models.families import ATTENTION, FEED_FORWARD, MATMULFREE, OWN, ArchitectureSpec, architecture_spec
from lightbulb.models.rope import Rope
from lightbulb.models.spec import KINDS, LayerSpec, ModelSpec, Role, attention_layer, mlgru_layer


def spec_of_config(config: Mapping[str, Any]) -> ModelSpec:
    """Reads what a config says.

    Args:
        config: of transformers, as `save_model` writes it, or our own

    Raises:
        UnsupportedModel: another family
        KeyError: sizes are missing
        ValidationError: sizes do not fit (pydantic's)
    """
    if config.get("model_type") == OWN:
        return ModelSpec.model_validate(config["spec"])
    if config.get("model_type") == MATMULFREE:
        return _matmulfree_spec(config)
    arch = architecture_spec(config)
    heads, width, gemma = config["num_attention_heads"], config["hidden_size"], arch.gguf == "gemma3"
    layer = LayerSpec(
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_width=config.get("head_dim") or width // heads,
        feed_forward=config["intermediate_size"],
        activation=config.get("hidden_activation") or config.get("hidden_act") or arch.activation,
        norms=tuple(arch.norms.values()),  # type: ignore[arg-type]
        biases=_biases(config, arch),
    )
    rope, window = config.get("rope_parameters") or {}, config.get("sliding_window")
    by_kind = "full_attention" in rope or "sliding_attention" in rope
    main = (rope.get("full_attention") or {}) if by_kind else rope
    return ModelSpec(
        family=arch.family,
        width=width,
        vocabulary=config["vocab_size"],
        vocabulary_out=config["vocab_size"],
        tied=bool(config.get("tie_word_embeddings", arch.tied)),
        context=config["max_position_embeddings"],
        epsilon=config["rms_norm_eps"],
        rope=Rope.of({"rope_theta": config.get("rope_theta"), **main}),
        local_rope=Rope.of(rope.get("sliding_attention") or {}) if by_kind else None,
        window=window,
        query_scalar=config.get("query_pre_attn_scalar") if gemma else None,
        attention_cap=config.get("attn_logit_softcapping") if gemma else None,
        logit_cap=config.get("final_logit_softcapping") if gemma else None,
        two_way=bool(config.get("use_bidirectional_attention")),
        layers=tuple(layer.model_copy(update={"slides": s}) for s in _slides(config, arch)),
    )


def _matmulfree_spec(config: Mapping[str, Any]) -> ModelSpec:
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


def _biases(config: Mapping[str, Any], arch: ArchitectureSpec) -> tuple[Role, ...]:
    attention: Sequence[Any] = arch.biases or (ATTENTION if config.get("attention_bias") else ())
    return (*attention, *(FEED_FORWARD if config.get("mlp_bias") else ()))


def _slides(config: Mapping[str, Any], arch: ArchitectureSpec) -> list[bool]:
    """Which layers see only the window. Without kinds of layers, all of a Mistral do."""
    depth, kinds = config[arch.depth], config.get("layer_types")
    if not config.get("sliding_window"):
        return [False] * depth
    return [kind == "sliding_attention" for kind in kinds] if kinds else [arch.family == "mistral"] * depth


def config_of(spec: ModelSpec) -> dict[str, Any]:
    """transformers config values, model_type among them, of a model whose layers are alike; of another one ours."""
    if spec.family == MATMULFREE:
        return _matmulfree_config(spec)
    own = {"model_type": OWN, "spec": spec.model_dump(mode="json", exclude_defaults=True)}
    if spec.recurrent:
        return own
    layer, arch = spec.layers[0], spec.arch
    values: dict[str, Any] = {
        "model_type": spec.family,
        "num_hidden_layers": len(spec.layers),
        "hidden_size": spec.width,
        "head_dim": layer.head_width,
        "num_attention_heads": layer.heads,
        "num_key_value_heads": layer.kv_heads,
        "intermediate_size": layer.feed_forward,
        "max_position_embeddings": spec.context,
        "rope_parameters": spec.rope.parameters,
        "rms_norm_eps": spec.epsilon,
        "vocab_size": spec.vocabulary,
        "tie_word_embeddings": spec.tied,
        "hidden_activation" if arch.scales_embedding else "hidden_act": layer.activation,
    }
    if spec.window:
        values["sliding_window"] = spec.window
    if spec.window and spec.family != "mistral":
        values["layer_types"] = ["sliding_attention" if each.slides else "full_attention" for each in spec.layers]
    if spec.window and spec.family.startswith("qwen"):
        values["use_sliding_window"] = True
    if spec.local_rope:
        values["rope_parameters"] = {"full_attention": spec.rope.parameters,
                                     "sliding_attention": spec.local_rope.parameters}  # fmt: skip
        values |= {"query_pre_attn_scalar": spec.query_scalar, "final_logit_softcapping": spec.logit_cap,
                   "attn_logit_softcapping": spec.attention_cap}  # fmt: skip
    if "q" in layer.biases:
        values["attention_bias"] = True
    if "gate" in layer.biases:
        values["mlp_bias"] = True
    return values if spec.alike and spec_of_config(values) == spec else own


def _matmulfree_config(spec: ModelSpec) -> dict[str, Any]:
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
    if all(layer.mixer in KINDS for layer in spec.layers) and _matmulfree_spec(values) == spec:
        return values
    return {"model_type": OWN, "spec": spec.model_dump(mode="json", exclude_defaults=True)}
