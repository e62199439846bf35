"""What may be tried: shares of the parts of each layer, and the types of blocks that fit all of them."""

from __future__ import annotations

import itertools
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lightbulb.core.errors import UnsupportedModel
from lightbulb.formats.gguf.quant_types import QUANT_TYPES
from lightbulb.models.gguf_shape import architecture_of
from lightbulb.models.spec import ModelSpec, kept_count
from lightbulb.searching.student import Cut, Student, Types, even

FEED_FORWARD = (0.75, 0.5, 0.25)
GROUPS = (0.67, 0.34)
LAYER_TYPES = ("q8_0", "q6_k", "q4_k", "q4_0", "q3_k")  # finest first
HEAD_TYPES = ("q8_0", "q6_k", "q4_0")


class Space(BaseModel):
    """What may be tried of a parent.

    Attributes:
        layers: of the parent
        feed_forward: shares of the channels of a layer, the whole first
        groups: shares of its groups of heads, likewise
        multiple: channels are kept in this many at once
        layer_types: of attention and feed-forward, finest first
        head_types: of embedding and head
        alike: the layers that are kept must be cut alike: no file holds others
    """

    model_config = ConfigDict(frozen=True)

    layers: int
    feed_forward: tuple[float, ...]
    groups: tuple[float, ...]
    multiple: Literal[32, 256]
    layer_types: tuple[str, ...]
    head_types: tuple[str, ...]
    alike: bool

    @staticmethod
    def of(spec: ModelSpec, runtime: str) -> Space:
        """The space of a parent whose files will run in `runtime`. f16 where its rows are no whole blocks."""
        wide = all(QUANT_TYPES["q6_k"].fits(width) for width in spec.row_widths)
        multiple: Literal[32, 256] = 256 if wide else 32

        def fitting(names: tuple[str, ...]) -> tuple[str, ...]:
            known = {name: QUANT_TYPES[name] for name in names}
            found = [n for n, t in known.items() if runtime in t.runtimes and all(map(t.fits, spec.row_widths))]
            return tuple(found) or ("f16",)

        channels = {layer.feed_forward for layer in spec.layers if layer.feed_forward}
        groups = {layer.kv_heads for layer in spec.layers if layer.kv_heads}
        return Space(
            layers=len(spec.layers),
            feed_forward=_distinct(FEED_FORWARD, channels, multiple),
            groups=_distinct(GROUPS, groups, 1),
            multiple=multiple,
            layer_types=fitting(LAYER_TYPES),
            head_types=fitting(HEAD_TYPES),
            alike=not _may_differ(spec, multiple),
        )

    @property
    def types(self) -> list[Types]:
        """All mixtures, finest first."""
        found = itertools.product(self.layer_types, self.layer_types, self.head_types)
        return [Types(attention=a, feed_forward=f, embedding=e) for a, f, e in found]

    @property
    def options(self) -> list[tuple[float, float]]:
        """(feed_forward, groups) of a layer that is kept, the whole first."""
        return list(itertools.product(self.feed_forward, self.groups))

    @property
    def finest(self) -> Types:
        return self.types[0]

    def whole(self) -> Student:
        """The parent itself, in the finest types."""
        return Student(layers=even(self.layers), types=self.finest)


def _distinct(shares: tuple[float, ...], counts: set[int], multiple: int) -> tuple[float, ...]:
    """1, and the shares that are something else than those before them."""
    found, seen = [1.0], {tuple(sorted(counts))}
    for share in shares:
        kept = tuple(kept_count(count, share, multiple) for count in sorted(counts))
        if counts and kept not in seen:
            found.append(share)
            seen.add(kept)
    return tuple(found)


def _may_differ(spec: ModelSpec, multiple: int) -> bool:
    """Whether a file can hold layers of different sizes."""
    if len(spec.layers) < 2:
        return False
    layers = (Cut(layer=0, feed_forward=0.5), *even(len(spec.layers))[1:])
    try:
        architecture_of(Student(layers=layers).spec(spec, multiple))
    except UnsupportedModel:
        return False
    return True
