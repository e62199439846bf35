"""prune-layers: keeps the layers that are named, each with its own share of channels and groups of heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.errors import RecipeError
from lightbulb.core.facts import WidthFacts
from lightbulb.models.families import keep_layers
from lightbulb.models.narrowing import Kept, narrowed, spec_of_model
from lightbulb.models.spec import LayerSpec, kept_count
from lightbulb.passes.base import Context, Pass
from lightbulb.passes.prune_width import write_narrowed
from lightbulb.train.block_scores import Orders, read_orders


class PruneLayers(Pass):
    """Makes the model that a search has decided on. What is kept of a layer's parts is what `score-blocks` found to
    matter most.

    Attributes:
        layers: places of those that are kept, rising
        feed_forward: share of the channels that each of them keeps; empty: all keep all
        groups: of the groups of heads, likewise
        multiple: channels are kept in this many at once: blocks of 32 weights, or of 256
    """

    name: ClassVar[str] = "prune-layers"
    facts_type: ClassVar = WidthFacts
    uses: ClassVar[tuple[ArtifactKind, ...]] = ("scores",)

    layers: tuple[int, ...] = Field(min_length=1)
    feed_forward: tuple[float, ...] = ()
    groups: tuple[float, ...] = ()
    multiple: Literal[32, 256] = 32

    @model_validator(mode="after")
    def _shares_fit(self) -> PruneLayers:
        if list(self.layers) != sorted(set(self.layers)) or self.layers[0] < 0:
            raise ValueError(f"`layers` are rising places, counted from 0, not {list(self.layers)}")
        for name, shares in (("feed_forward", self.feed_forward), ("groups", self.groups)):
            if shares and len(shares) != len(self.layers):
                raise ValueError(f"`{name}` has {len(shares)} shares for {len(self.layers)} layers")
            if any(not 0 < share <= 1 for share in shares):
                raise ValueError(f"`{name}` are shares above 0 and up to 1")
        return self

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        model = context.live.take(source)
        spec = spec_of_model(model)
        if self.layers[-1] >= len(spec.layers):
            raise RecipeError(
                f"prune-layers keeps layer {self.layers[-1]} of a model with {len(spec.layers)}, counted from 0",
                where="layers",
                hint="give smaller places",
            )
        orders = read_orders(context.inputs["scores"].path)
        places = {layer: n for n, layer in enumerate(self.layers)}
        kept = [
            self._kept(i, places[i], layer, orders) if i in places else Kept() for i, layer in enumerate(spec.layers)
        ]
        model = narrowed(model, kept)
        keep_layers(model, self.layers)
        return write_narrowed(model, source, out, context)

    def _kept(self, index: int, place: int, layer: LayerSpec, orders: Orders) -> Kept:
        channels, groups, heads = None, None, None
        if self.feed_forward and self.feed_forward[place] < 1 and layer.feed_forward:
            count = kept_count(layer.feed_forward, self.feed_forward[place], self.multiple)
            channels = sorted(orders[f"channels.{index}"][:count].tolist())
        if self.groups and self.groups[place] < 1 and layer.kv_heads:
            groups = sorted(orders[f"groups.{index}"][: kept_count(layer.kv_heads, self.groups[place])].tolist())
            each = layer.heads // layer.kv_heads
            heads = [group * each + head for group in groups for head in range(each)]
        return Kept(channels, groups, heads)
