"""What the search looks for: a decoder cut from its parent, layer by layer, and the types that its file has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from lightbulb.core.files import sha256_of
from lightbulb.formats.gguf.quant_types import QuantTypeName
from lightbulb.formats.gguf.type_map import TypeMap
from lightbulb.models.spec import LayerSpec, ModelSpec, kept_count

if TYPE_CHECKING:
    from lightbulb.passes.prune_layers import PruneLayers
    from lightbulb.passes.quantize import Quantize
    from lightbulb.train.loop import Schedule

Vocabulary = Literal["trimmed", "full"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Cut(_Frozen):
    """A layer that is kept.

    Attributes:
        layer: its place in the parent
        feed_forward: share of its channels
        groups: share of its groups of heads
    """

    layer: int
    feed_forward: float = 1.0
    groups: float = 1.0


class Types(_Frozen):
    """Types of the matrices of a file by role; of "embedding" also the head's."""

    attention: QuantTypeName = "q4_0"
    feed_forward: QuantTypeName = "q4_0"
    embedding: QuantTypeName = "q8_0"

    @property
    def map(self) -> TypeMap:
        ends = {"embedding": self.embedding, "head": self.embedding}
        return TypeMap(self.attention, {**ends, "feed_forward": self.feed_forward})

    @property
    def text(self) -> str:
        layers = self.attention if self.attention == self.feed_forward else f"{self.attention}/{self.feed_forward}"
        return layers if self.embedding == layers else f"{layers}, head {self.embedding}"


class Student(_Frozen):
    """A model that the search may make.

    Attributes:
        layers: that are kept, from the embedding up
        types: of its file
        vocabulary: the task's tokens and the most general ones, or all of the parent's
    """

    layers: tuple[Cut, ...]
    types: Types = Types()
    vocabulary: Vocabulary = "trimmed"

    @property
    def shape(self) -> str:
        """Names its weights before they are rounded; students of one shape share their trainings."""
        digest = sha256_of([cut.model_dump(mode="json") for cut in self.layers], self.vocabulary)[:6]
        return f"s{len(self.layers)}-{digest}"

    @property
    def label(self) -> str:
        """Names its file."""
        return f"{self.shape}-{sha256_of(self.types.model_dump(mode='json'))[:4]}"

    @property
    def name(self) -> str:
        """As pages call it."""
        parts = [f"{len(self.layers)} layer{'s' if len(self.layers) > 1 else ''}"]
        parts += [f"{title} {_shares([getattr(c, part) for c in self.layers])}" for part, title in _PARTS.items()]
        whole = ["full vocabulary"] if self.vocabulary == "full" else []
        return ", ".join([*(p for p in parts if not p.endswith(" 100%")), self.types.text, *whole])

    def spec(self, parent: ModelSpec, multiple: int) -> ModelSpec:
        """What it is, cut from a parent whose channels go in whole `multiple`s."""
        layers = [_cut_layer(parent.layers[cut.layer], cut, multiple) for cut in self.layers]
        return ModelSpec(**parent.model_dump() | {"layers": layers})

    def cut(self, multiple: Literal[32, 256]) -> PruneLayers:
        """The pass that cuts it."""
        from lightbulb.passes.prune_layers import PruneLayers

        feed_forward, groups = (tuple(getattr(c, part) for c in self.layers) for part in _PARTS)
        return PruneLayers(
            layers=tuple(c.layer for c in self.layers),
            feed_forward=feed_forward if min(feed_forward) < 1 else (),
            groups=groups if min(groups) < 1 else (),
            multiple=multiple,
        )

    def quantize(self, recover: Schedule | None) -> Quantize:
        """The pass that rounds it."""
        from lightbulb.passes.quantize import Quantize

        types = self.types
        roles: dict[Literal["attention", "feed_forward"], str] = {}
        if types.feed_forward != types.attention:
            roles["feed_forward"] = types.feed_forward
        return Quantize(quant_type=types.attention, embedding=types.embedding, roles=roles, recover=recover)


_PARTS = {"feed_forward": "feed-forward", "groups": "heads"}


def _shares(shares: list[float]) -> str:
    """ "50%" where all are alike, else "25-75%"."""
    low, high = min(shares), max(shares)
    return f"{low:.0%}" if low == high else f"{100 * low:.0f}-{high:.0%}"


def _cut_layer(layer: LayerSpec, cut: Cut, multiple: int) -> LayerSpec:
    sizes: dict[str, int] = {}
    if layer.feed_forward and cut.feed_forward < 1:
        sizes["feed_forward"] = kept_count(layer.feed_forward, cut.feed_forward, multiple)
    if layer.kv_heads and cut.groups < 1:
        sizes["kv_heads"] = kept_count(layer.kv_heads, cut.groups)
        sizes["heads"] = sizes["kv_heads"] * (layer.heads // layer.kv_heads)
    return LayerSpec(**layer.model_dump() | sizes)


def even(count: int, feed_forward: float = 1.0, groups: float = 1.0) -> tuple[Cut, ...]:
    """All of `count` layers, cut alike."""
    return tuple(Cut(layer=i, feed_forward=feed_forward, groups=groups) for i in range(count))
