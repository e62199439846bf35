"""What a decoder keeps of the tokens that it has read: keys and values of attention, states of recurrent layers."""

from __future__ import annotations

from typing import cast

from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer, LinearAttentionLayer

from lightbulb.models.spec import ModelSpec


class StateCache(DynamicCache):
    """States alone, of a model without attention: their size says nothing of how many tokens they have seen."""

    is_compileable = False  # generate() would hand over masks for kinds of layers
    seen = 0

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.seen


def empty_cache(spec: ModelSpec) -> Cache:
    """What a model keeps while it reads and writes."""
    attends = any(layer.mixer == "attention" for layer in spec.layers)
    return DynamicCache() if attends or all(layer.mixer == "none" for layer in spec.layers) else StateCache()


def recurrent_state(cache: Cache, index: int) -> LinearAttentionLayer:
    """Where a cache keeps the state of the layer `index`."""
    while len(cache.layers) <= index:
        cache.layers.append(LinearAttentionLayer())
    return cast(LinearAttentionLayer, cache.layers[index])


def tokens_seen(cache: Cache | None) -> int:
    """Tokens that were read into a cache."""
    if cache is None or not (isinstance(cache, StateCache) or any(isinstance(x, DynamicLayer) for x in cache.layers)):
        return 0
    return cache.get_seq_length()
