"""What a decoder is: one description, from which configs, GGUF keys, modules, tensors and counts derive.

Layers may differ: in heads, in the width of their feed-forward, and in whether they have a mixer or a feed-forward at
all. Imports neither torch nor transformers.
"""

from __future__ import annotations

import math
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from lightbulb.models.families import (
    ATTENTION,
    FEED_FORWARD,
    RECURRENT,
    ArchitectureSpec,
    architecture_spec,
    family_named,
    family_names,
)
from lightbulb.models.rope import Rope

Mixer = Literal["attention", "mlgru", "none"]
Role = Literal["q", "k", "v", "o", "gate", "up", "down", "mix_f", "mix_c", "mix_g", "mix_out"]  # of a linear
Norm = Literal[
    "attn_norm", "attn_q_norm", "attn_k_norm", "attn_out_norm", "mix_out_norm", "post_attention_norm",
    "ffn_norm", "ffn_down_norm", "post_ffw_norm",
]  # fmt: skip
LOWER = "mixer.lower"  # dotted path inside a block: logits of the bounds of its forget gates
KINDS = {"mlgru": "linear_attention", "attention": "full_attention"}  # mixer -> transformers' name in layer_types
MLGRU_NORMS: tuple[Norm, ...] = ("attn_norm", "mix_out_norm", "ffn_norm", "ffn_down_norm")
ATTENTION_NORMS: tuple[Norm, ...] = ("attn_norm", "attn_out_norm", "ffn_norm", "ffn_down_norm")
FEED_FORWARD_NORMS = ("ffn_norm", "ffn_down_norm", "post_ffw_norm")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LayerSpec(_Frozen):
    """One layer: a mixer, which reads other positions, then a feed-forward, both added to what goes in.

    Attributes:
        mixer: "attention", "mlgru" (models/ternary.py, or models/mlgru.py where weights are no ternary ones) or "none"
        heads: of queries (this and the next two are 0 without attention)
        kv_heads: of keys and values
        head_width: of each
        feed_forward: its inner width; None where there is none
        activation: of the feed-forward, by transformers' name
        norms: by GGUF's names
        biases: roles of the linears that have one
        slides: sees only the model's window
    """

    mixer: Mixer = "attention"
    heads: int = 0
    kv_heads: int = 0
    head_width: int = 0
    feed_forward: int | None = None
    activation: str = "silu"
    norms: tuple[Norm, ...] = ()
    biases: tuple[Role, ...] = ()
    slides: bool = False

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        sizes = (self.heads, self.kv_heads, self.head_width)
        if self.mixer != "attention" and (any(sizes) or (self.mixer == "none" and self.feed_forward is None)):
            raise ValueError(
                f"a layer without attention has no heads, one without a mixer needs a feed-forward: {self}"
            )
        if self.mixer == "attention" and (min(sizes) < 1 or self.heads % self.kv_heads):
            raise ValueError(f"{self.heads} heads of width {self.head_width} cannot read {self.kv_heads} keys")
        if self.feed_forward is not None and self.feed_forward < 1:
            raise ValueError(f"a feed-forward of width {self.feed_forward}")
        return self

    @property
    def kv_width(self) -> int:
        """Width of the keys of a position, as large as that of its values."""
        return self.kv_heads * self.head_width

    @property
    def attention_width(self) -> int:
        """Width of the queries of a position."""
        return self.heads * self.head_width

    @property
    def bounded(self) -> bool:
        """Whether a lower bound that rises with depth keeps its forget gate open; else a bias of its own does."""
        return self.mixer == "mlgru" and "mix_f" not in self.biases

    def matrices(self, width: int) -> dict[Role, tuple[int, int]]:
        """The layer's matrices in a model of this width: role -> (rows, columns), rows being what comes out."""
        inner, queries, keys = self.feed_forward, self.attention_width, self.kv_width
        mixer: dict[Role, tuple[int, int]] = {
            "q": (queries, width), "k": (keys, width), "v": (keys, width), "o": (width, queries)
        }  # fmt: skip
        recurrent: dict[Role, tuple[int, int]] = dict.fromkeys(RECURRENT, (width, width))
        own = {"attention": mixer, "mlgru": recurrent, "none": {}}[self.mixer]
        return own if inner is None else {**own, "gate": (inner, width), "up": (inner, width), "down": (width, inner)}

    def norm_width(self, norm: Norm, width: int) -> int:
        """Of one of its norms in a model of this width."""
        of_parts = {
            "attn_q_norm": self.head_width, "attn_k_norm": self.head_width, "attn_out_norm": self.attention_width,
            "ffn_down_norm": self.feed_forward or 0,
        }  # fmt: skip
        return of_parts.get(norm, width)

    def parameters(self, width: int) -> int:
        """How many weights, norms, biases and bounds it has in a model of this width."""
        matrices = self.matrices(width)
        vectors = sum(self.norm_width(norm, width) for norm in self.norms) + (width if self.bounded else 0)
        return sum(map(math.prod, matrices.values())) + vectors + sum(matrices[role][0] for role in self.biases)

    def without(self, part: Literal["mixer", "feed_forward"]) -> LayerSpec:
        """The same layer without its mixer or its feed-forward.

        Raises:
            ValueError: nothing would be left
        """
        gone = (*ATTENTION, *RECURRENT) if part == "mixer" else FEED_FORWARD
        lacks: dict[str, Any] = (
            {"mixer": "none", "heads": 0, "kv_heads": 0, "head_width": 0, "slides": False}
            if part == "mixer"
            else {"feed_forward": None}
        )
        lacks["norms"] = [n for n in self.norms if (n in FEED_FORWARD_NORMS) == (part == "mixer")]
        lacks["biases"] = [role for role in self.biases if role not in gone]
        return LayerSpec(**self.model_dump() | lacks)

    def recurrent(self) -> LayerSpec:
        """The same layer with a recurrent mixer in the place of its own, of weights that are no ternary ones."""
        kept = [norm for norm in self.norms if norm in FEED_FORWARD_NORMS]
        biases = [role for role in self.biases if role in FEED_FORWARD]
        return LayerSpec(
            mixer="mlgru",
            feed_forward=self.feed_forward,
            activation=self.activation,
            norms=("attn_norm", *kept),
            biases=("mix_f", *biases),
        )


class ModelSpec(_Frozen):
    """A decoder of one of the families (`families.FAMILIES`), which names its parts and says what they compute.

    Attributes:
        family: transformers' `model_type`
        width: of what goes from layer to layer
        vocabulary: rows of the embedding
        vocabulary_out: rows of the head
        tied: the head is the embedding
        context: the longest text in tokens
        epsilon: of all norms
        rope: positions of the layers
        local_rope: of layers that slide; None: as the others
        window: positions that a layer which slides sees
        query_scalar: scores are divided by its square root; None: by that of the head width
        attention_cap: scores are capped to it by tanh
        logit_cap: likewise, logits
        two_way: positions see later ones
        layers: from the embedding up
    """

    family: str
    width: int
    vocabulary: int
    vocabulary_out: int
    tied: bool
    context: int
    epsilon: float
    rope: Rope
    local_rope: Rope | None = None
    window: int | None = None
    query_scalar: int | float | None = None
    attention_cap: float | None = None
    logit_cap: float | None = None
    two_way: bool = False
    layers: tuple[LayerSpec, ...]

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if family_named(self.family) is None:
            raise ValueError(f"no family {self.family!r}; these are known: {', '.join(family_names())}")
        if not self.layers or min(self.width, self.vocabulary, self.vocabulary_out, self.context) < 1:
            raise ValueError(
                f"a model of {len(self.layers)} layers, width {self.width}, {self.vocabulary} tokens and a context of "
                f"{self.context}"
            )
        if self.tied and self.vocabulary != self.vocabulary_out:
            raise ValueError(f"a tied head has as many rows as the embedding, {self.vocabulary}")
        if self.window is None and any(layer.slides for layer in self.layers):
            raise ValueError("a layer slides, but the model has no window")
        return self

    @property
    def arch(self) -> ArchitectureSpec:
        """What is common to its family."""
        return architecture_spec({"model_type": self.family})

    @property
    def alike(self) -> bool:
        """Whether all layers are the same, but for which of them slide."""
        first = self.layers[0].model_copy(update={"slides": False})
        return all(layer.model_copy(update={"slides": False}) == first for layer in self.layers)

    @property
    def recurrent(self) -> bool:
        """Whether some layer has a recurrent mixer."""
        return any(layer.mixer == "mlgru" for layer in self.layers)

    @property
    def head_width(self) -> int | None:
        """Of all layers with attention; None where they differ."""
        widths = {layer.head_width for layer in self.layers if layer.mixer == "attention"}
        return widths.pop() if len(widths) == 1 else None

    @property
    def embedding_scale(self) -> float:
        """What the embedding is multiplied with (Gemma: the root of the width)."""
        return math.sqrt(self.width) if self.arch.scales_embedding else 1.0

    def rope_of(self, layer: LayerSpec) -> Rope:
        """The positions that a layer turns by."""
        return (self.local_rope or self.rope) if layer.slides else self.rope

    def layer_tensors(self, index: int) -> dict[str, tuple[int, ...]]:
        """transformers' name -> shape of one layer, in file order."""
        arch, layer = self.arch, self.layers[index]
        block, matrices = f"{arch.layers}.{index}.", layer.matrices(self.width)
        found: dict[str, tuple[int, ...]] = {}
        for path, norm in arch.norms.items():
            if norm in layer.norms:
                found[f"{block}{path}.weight"] = (layer.norm_width(norm, self.width),)  # type: ignore[arg-type]
        if layer.bounded:
            found[f"{block}{LOWER}"] = (self.width,)
        for role, path in arch.linears.items():
            if shape := matrices.get(role):  # type: ignore[call-overload]
                found[f"{block}{path}.weight"] = shape
                if role in layer.biases:
                    found[f"{block}{path}.bias"] = shape[:1]
        return found

    @property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """transformers' name -> shape of all tensors, in file order; a tied head is none."""
        arch = self.arch
        found: dict[str, tuple[int, ...]] = {f"{arch.embed}.weight": (self.vocabulary, self.width)}
        for index in range(len(self.layers)):
            found |= self.layer_tensors(index)
        found[f"{arch.final_norm}.weight"] = (self.width,)
        return found if self.tied else {**found, f"{arch.head}.weight": (self.vocabulary_out, self.width)}

    @property
    def row_widths(self) -> set[int]:
        """Of all matrices: what quantization cuts into blocks."""
        return {shape[-1] for shape in self.tensors.values() if len(shape) > 1}

    def parameters(self) -> int:
        """All weights; a tied matrix counts once."""
        heads = self.vocabulary + (0 if self.tied else self.vocabulary_out)
        return heads * self.width + self.width + sum(layer.parameters(self.width) for layer in self.layers)


def kept_count(count: int, share: float, multiple: int = 1) -> int:
    """How many of `count` channels or groups a share keeps, in whole `multiple`s; at least one of these."""
    return min(count, max(1, round(share * -(-count // multiple))) * multiple)


def mlgru_layer(feed_forward: int) -> LayerSpec:
    """A layer with a recurrent mixer."""
    return LayerSpec(mixer="mlgru", feed_forward=feed_forward, norms=MLGRU_NORMS)


def attention_layer(feed_forward: int, heads: int, kv_heads: int, head_width: int) -> LayerSpec:
    """A layer of a hybrid that has attention, of ternary weights as well."""
    return LayerSpec(
        heads=heads, kv_heads=kv_heads, head_width=head_width, feed_forward=feed_forward, norms=ATTENTION_NORMS
    )
