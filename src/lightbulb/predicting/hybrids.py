"""Layers that are no attention, of models that mix both kinds: their weights, and the state that they keep instead of
keys and values. It does not grow with the text, and every token reads and writes all of it.

Read are gated delta rules (Qwen3-Next, arXiv:2412.06464), state spaces (Mamba 2, arXiv:2405.21060, as in Granite 4) and
short convolutions (LFM2). What is none of these is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ATTENTION = frozenset({"full_attention", "sliding_attention", "chunked_attention", "attention"})
KNOWN = frozenset({"linear_attention", "mamba", "conv"})
STATE_BYTES = 4  # of a number of the state: float32


@dataclass(frozen=True, slots=True)
class Mixer:
    """What stands in the place of attention in a layer.

    Attributes:
        modules: weights by name
        state: numbers kept for each sequence
    """

    modules: tuple[tuple[str, float], ...]
    state: float


def told_kinds(text_config: Mapping[str, Any]) -> list[str]:
    """What a config says of each layer; empty where it says nothing."""
    return [str(kind) for kind in text_config.get("layer_types") or text_config.get("layers_block_type") or ()]


def kinds_of(text_config: Mapping[str, Any], layers: int) -> Sequence[str]:
    """What each layer is: told, or every n-th attention; empty where all are.

    Raises:
        ValueError: it is told of another number of layers
    """
    if told := told_kinds(text_config):
        if len(told) != layers:
            raise ValueError(f"{len(told)} layer_types of {layers} layers")
        return told
    if isinstance(text_config.get("full_attn_idxs"), list):
        return ["full_attention" if n in text_config["full_attn_idxs"] else "conv" for n in range(layers)]
    every = int(text_config.get("full_attention_interval") or 0)
    if every and text_config.get("linear_num_value_heads"):
        return ["linear_attention" if (n + 1) % every else "full_attention" for n in range(layers)]
    return []


def mixer(text_config: Mapping[str, Any], kind: str, width: int) -> Mixer:
    """Of a layer of a kind in KNOWN.

    Raises:
        KeyError: a size is missing
    """
    if kind == "linear_attention":
        return _delta(text_config, width)
    return _mamba(text_config, width) if kind == "mamba" else _convolution(text_config, width)


def _delta(text_config: Mapping[str, Any], width: int) -> Mixer:
    key, value = int(text_config["linear_key_head_dim"]), int(text_config["linear_value_head_dim"])
    keys, values = int(text_config["linear_num_key_heads"]), int(text_config["linear_num_value_heads"])
    taps = int(text_config.get("linear_conv_kernel_dim") or 4)
    mixed = 2 * keys * key + values * value
    modules = (
        ("linear_attn.in_proj_qkvz", float(width * (mixed + values * value))),
        ("linear_attn.in_proj_ba", 2.0 * width * values),
        ("linear_attn.out_proj", float(values * value * width)),
    )
    return Mixer(modules, values * key * value + mixed * taps)


def _mamba(text_config: Mapping[str, Any], width: int) -> Mixer:
    heads, head = int(text_config["mamba_n_heads"]), int(text_config["mamba_d_head"])
    state, groups = int(text_config["mamba_d_state"]), int(text_config.get("mamba_n_groups") or 1)
    taps, inner = int(text_config.get("mamba_d_conv") or 4), heads * head
    mixed = inner + 2 * groups * state
    modules = (("mamba.in_proj", float(width * (inner + mixed + heads))), ("mamba.out_proj", float(inner * width)))
    return Mixer(modules, inner * state + mixed * taps)


def _convolution(text_config: Mapping[str, Any], width: int) -> Mixer:
    inner, taps = int(text_config.get("conv_dim") or width), int(text_config.get("conv_L_cache") or 3)
    modules = (("conv.in_proj", 3.0 * width * inner), ("conv.out_proj", float(inner * width)))
    return Mixer(modules, inner * taps)
