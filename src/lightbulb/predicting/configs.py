"""The shape of a decoder from transformers' config.json: sizes, experts, sliding windows, how weights are stored."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lightbulb.core.errors import ModelError
from lightbulb.models.families import OWN
from lightbulb.models.spec_config import spec_of_config
from lightbulb.predicting.hybrids import ATTENTION, KNOWN, STATE_BYTES, kinds_of, mixer, told_kinds
from lightbulb.predicting.shapes import ModelShape
from lightbulb.predicting.stored import HEAD, Stored, stored

_INNER = ("text_config", "llm_config", "language_config")
_TIED = ("gemma", "cohere", "gpt2", "gpt_bigcode", "opt", "bloom", "mpt", "starcoder2", "smollm3")  # where none says so
_TWO_MATRICES = ("gpt2", "gpt_neox", "gptj", "gpt_bigcode", "opt", "bloom", "falcon", "mpt", "starcoder2", "phi",
                 "nemotron", "persimmon", "codegen")  # fmt: skip
# Layers that are no attention, and of whose sizes `hybrids` does not know
_OTHER_KINDS = ("mamba", "rwkv", "jamba", "bamba", "zamba", "falcon_h1", "recurrent_gemma", "lfm2_moe",
                "kimi_linear", "minimax", "xlstm", "retnet", "nemotron_h", "plamo2", "hyena")  # fmt: skip
_NO_DECODERS = ("ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForImageClassification")
_PATTERNS = {"gemma2": 2, "gpt_oss": 2, "gemma3": 6, "cohere2": 4}  # one layer of so many sees everything
_GATED = ("qwen3_next", "qwen3_5")  # queries come with a gate as wide
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
_ACTIVE = ("num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk", "top_k_experts", "moe_top_k")


@dataclass(frozen=True)
class _Module:
    """One kind of module, with all of its weights.

    Attributes:
        routed: experts of which a token sees some, all of them together
    """

    name: str
    parameters: float
    routed: bool = False


def from_config(config: Mapping[str, Any], where: str, *, bits: bool = True) -> ModelShape:
    """The shape that a config.json describes.

    Args:
        config: its contents
        where: the file, for errors
        bits: whether how the weights are stored is read, too; False takes 16 bits, for who gives others

    Raises:
        ModelError: sizes are missing, or something is not known: quantizations, layers that are no attention
    """
    inner: dict[str, Any] = next((config[key] for key in _INNER if isinstance(config.get(key), dict)), {})
    text_config = {**config, **inner}
    _check(config, text_config, where)
    try:
        if config.get("model_type") == OWN:
            return _own(config)
        return _shape(text_config, stored(config, where) if bits else Stored(16.0, head=True))
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as e:
        raise ModelError(
            f"the configuration tells no shape: {e}",
            where=where,
            hint="give it with `layers` `width` `heads` `kv_heads` `ffn` `vocab`",
        ) from e


def _check(config: Mapping[str, Any], text_config: Mapping[str, Any], where: str) -> None:
    kind = str(text_config.get("model_type") or "").casefold()
    architectures = [str(a) for a in config.get("architectures") or ()]
    strange = next((word for word in _OTHER_KINDS if word in kind), None)
    linear = sorted(set(told_kinds(text_config)) - ATTENTION - KNOWN)
    if not told_kinds(text_config):
        linear = sorted(key for key in text_config if key.startswith(("mamba_", "ssm_")))  # but not in which layers
    what = None
    if config.get("is_encoder_decoder") or any(a.endswith(_NO_DECODERS) for a in architectures):
        what = f"this is no decoder ({architectures[0] if architectures else kind})"
    elif strange or linear:
        what = f"layers of the kind {linear[0] if linear else kind!r} are not predicted"
    if what:
        raise ModelError(what, where=where, hint="name a decoder whose layers are known, or `parameters=8.03e9`")


def _own(config: Mapping[str, Any]) -> ModelShape:
    """Of a model whose layers differ, as lightbulb writes it."""
    spec = spec_of_config(config)
    return ModelShape.of(spec.layers, spec.width, spec.vocabulary, tied=spec.tied, window=spec.window)


def _shape(text_config: Mapping[str, Any], weights: Stored) -> ModelShape:
    layers = int(_first(text_config, "num_hidden_layers", "n_layer", "n_layers", "num_layers"))
    width, heads = int(_first(text_config, "hidden_size", "n_embd", "d_model")), int(_first(text_config, *_HEADS))
    kv_heads = int(_kv_heads(text_config, heads))
    vocabulary = int(text_config["vocab_size"])
    head_dim = int(text_config.get("head_dim") or 0) or max(1, width // heads)
    if min(layers, width, heads, kv_heads, vocabulary) < 1 or heads % kv_heads:
        raise ValueError(f"{layers} layers of width {width}, {heads} heads, {kv_heads} of keys and values")
    attention, kv_width, attention_width = _attention(text_config, width, heads, kv_heads, head_dim)
    kinds = kinds_of(text_config, layers)
    mixers = {kind: mixer(text_config, kind, width) for kind in sorted(set(kinds) & KNOWN)}
    others = {kind: [_Module(*named) for named in found.modules] for kind, found in mixers.items()}
    attending = 1 - sum(kind in KNOWN for kind in kinds) / layers
    counts, sums = {False: 0.0, True: 0.0}, {False: 0.0, True: 0.0}
    for layer in range(layers):
        mixing = others.get(kinds[layer], attention) if kinds else attention
        for module in (*mixing, *_feed_forward(text_config, layer, width)):
            name = f"model.layers.{layer}.{module.name}"
            counts[module.routed] += module.parameters
            sums[module.routed] += module.parameters * weights.bits_of(name)
        counts[False] += 2 * width
        sums[False] += 2 * width * weights.rest
    experts, active = _experts(text_config)
    window, share = _window(text_config, layers)
    head_bits = weights.bits_of(HEAD)
    return ModelShape(
        layers=layers,
        width=width,
        kv_width=kv_width * attending,
        attention_width=attention_width * attending,
        layer_parameters=(counts[False] + counts[True]) / layers,
        vocabulary=vocabulary,
        tied=_tied(text_config),
        bits=(sums[False] + sums[True]) / (counts[False] + counts[True]),
        head_bits=head_bits,
        routed_parameters=counts[True] / layers,
        routed_share=active / experts if experts else 1.0,
        routed_bits=sums[True] / counts[True] if counts[True] else None,
        window=window,
        windowed=share,
        kv_bits=weights.kv_bits,
        state_bytes=STATE_BYTES * sum(mixers[kind].state for kind in kinds if kind in mixers),
        stored=weights.words,
    )


_HEADS = ("num_attention_heads", "n_head", "n_heads")


def _first(text_config: Mapping[str, Any], *names: str) -> Any:
    for name in names:
        if text_config.get(name) is not None:
            return text_config[name]
    raise KeyError(names[0])


def _kv_heads(text_config: Mapping[str, Any], heads: int) -> int:
    if text_config.get("multi_query") and not text_config.get("new_decoder_architecture"):
        return 1
    return int(
        next(
            (text_config[k] for k in ("num_key_value_heads", "num_kv_heads", "n_head_kv") if text_config.get(k)), heads
        )
    )


def _tied(text_config: Mapping[str, Any]) -> bool:
    kind = str(text_config.get("model_type", ""))
    return bool(text_config.get("tie_word_embeddings", any(kind.startswith(family) for family in _TIED)))


def _attention(
    text_config: Mapping[str, Any], width: int, heads: int, kv_heads: int, head_dim: int
) -> tuple[list[_Module], int, int]:
    """(modules of a layer, width of its keys as of its values, mean width of scores and values of all heads)."""
    if text_config.get("kv_lora_rank"):  # DeepSeek-V2, arXiv:2405.04434: what is kept is the latent and the rotated key
        latent, rotated = int(text_config["kv_lora_rank"]), int(text_config["qk_rope_head_dim"])
        plain, values = int(text_config["qk_nope_head_dim"]), int(text_config["v_head_dim"])
        low, score = int(text_config.get("q_lora_rank") or 0), plain + rotated
        queries = [_Module("self_attn.q_proj", width * heads * score)]
        if low:
            queries = [_Module("self_attn.q_a_proj", width * low), _Module("self_attn.q_b_proj", low * heads * score)]
        modules = [
            *queries,
            _Module("self_attn.kv_a_proj_with_mqa", width * (latent + rotated)),
            _Module("self_attn.kv_b_proj", latent * heads * (plain + values)),
            _Module("self_attn.o_proj", heads * values * width),
        ]
        return modules, (latent + rotated) // 2, heads * (score + values) // 2
    gated = 2 if text_config.get("attn_output_gate", str(text_config.get("model_type")).startswith(_GATED)) else 1
    sizes = {"q_proj": gated * heads, "k_proj": kv_heads, "v_proj": kv_heads, "o_proj": heads}
    modules = [_Module(f"self_attn.{name}", width * head_dim * n) for name, n in sizes.items()]
    return modules, kv_heads * head_dim, heads * head_dim


def _feed_forward(text_config: Mapping[str, Any], layer: int, width: int) -> Iterator[_Module]:
    experts, _ = _experts(text_config)
    if not experts or not _has_experts(text_config, layer):
        sizes = [
            text_config[k] for k in ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size") if text_config.get(k)
        ]
        if not sizes and not _two_matrices(text_config):
            raise KeyError("intermediate_size")
        inner = _adjusted(text_config) or int(
            (experts and text_config.get("intermediate_size_mlp")) or (sizes[0] if sizes else 4 * width)
        )
        names = ("up_proj", "down_proj") if _two_matrices(text_config) else ("gate_proj", "up_proj", "down_proj")
        yield from (_Module(f"mlp.{name}", width * inner) for name in names)
        return
    inner = int(
        text_config.get("moe_intermediate_size")
        or text_config.get("expert_ffn_hidden_size")
        or text_config["intermediate_size"]
    )
    yield _Module("mlp.experts", 3.0 * experts * width * inner, routed=True)
    yield _Module("mlp.gate", experts * width)
    if shared := _shared(text_config, inner):
        yield _Module("mlp.shared_expert", 3 * width * shared)


def _adjusted(text_config: Mapping[str, Any]) -> int:
    """LFM2 gives a width of which two thirds are meant, up to the next multiple; 0 where nothing is to adjust."""
    if not text_config.get("block_auto_adjust_ff_dim") or not text_config.get("block_ff_dim"):
        return 0
    step = int(text_config.get("block_multiple_of") or 256)
    inner = 2 * int(text_config["block_ff_dim"]) / 3 * float(text_config.get("block_ffn_dim_multiplier") or 1)
    return step * math.ceil(int(inner) / step)


def _two_matrices(text_config: Mapping[str, Any]) -> bool:
    return str(text_config.get("model_type", "")) in _TWO_MATRICES


def _experts(text_config: Mapping[str, Any]) -> tuple[int, int]:
    """(experts of a layer, those that a token sees); none where there are none. Raises ValueError where only one of
    both is told."""
    counts: list[Any] = [
        next((text_config[key] for key in keys if text_config.get(key)), 0) for keys in (_EXPERTS, _ACTIVE)
    ]
    experts, active = (int(max(n) if isinstance(n, list) and n else n) for n in counts)
    if experts <= 1:
        return 0, 0
    if not 1 <= active <= experts:
        raise ValueError(f"{experts} experts, of which a token sees {active or 'a number that no key tells'}")
    return experts, active


def _has_experts(text_config: Mapping[str, Any], layer: int) -> bool:
    if isinstance(text_config.get("moe_layers"), list):
        return layer in text_config["moe_layers"]
    if layer in (text_config.get("mlp_only_layers") or ()) or layer < int(
        text_config.get("first_k_dense_replace") or 0
    ):
        return False
    step = int(text_config.get("decoder_sparse_step") or text_config.get("interleave_moe_layer_step") or 1)
    return (layer + 1) % step == 0 and layer >= int(text_config.get("moe_layer_start_index") or 0)


def _shared(text_config: Mapping[str, Any], inner: int) -> int:
    """Width of the experts that every token sees."""
    for key in ("shared_expert_intermediate_size", "shared_intermediate_size"):
        if text_config.get(key):
            return int(text_config[key])
    if str(text_config.get("model_type", "")).startswith("llama4"):
        return inner
    count: Any = next(
        (text_config[k] for k in ("n_shared_experts", "num_shared_experts", "num_shared_expert") if text_config.get(k)),
        0,
    )
    return int(max(count) if isinstance(count, list) else count) * inner


def _window(text_config: Mapping[str, Any], layers: int) -> tuple[int | None, float]:
    """(tokens that a layer with a window sees, share of such layers)."""
    kinds, chunk = text_config.get("layer_types"), text_config.get("attention_chunk_size")
    window = text_config.get("sliding_window") or chunk
    if not window or text_config.get("use_sliding_window") is False:
        return None, 0.0
    if kinds:
        seeing = [k for k in kinds if k in ATTENTION]
        return int(window), sum(k not in ("full_attention", "attention") for k in seeing) / max(1, len(seeing))
    if isinstance(text_config.get("no_rope_layers"), list):
        return int(window), sum(map(bool, text_config["no_rope_layers"])) / layers
    kind = str(text_config.get("model_type", ""))
    pattern = text_config.get("sliding_window_pattern") or text_config.get("_sliding_window_pattern")
    if isinstance(pattern, str):
        return int(window), pattern.count("L") / len(pattern)
    if not pattern:
        pattern = next((n for family, n in _PATTERNS.items() if kind.startswith(family)), 0)
    if pattern:
        return int(window), 1 - 1 / int(pattern)
    if text_config.get("use_sliding_window"):  # Qwen 2: from that layer on
        return int(window), max(0, layers - int(text_config.get("max_window_layers") or 0)) / layers
    return int(window), 1.0
