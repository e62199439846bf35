"""What a GGUF says about a model beside its weights: sizes, positions, attention pattern."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lightbulb.core.errors import UnsupportedModel
from lightbulb.models.anatomy import Anatomy

GEMMA_27B_BLOCKS = 62  # llama.cpp knows Gemma 3 27B by its depth and scales attention by width / heads there


def shape_fields(config: dict[str, Any], anatomy: Anatomy) -> dict[str, Any]:
    """GGUF keys -> values from a transformers config. Raises UnsupportedModel for what llama.cpp cannot compute."""
    heads, width = config["num_attention_heads"], config["hidden_size"]
    head_dim = config.get("head_dim") or width // heads
    _check(config, anatomy, head_dim)
    rope = main_rope(config)
    fields: dict[str, Any] = {
        "block_count": config[anatomy.depth],
        "context_length": context_length(config, anatomy),
        "embedding_length": width,
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": heads,
        "attention.head_count_kv": config.get("num_key_value_heads") or heads,
        "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "rope.dimension_count": head_dim,
        "rope.freq_base": float(rope.get("rope_theta", 10_000.0)),
        "vocab_size": config["vocab_size"],
    }
    if rope["rope_type"] == "linear":
        fields |= {"rope.scaling.type": "linear", "rope.scaling.factor": float(rope["factor"])}
    if anatomy.gguf == "gemma3":
        local = config["rope_parameters"].get("sliding_attention") or {}
        fields |= {
            "attention.sliding_window": config["sliding_window"],
            # one entry a block: llama.cpp would otherwise let every sixth block attend to everything
            "attention.sliding_window_pattern": [k == "sliding_attention" for k in config["layer_types"]],
            "rope.freq_base_swa": float(local.get("rope_theta", 10_000.0)),
        }
    return {f"{anatomy.gguf}.{key}": value for key, value in fields.items()}


def main_rope(config: dict[str, Any]) -> dict[str, Any]:
    """Rotary parameters of the blocks that attend to everything."""
    rope = dict(config.get("rope_parameters") or {})
    if "full_attention" in rope:
        rope = dict(rope["full_attention"] or {})
    rope.setdefault("rope_type", "default")
    rope.setdefault("rope_theta", config.get("rope_theta", 10_000.0))
    return rope


def context_length(config: dict[str, Any], anatomy: Anatomy) -> int:
    """Longest context; where llama.cpp has no sliding window for the family, the window, inside which both agree."""
    longest = int(config["max_position_embeddings"])
    window = config.get("sliding_window")
    kinds = config.get("layer_types")
    slides = "sliding_attention" in kinds if kinds else anatomy.family == "mistral"
    return min(longest, int(window)) if window and slides and anatomy.gguf != "gemma3" else longest


def rope_factors(config: dict[str, Any]) -> np.ndarray | None:
    """Llama 3's per-frequency divisors [head_dim / 2], or None when positions are not stretched that way.

    Long waves are slowed by `factor`, short ones left alone, those between blended (Llama 3.1 model card).
    """
    rope = main_rope(config)
    if rope["rope_type"] != "llama3":
        return None
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    wave = 2 * math.pi * rope["rope_theta"] ** (np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    turns = rope["original_max_position_embeddings"] / wave
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    blend = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return (1 / ((1 - blend) / rope["factor"] + blend)).astype(np.float32)


def config_values(fields: dict[str, Any]) -> dict[str, Any]:
    """transformers config values, model_type among them, from GGUF keys. Raises UnsupportedModel for what has no place
    there."""
    architecture = fields["general.architecture"]

    def value(key: str, default: Any = None) -> Any:
        return fields.get(f"{architecture}.{key}", default)

    blocks, width, heads = value("block_count"), value("embedding_length"), value("attention.head_count")
    kv_heads, inner = value("attention.head_count_kv", heads), value("feed_forward_length")
    if not all(isinstance(n, int) and n > 0 for n in (blocks, width, heads, kv_heads, inner)):
        raise UnsupportedModel(
            "this GGUF has no single width for all of its blocks",
            hint="use a file whose blocks all have the same shape",
        )
    head_dim = value("attention.key_length") or value("rope.dimension_count") or width // heads
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": float(value("rope.freq_base", 10_000.0))}
    stretch = value("rope.scaling.type", "none")
    if stretch == "linear":
        rope |= {"rope_type": "linear", "factor": float(value("rope.scaling.factor"))}
    elif stretch != "none":
        raise UnsupportedModel(
            f"positions of the kind {stretch!r} in a GGUF are not read back",
            hint="start from the transformers folder of the model",
        )
    config = {
        "model_type": architecture,
        "num_hidden_layers": blocks,
        "hidden_size": width,
        "head_dim": head_dim,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": inner,
        "max_position_embeddings": value("context_length"),
        "rope_parameters": rope,
        "rms_norm_eps": value("attention.layer_norm_rms_epsilon", 1e-6),
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
    }
    if architecture == "gemma3":
        pattern = value("attention.sliding_window_pattern", 6)
        slides = pattern if isinstance(pattern, list) else [bool((i + 1) % pattern) for i in range(blocks)]
        local = {"rope_type": "default", "rope_theta": float(value("rope.freq_base_swa", 10_000.0))}
        config |= {
            "model_type": "gemma3_text",
            "sliding_window": value("attention.sliding_window", 4096),
            "layer_types": ["sliding_attention" if s else "full_attention" for s in slides],
            "rope_parameters": {"full_attention": rope, "sliding_attention": local},
            "query_pre_attn_scalar": width // heads if blocks == GEMMA_27B_BLOCKS else head_dim,
        }
    return config


def _check(config: dict[str, Any], anatomy: Anatomy, head_dim: int) -> None:
    rope = main_rope(config)
    gemma = anatomy.gguf == "gemma3"
    activation = config.get("hidden_activation" if gemma else "hidden_act")
    big = config[anatomy.depth] == GEMMA_27B_BLOCKS
    scale = config["hidden_size"] // config["num_attention_heads"] if big else head_dim
    refusals = {
        f"positions of the kind {rope['rope_type']!r}": rope["rope_type"] not in ("default", "linear", "llama3"),
        "rotation of a part of each head": rope.get("partial_rotary_factor", 1.0) not in (None, 1.0),
        f"the activation {activation!r}": activation != ("gelu_pytorch_tanh" if gemma else "silu"),
        f"an odd head width ({head_dim})": head_dim % 2 != 0,
        "capped attention logits": bool(gemma and config.get("attn_logit_softcapping")),
        "capped output logits": bool(gemma and config.get("final_logit_softcapping")),
        "attention in both directions": bool(config.get("use_bidirectional_attention")),
        "an attention scale that is not the head width": gemma and config["query_pre_attn_scalar"] != scale,
    }
    refused = [what for what, wrong in refusals.items() if wrong]
    if refused:
        raise UnsupportedModel(
            f"llama.cpp's {anatomy.gguf} cannot compute {refused[0]}",
            where="config.json",
            hint="use another model of the family",
        )
