"""Where each model family keeps its parts, and what llama.cpp calls them.

All families share one skeleton (token embedding, a list of blocks with grouped attention and a gated
feed-forward, a final RMSNorm, a head that may be the embedding itself); what differs is written down here once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lightbulb.core import plugins
from lightbulb.core.errors import PluginError, UnsupportedModel

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

OWN = "lightbulb"  # model_type of a model whose layers differ: its config holds its spec (models/spec.py)
GGUF_LINEAR = {
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
    "mix_f": "mix_f",
    "mix_c": "mix_c",
    "mix_g": "mix_g",
    "mix_out": "mix_out",
}
ATTENTION: tuple[Any, ...] = ("q", "k", "v", "o")
RECURRENT: tuple[Any, ...] = ("mix_f", "mix_c", "mix_g", "mix_out")
FEED_FORWARD: tuple[Any, ...] = ("gate", "up", "down")
LINEARS = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
    "mix_f": "mixer.f_proj",
    "mix_c": "mixer.c_proj",
    "mix_g": "mixer.g_proj",
    "mix_out": "mixer.out_proj",
}
PLAIN_NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
QK_NORMS = {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
MATMULFREE = "matmulfree"
TERNARY_NORMS = {  # of what comes into a linear
    "mixer.out_proj.norm": "mix_out_norm",
    "self_attn.o_proj.norm": "attn_out_norm",
    "mlp.down_proj.norm": "ffn_down_norm",
}
GEMMA_NORMS = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


@dataclass(frozen=True)
class ArchitectureSpec:
    """One family.

    Attributes:
        family: transformers' `model_type`
        gguf: llama.cpp's architecture
        norms: dotted path inside a block -> GGUF name
        norm_offset: added to every norm weight in the file (Gemma stores w - 1)
        linears: role (q, k, v, o, gate, up, down, mix_f ...) -> dotted path inside a block
        embed: dotted path from the causal model to the embedding
        layers: likewise, to the blocks
        final_norm: likewise, to the last norm
        head: likewise, to the head
        depth: the config field that counts blocks
        per_layer: config fields with one entry a block
        activation: what a config that says nothing of it means
        tied: likewise: whether the head is the embedding
        biases: linears that have one whatever a config says
        scales_embedding: by the root of the width
        ternary: weights of the linears act as -s, 0 or s (models/ternary.py)
    """

    family: str
    gguf: str
    norms: Mapping[str, str]
    norm_offset: float = 0.0
    linears: Mapping[str, str] = field(default_factory=lambda: LINEARS)
    embed: str = "model.embed_tokens"
    layers: str = "model.layers"
    final_norm: str = "model.norm"
    head: str = "lm_head"
    depth: str = "num_hidden_layers"
    per_layer: tuple[str, ...] = ("layer_types",)
    activation: str = "silu"
    tied: bool = False
    biases: tuple[str, ...] = ()
    scales_embedding: bool = False
    ternary: bool = False


FAMILIES: dict[str, ArchitectureSpec] = {
    a.family: a
    for a in (
        ArchitectureSpec("llama", "llama", norms=PLAIN_NORMS),
        ArchitectureSpec("mistral", "llama", norms=PLAIN_NORMS),
        ArchitectureSpec("qwen2", "qwen2", norms=PLAIN_NORMS, biases=("q", "k", "v")),
        ArchitectureSpec("qwen3", "qwen3", norms={**PLAIN_NORMS, **QK_NORMS}),
        ArchitectureSpec(
            "gemma3_text",
            "gemma3",
            norms={**GEMMA_NORMS, **QK_NORMS},
            norm_offset=1.0,
            activation="gelu_pytorch_tanh",
            tied=True,
            scales_embedding=True,
        ),
        ArchitectureSpec(MATMULFREE, MATMULFREE, norms={**PLAIN_NORMS, **TERNARY_NORMS}, ternary=True),
    )
}


def architecture_spec(config: Any, where: str | None = None) -> ArchitectureSpec:
    """The architecture of a model.

    Args:
        config: of transformers (or its dict), or ours
        where: the file that the config was read from

    Raises:
        UnsupportedModel: another family; lists what works
        PluginError: what a plugin calls so is none
    """
    values = config if isinstance(config, Mapping) else {k: getattr(config, k, None) for k in ("model_type", "spec")}
    family, spec = values.get("model_type"), values.get("spec")
    if family == OWN and isinstance(spec, Mapping):
        family = spec.get("family")
    found = family_named(family) if isinstance(family, str) else None
    if found is None:
        raise UnsupportedModel(
            f"models of the family {family!r} are not supported",
            where=where,
            hint=f"use a model of one of these families: {', '.join(family_names())}",
        )
    return found


def family_names() -> list[str]:
    """Lightbulb's own, then those of plugins."""
    return [*FAMILIES, *(name for name in plugins.names(plugins.FAMILIES) if name not in FAMILIES)]


def family_named(name: str) -> ArchitectureSpec | None:
    """The family that transformers calls `name`; None where there is none.

    Raises:
        PluginError: what a plugin calls so is none
    """
    if name in FAMILIES:
        return FAMILIES[name]
    found = plugins.load(plugins.FAMILIES, name, FAMILIES)
    if found is not None and (not isinstance(found, ArchitectureSpec) or found.family != name):
        raise PluginError(
            f"{found!r} is no ArchitectureSpec of the family {name!r}", where="entry points " + plugins.FAMILIES
        )
    return found


def part(model: nn.Module, path: str) -> nn.Module:
    """The submodule at a dotted path."""
    return model.get_submodule(path)


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    """The blocks, from the embedding up."""
    return part(model, architecture_spec(model.config).layers)  # type: ignore[return-value]


def embedding_of(model: PreTrainedModel) -> nn.Embedding:
    """The token embedding."""
    return part(model, architecture_spec(model.config).embed)  # type: ignore[return-value]


def final_norm_of(model: PreTrainedModel) -> nn.Module:
    """The norm before the head."""
    return part(model, architecture_spec(model.config).final_norm)


def is_tied(model: PreTrainedModel) -> bool:
    """True when the head is the embedding matrix itself."""
    head = part(model, architecture_spec(model.config).head)
    return head.weight is embedding_of(model).weight


def keep_layers(model: PreTrainedModel, kept: Sequence[int]) -> None:
    """Keeps only some blocks, in place: module list, cache indices and config agree afterwards. A block keeps its own
    kind of attention (Gemma 3 mixes sliding and full): the GGUF says the kind of every block.

    Args:
        model: a decoder
        kept: rising indices

    Raises:
        ValueError: `kept` is empty, out of range or not rising
    """
    arch = architecture_spec(model.config)
    blocks = layers_of(model)
    if not kept or list(kept) != sorted(set(kept)) or kept[0] < 0 or kept[-1] >= len(blocks):
        raise ValueError(f"layers to keep must be rising indices below {len(blocks)}, not {list(kept)}")
    parent, _, name = arch.layers.rpartition(".")
    setattr(part(model, parent), name, type(blocks)([blocks[i] for i in kept]))
    block: Any
    for index, block in enumerate(layers_of(model)):
        for module in block.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = index
    for name in arch.per_layer:
        values = getattr(model.config, name, None)
        if values is not None:
            setattr(model.config, name, [values[i] for i in kept])
    setattr(model.config, arch.depth, len(kept))
    if (spec := getattr(model.config, "spec", None)) is not None:
        model.config.spec = spec | {"layers": [spec["layers"][i] for i in kept]}
    if hasattr(model.config, "max_window_layers"):  # Qwen: layer_types already says which blocks slide
        model.config.max_window_layers = min(model.config.max_window_layers, len(kept))
