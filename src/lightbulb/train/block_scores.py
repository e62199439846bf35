"""What the parts of a decoder are worth, each changed alone: only what stands above a change is read again.

The order of importance of channels and of groups of heads, best first, is one safetensors file: int64 [F] under
"channels.LAYER", [G] under "groups.LAYER"; groups are heads of keys with the queries that read them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from lightbulb.formats.gguf.quant_types import QUANT_TYPES
from lightbulb.formats.gguf.type_map import role_of
from lightbulb.models.families import architecture_spec, layers_of
from lightbulb.models.narrowing import spec_of_model
from lightbulb.models.spec import kept_count
from lightbulb.ops.losses import cross_entropy
from lightbulb.train.data import Batch
from lightbulb.train.importance import Scores, without_layers
from lightbulb.train.quantized import BlockWeight, matrices_of, quantize_dequantize
from lightbulb.train.tracing import logits_from, trace

FILE = "orders.safetensors"
ROLES = ("attention", "feed_forward", "embedding")
Orders = Mapping[str, torch.Tensor]
Advance = Callable[[float, str], None]


def orders_of(model: PreTrainedModel, scores: Scores) -> dict[str, torch.Tensor]:
    """Channels and groups by their importance, best first; of equal ones the first."""
    found: dict[str, torch.Tensor] = {}
    for index, layer in enumerate(spec_of_model(model).layers):
        channels_F, heads_H = scores.channels[index], scores.heads[index]
        if channels_F is not None:
            found[f"channels.{index}"] = channels_F.argsort(descending=True, stable=True)
        if heads_H is not None:
            groups_G = heads_H.view(layer.kv_heads, -1).sum(1)
            found[f"groups.{index}"] = groups_G.argsort(descending=True, stable=True)
    return found


def plain_orders(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Channels and groups as they stand: of a model that was trained so that the first matter most."""
    found: dict[str, torch.Tensor] = {}
    for index, layer in enumerate(spec_of_model(model).layers):
        if layer.feed_forward:
            found[f"channels.{index}"] = torch.arange(layer.feed_forward)
        if layer.kv_heads:
            found[f"groups.{index}"] = torch.arange(layer.kv_heads)
    return found


def write_orders(orders: Orders, folder: Path) -> None:
    save_file({name: orders[name].contiguous() for name in sorted(orders)}, folder / FILE)


def read_orders(folder: Path) -> dict[str, torch.Tensor]:
    """What `write_orders` wrote."""
    return load_file(folder / FILE)


class BlockScores:
    """How much the loss rises when one part changes.

    Args:
        model: a decoder; whole again after every trial
        batches: text with targets
        orders: of its channels and groups
    """

    @torch.no_grad()
    def __init__(self, model: PreTrainedModel, batches: Sequence[Batch], orders: Orders):
        self.model, self.orders = model, orders
        self.layers = spec_of_model(model).layers
        self.traces = [trace(model, batch, every=True) for batch in batches]
        self.targets = sum(len(batch.targets) for batch in batches)
        self.loss = self._loss(0)

    def of_layers(self, feed_forward: Sequence[float], groups: Sequence[float], advance: Advance) -> dict[str, Any]:
        """Facts of each layer without itself, and with shares of its parts."""
        facts: dict[str, Any] = {
            "loss": self.loss,
            "targets": self.targets,
            "without": [],
            "feed_forward": {str(share): [] for share in feed_forward},
            "groups": {str(share): [] for share in groups},
        }
        for index in range(len(self.layers)):
            with without_layers(self.model, [index]):
                facts["without"].append(self._rise(index))
            for role, shares in (("feed_forward", feed_forward), ("groups", groups)):
                for share in shares:
                    with self._narrowed(index, role, share):
                        facts[role][str(share)].append(self._rise(index))
            advance(index + 1, "")
        return facts

    def of_types(self, types: Sequence[str], advance: Advance) -> dict[str, dict[str, float]]:
        """Rises when all matrices of a role are rounded to a type; a type whose blocks do not fit is left out."""
        found: dict[str, dict[str, float]] = {role: {} for role in ROLES}
        for at, role in enumerate(ROLES):
            matrices = [m for m in matrices_of(self.model) if _role(m) == role]
            for n, name in enumerate(types):
                if all(QUANT_TYPES[name].fits(m.weight.shape[-1]) for m in matrices):
                    with _changed([m.weight for m in matrices], partial(quantize_dequantize, quant_type=name)):
                        found[role][name] = self._rise(0, anew=role == "embedding")
                advance(at * len(types) + n + 1, "")
        return found

    def _rise(self, index: int, anew: bool = False) -> float:
        return round(self._loss(index, anew) - self.loss, 6)

    @torch.no_grad()
    def _loss(self, index: int, anew: bool = False) -> float:
        """Mean nats a target, read from what goes into layer `index`; `anew` from the tokens."""
        total = 0.0
        for traced in self.traces:
            read = trace(self.model, traced.batch, every=False) if anew else traced
            logits_PV = logits_from(self.model, index, read)
            targets = traced.batch.targets.to(logits_PV.device)
            total += cross_entropy(logits_PV, targets).item() * len(targets)
        return total / self.targets

    @contextmanager
    def _narrowed(self, index: int, role: str, share: float) -> Iterator[None]:
        """A layer without what a share of its channels or groups leaves out: nothing of it is added."""
        layer, (path, key) = self.layers[index], {"feed_forward": ("down", "channels"), "groups": ("o", "groups")}[role]
        order = self.orders.get(f"{key}.{index}")
        if order is None:
            yield
            return
        gone = order[kept_count(len(order), share) :]
        if role == "groups":
            width = layer.attention_width // layer.kv_heads
            gone = (gone[:, None] * width + torch.arange(width)).flatten()
        linear: Any = layers_of(self.model)[index].get_submodule(architecture_spec(self.model.config).linears[path])
        with _changed([linear.weight], lambda w: w.index_fill(1, gone.to(w.device), 0.0)):
            yield


def _role(matrix: BlockWeight) -> str:
    role = role_of(matrix.tensor).partition(".")[0]
    return "embedding" if role == "head" else role


@contextmanager
def _changed(weights: Sequence[torch.Tensor], change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    own = [w.detach().clone() for w in weights]
    with torch.no_grad():
        for w in weights:
            w.copy_(change(w.detach()))
    try:
        yield
    finally:
        with torch.no_grad():
            for w, before in zip(weights, own, strict=True):
                w.copy_(before)
