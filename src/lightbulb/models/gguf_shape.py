"""What a GGUF says about a model beside its weights: sizes, positions, attention pattern; written from a spec, and read
into one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightbulb.core.errors import ModelError, UnsupportedModel
from lightbulb.formats.gguf.header import GgufHeader
from lightbulb.models import matmulfree_gguf
from lightbulb.models.families import ATTENTION, FAMILIES, FEED_FORWARD, GGUF_LINEAR, MATMULFREE, ArchitectureSpec
from lightbulb.models.gguf_keys import MOST, Keys, blocks_of, check_groups, check_head_width, mixers_of
from lightbulb.models.spec import LayerSpec, ModelSpec, Role, Rope

GEMMA_27B_BLOCKS = 62  # llama.cpp knows Gemma 3 27B by its depth and scales attention by width / heads there
RECURRENT = "lightbulb-recurrent"  # ours (docs/format.md): some layers are recurrent; the file names the family
# architectures that take sizes by layer -> the family whose parts they have
BY_LAYER = {"deci": "llama", "openelm": "qwen3", RECURRENT: "llama"}
ARCHITECTURES = {  # -> family when read
    **{a.gguf: a.family for a in reversed(FAMILIES.values())}, **BY_LAYER, matmulfree_gguf.BITNET: MATMULFREE
}  # fmt: skip
PERMUTED = ("llama", "deci")  # llama.cpp rotates neighbouring pairs (RoPE NORM): rows of q and k are interleaved
SIZES = ("attention.head_count", "attention.head_count_kv", "feed_forward_length")  # that may stand there by layer


def architecture_of(spec: ModelSpec) -> str:
    """The GGUF architecture that holds `spec`.

    Raises:
        UnsupportedModel: llama.cpp cannot compute it, or a file of ours cannot hold it
    """
    if spec.arch.ternary:
        return matmulfree_gguf.architecture_for(spec)
    if spec.recurrent:
        _refuse("a recurrent model's file", _recurrent_refusals(spec))
        return RECURRENT
    _refuse(f"llama.cpp's {spec.arch.gguf}", _plain_refusals(spec))
    if spec.alike:
        return spec.arch.gguf
    architecture = {"llama": "deci", "mistral": "deci", "qwen2": "deci", "qwen3": "openelm"}.get(spec.family)
    if architecture is None:
        raise UnsupportedModel(
            f"llama.cpp has no architecture for a {spec.family} whose layers differ",
            hint="keep its layers alike, or start from a llama, mistral, qwen2 or qwen3",
        )
    refusals = _deci_refusals(spec) if architecture == "deci" else _openelm_refusals(spec)
    _refuse(f"llama.cpp's {architecture}", refusals)
    return architecture


def shape_fields(spec: ModelSpec) -> dict[str, Any]:
    """GGUF keys -> values that say what `spec` says.

    Raises:
        UnsupportedModel: as `architecture_of` says
    """
    if spec.arch.ternary:
        return matmulfree_gguf.fields_of(spec)
    architecture, rope = architecture_of(spec), spec.rope
    sizes = [(layer.heads, layer.kv_heads, layer.feed_forward or 0) for layer in spec.layers]
    heads, kv_heads, inner = (_once(column) for column in zip(*sizes, strict=True))
    fields: dict[str, Any] = {
        "block_count": len(spec.layers),
        "context_length": context_length(spec),
        "embedding_length": spec.width,
        "feed_forward_length": inner,
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "attention.layer_norm_rms_epsilon": spec.epsilon,
        "attention.key_length": spec.head_width,
        "attention.value_length": spec.head_width,
        "rope.dimension_count": spec.head_width,
        "rope.freq_base": rope.base,
        "vocab_size": spec.vocabulary,
    }
    if rope.kind == "linear":
        fields |= {"rope.scaling.type": "linear", "rope.scaling.factor": rope.factor}
    if architecture == "gemma3":
        fields |= {
            "attention.sliding_window": spec.window,
            # one entry a block: llama.cpp would otherwise let every sixth block attend to everything
            "attention.sliding_window_pattern": [layer.slides for layer in spec.layers],
            "rope.freq_base_swa": (spec.local_rope or Rope()).base,
        }
    if architecture == RECURRENT:
        fields |= {"family": spec.family, "mixer": [layer.mixer for layer in spec.layers]}
        fields = {k: v for k, v in fields.items() if spec.head_width or not k.startswith(("attention.head_", "rope."))}
    return {f"{architecture}.{key}": value for key, value in fields.items() if value is not None}


def _once(column: Iterable[int]) -> int | list[int]:
    """One number where all layers have it."""
    values = list(column)
    return values[0] if len(set(values)) == 1 else values


def context_length(spec: ModelSpec) -> int:
    """Longest context in tokens; where llama.cpp has no sliding window for the family, the window, inside which both
    agree."""
    bounded = spec.window and any(layer.slides for layer in spec.layers) and spec.arch.gguf != "gemma3"
    return min(spec.context, spec.window) if spec.window and bounded else spec.context


def _plain_refusals(spec: ModelSpec) -> dict[str, bool]:
    rope, gemma, width = spec.rope, spec.arch.gguf == "gemma3", spec.head_width
    activations = {layer.activation for layer in spec.layers if layer.feed_forward}
    strange = activations - {"gelu_pytorch_tanh" if gemma else "silu"}
    heads = max(layer.heads for layer in spec.layers)
    scalar = spec.width // max(1, heads) if len(spec.layers) == GEMMA_27B_BLOCKS else width
    return {
        f"positions of the kind {rope.kind!r}": rope.kind not in ("default", "linear", "llama3"),
        "rotation of a part of each head": rope.part != 1.0,
        f"the activation {next(iter(sorted(strange)), '')!r}": bool(strange),
        "heads of different widths, or none at all": width is None,
        f"an odd head width ({width})": width is not None and width % 2 != 0,
        "capped attention logits": bool(spec.attention_cap),
        "capped output logits": bool(spec.logit_cap),
        "attention in both directions": spec.two_way,
        "an attention scale that is not the head width": spec.query_scalar not in (None, scalar),
        "a head with other rows than the embedding": spec.vocabulary != spec.vocabulary_out,
        # deci takes one, and leaves out the layer's attention, too
        "a layer without a feed-forward": any(layer.feed_forward is None for layer in spec.layers),
    }


def _deci_refusals(spec: ModelSpec) -> dict[str, bool]:
    mixed = {layer.biases for layer in spec.layers if layer.mixer == "attention"}
    return {
        # it takes the width of all heads from the first layer
        "a first layer without attention": spec.layers[0].mixer == "none",
        "biases in some layers only": len(mixed) > 1,
    }


def _recurrent_refusals(spec: ModelSpec) -> dict[str, bool]:
    attends = any(layer.mixer == "attention" for layer in spec.layers)
    return (
        {"norms behind the parts of a layer": spec.arch.gguf == "gemma3"}
        | _plain_refusals(spec)
        | {
            "heads of different widths, or none at all": attends and spec.head_width is None,
            "a layer without a mixer": any(layer.mixer == "none" for layer in spec.layers),
        }
    )


def _openelm_refusals(spec: ModelSpec) -> dict[str, bool]:
    return {
        "a layer without attention": any(layer.mixer == "none" for layer in spec.layers),
        "a head of its own": not spec.tied,
        "biases": any(layer.biases for layer in spec.layers),
        f"positions of the kind {spec.rope.kind!r}": spec.rope.kind == "llama3",
    }


def _refuse(who: str, refusals: dict[str, bool]) -> None:
    refused = [what for what, wrong in refusals.items() if wrong]
    if refused:
        raise UnsupportedModel(
            f"{who} cannot compute {refused[0]}", where="config.json", hint="use another model of the family"
        )


def spec_of_gguf(header: GgufHeader) -> ModelSpec:
    """Reads the keys of a GGUF and the names of its tensors.

    Raises:
        UnsupportedModel: something has no place in a spec
        ModelError: sizes that no file can have
    """
    keys, names = Keys(header), {tensor.name for tensor in header.tensors}
    architecture = keys.architecture
    if architecture in (MATMULFREE, matmulfree_gguf.BITNET):
        return matmulfree_gguf.spec_of_file(header)
    family = _recurrent_family(keys) if architecture == RECURRENT else FAMILIES[ARCHITECTURES[architecture]]
    blocks, width, vocabulary = blocks_of(keys, header), keys.integer("embedding_length"), _vocabulary(header)
    mixers = mixers_of(keys, blocks) if architecture == RECURRENT else ["attention"] * blocks
    absent = 0 if "attention" not in mixers else None
    heads, kv_heads, inner = _sizes(architecture, [keys.value(k, absent) for k in SIZES], blocks)
    turned = keys.integer("rope.dimension_count", max(1, width // max(1, *heads)))
    head_width = keys.integer("attention.key_length", turned)
    if "attention" in mixers:
        check_head_width(keys, head_width)
    gemma = architecture == "gemma3"
    slides = _pattern(keys, blocks) if gemma else [False] * blocks
    biases: tuple[Any, ...] = family.biases or tuple(
        role
        for role in (*ATTENTION, *FEED_FORWARD)
        if any(f"blk.{n}.{GGUF_LINEAR[role]}.bias" in names for n in range(blocks))
    )
    return ModelSpec(
        family=family.family,
        width=width,
        vocabulary=vocabulary,
        vocabulary_out=vocabulary,
        tied="output.weight" not in names,
        context=keys.integer("context_length"),
        epsilon=keys.number("attention.layer_norm_rms_epsilon", 1e-6),
        rope=_rope(keys),
        local_rope=Rope(base=keys.number("rope.freq_base_swa", 10_000.0)) if gemma else None,
        window=keys.integer("attention.sliding_window", 4096) if gemma else None,
        query_scalar=(width // heads[0] if blocks == GEMMA_27B_BLOCKS else head_width) if gemma else None,
        layers=tuple(
            _layer(n, (heads[n], kv_heads[n], inner[n], head_width), slides[n], family, biases, mixers[n])
            for n in range(blocks)
        ),
    )


def _recurrent_family(keys: Keys) -> ArchitectureSpec:
    name = keys.value("family")
    family = FAMILIES.get(name) if isinstance(name, str) else None
    if family is None or family.ternary:
        raise keys.wrong("family")
    return family


def _vocabulary(header: GgufHeader) -> int:
    """How many tokens the file's tokenizer has."""
    tokens = header.fields.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list):
        raise ModelError("this GGUF holds no tokenizer", hint="use a file that llama.cpp can run")
    return len(tokens)


def _rope(keys: Keys) -> Rope:
    base, stretch = keys.number("rope.freq_base", 10_000.0), keys.value("rope.scaling.type", "none")
    if stretch not in ("none", "linear"):
        raise UnsupportedModel(
            f"positions of the kind {stretch!r} in a GGUF are not read back",
            hint="start from the transformers folder of the model",
        )
    return Rope(base=base) if stretch == "none" else Rope(
        kind="linear", base=base, factor=keys.number("rope.scaling.factor")
    )  # fmt: skip


def _sizes(architecture: str, found: list[Any], blocks: int) -> list[list[int]]:
    """Heads, heads of keys, and feed-forward widths of every layer."""
    if found[1] is None:
        found = [found[0], found[0], found[2]]
    by_layer = [each if isinstance(each, list) else [each] * blocks for each in found]
    whole = all(len(each) == blocks and all(isinstance(n, int) and 0 <= n < MOST for n in each) for each in by_layer)
    if not whole or (architecture not in BY_LAYER and any(len(set(each)) > 1 or each[0] < 1 for each in by_layer)):
        raise UnsupportedModel(
            "this GGUF has no single width for all of its blocks",
            hint="use a file whose blocks all have the same shape",
        )
    return by_layer


def _pattern(keys: Keys, blocks: int) -> list[bool]:
    """Which layers slide: one entry for each, or the period of those that do not."""
    key = "attention.sliding_window_pattern"
    pattern = keys.value(key)
    if isinstance(pattern, list) and len(pattern) >= blocks:
        return [bool(slides) for slides in pattern[:blocks]]
    period = keys.integer(key, 6)
    return [bool((i + 1) % period) for i in range(blocks)]


def _layer(
    index: int,
    sizes: tuple[int, int, int, int],
    slides: bool,
    family: ArchitectureSpec,
    biases: tuple[Role, ...],
    mixer: str,
) -> LayerSpec:
    """Layer `index` of these heads, heads of keys, feed-forward and head width; with all norms of the family."""
    heads, kv_heads, inner, head_width = sizes
    if heads and not kv_heads:
        raise UnsupportedModel(
            f"layer {index} of this GGUF has heads without keys (linear attention), which is not read back",
            hint="start from another model",
        )
    check_groups(heads, kv_heads)
    whole = LayerSpec(
        heads=heads or 1,
        kv_heads=(kv_heads if heads else 0) or 1,
        head_width=head_width,
        feed_forward=inner or None,
        activation=family.activation,
        norms=tuple(family.norms.values()),  # type: ignore[arg-type]
        biases=biases,
        slides=slides,
    )
    if mixer == "mlgru":
        return whole.recurrent()
    part = whole if inner else whole.without("feed_forward")
    return part if heads else part.without("mixer")
