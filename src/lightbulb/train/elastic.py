"""Sub-models inside one model, trained with it: fewer layers, of each only the first channels of its feed-forward."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from lightbulb.ops.losses import cross_entropy, distillation, top_k_log_probs
from lightbulb.train.data import Batch
from lightbulb.train.engine import Engine
from lightbulb.train.loop import Further

CHUNK = 32  # channels that are kept at once, as prune-width does
TOP_K = 64  # tokens of the whole model's that its sub-models learn from


@dataclass(frozen=True)
class Nested:
    """The sub-models of a model whose channels stand by their importance (MatFormer, Devvrit et al. 2023; DynaBERT, Hou
    et al. 2020), down to a smallest.

    Attributes:
        channels: of each layer's feed-forward; 0 where it has none
        leaving: layers in the order in which they leave; the others stay
        least_share: of the channels
    """

    channels: Sequence[int]
    leaving: Sequence[int]
    least_share: float

    def kept(self, layers: int, share: Callable[[], float]) -> dict[int, int]:
        """Of the sub-model of so many layers: each, rising, and how many of its channels; what the passes cut "by
        order". share: of the channels of the next layer."""
        gone = self.leaving[: len(self.channels) - layers]
        return {i: _chunks(size, share()) for i, size in enumerate(self.channels) if i not in gone}

    def smallest(self) -> dict[int, int]:
        return self.kept(len(self.channels) - len(self.leaving), lambda: self.least_share)

    def drawn(self, rng: random.Random) -> dict[int, int]:
        """A random sub-model: half of them have one share for all layers, half a share for each. The logarithm of the
        depth is drawn evenly: shallow ones are what is wanted, learn slowest and cost least."""
        depth = len(self.channels)
        layers = round(math.exp(rng.uniform(math.log(depth - len(self.leaving)), math.log(depth))))
        alike, one = rng.random() < 0.5, rng.uniform(self.least_share, 1)
        return self.kept(layers, lambda: one if alike else rng.uniform(self.least_share, 1))


def _chunks(size: int, share: float) -> int:
    return min(size, max(1, round(share * -(-size // CHUNK))) * CHUNK)


def sandwich(engine: Engine, nested: Nested, seed: int, weight: float, temperature: float) -> Further:
    """What sub-models learn in a step beside the whole model: the smallest one, and one drawn by (seed, step), from the
    whole model's logits of the same step (the sandwich rule and in-place distillation, Yu and Huang 2019).

    Args:
        engine: of the whole model
        nested: its sub-models
        seed: of the draws
        weight: of the whole model's logits against the data's own answers
        temperature: divides the logits of both
    """

    def losses(step: int, batch: Batch, logits_PV: torch.Tensor) -> Iterator[torch.Tensor]:
        log_probs_PK, ids_PK = top_k_log_probs(logits_PV, TOP_K)
        for kept in (nested.smallest(), nested.drawn(random.Random(f"{seed}/{step}"))):
            small_PV = engine.target_logits(batch, kept)
            kl = distillation(small_PV, log_probs_PK, ids_PK, temperature)
            yield weight * kl + (1 - weight) * cross_entropy(small_PV, batch.targets.to(small_PV.device))

    return losses
