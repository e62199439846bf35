"""Calibration data on its way up a decoder, one layer at a time, each layer being as it now is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from lightbulb.models.families import architecture_spec, layers_of
from lightbulb.models.form import Encoded
from lightbulb.train.data import in_order, micro_batches
from lightbulb.train.forward import device_of, fast_math
from lightbulb.train.importance import real_positions

READERS = {"q": ("q", "k", "v"), "o": ("o",), "gate": ("gate", "up"), "down": ("down",)}  # roles that read the same


@dataclass
class _OnItsWay:
    """One batch: what the next layer reads [B, T, D], which positions are real [B, T], and what else each is given."""

    h_BTD: torch.Tensor
    real_BT: torch.Tensor
    beside: list[tuple[tuple[Any, ...], dict[str, Any]]]


class LayerWalk:
    """The states of calibration data before some layer of a model.

    Args:
        model: a decoder
        data: encoded examples
    """

    def __init__(self, model: PreTrainedModel, data: Sequence[Encoded]):
        self.model, self.device = model, device_of(model)
        self.linears = architecture_spec(model.config).linears
        self.batches = [self._begin(batch.ids, real_positions(batch)) for e in in_order(data, 32)
                        for batch in micro_batches(data, e)]  # fmt: skip

    @torch.no_grad()
    def _begin(self, ids_BT: torch.Tensor, real_BT: torch.Tensor) -> _OnItsWay:
        seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        first: list[torch.Tensor] = []

        def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = dict(kwargs)
            h_BTD = args[0] if args else given.pop("hidden_states")
            if not first:
                first.append(h_BTD)
            seen.append((args[1:], given))

        with ExitStack() as stack:
            for layer in layers_of(self.model):
                stack.callback(layer.register_forward_pre_hook(look, with_kwargs=True).remove)
            with fast_math(self.device):
                self.model.base_model(input_ids=ids_BT.to(self.device), use_cache=False)
        return _OnItsWay(first[0], real_BT.to(self.device), seen)

    def linears_of(self, index: int) -> dict[str, list[nn.Linear]]:
        """The matrices of a layer that read the same, by the first role of READERS."""
        modules: Any = dict(layers_of(self.model)[index].named_modules())
        return {
            first: [modules[self.linears[role]] for role in roles]
            for first, roles in READERS.items()
            if self.linears[first] in modules
        }

    def grams(self, index: int) -> dict[str, torch.Tensor]:
        """Of what each group of matrices of layer `index` reads: the sum over real positions of its products with
        itself, float32 [C, C]. All layers before must have been passed."""
        grams: dict[str, torch.Tensor] = {}
        state: dict[str, torch.Tensor] = {}

        def add(first: str, x_BTC: torch.Tensor) -> None:
            x_NC = x_BTC[state["real"]].float()
            with torch.autocast(x_NC.device.type, enabled=False):
                product_CC = x_NC.T @ x_NC
            grams[first] = grams[first] + product_CC if first in grams else product_CC

        with ExitStack() as stack:
            for first, (linear, *_) in self.linears_of(index).items():
                hook = linear.register_forward_pre_hook(lambda module, args, first=first: add(first, args[0]))
                stack.callback(hook.remove)
            for batch in self.batches:
                state["real"] = batch.real_BT
                self._through(index, batch)
        return grams

    def go_through(self, index: int) -> None:
        """On to what layer `index`, as it now is, gives."""
        for batch in self.batches:
            batch.h_BTD = self._through(index, batch)

    @torch.no_grad()
    def _through(self, index: int, batch: _OnItsWay) -> torch.Tensor:
        args, kwargs = batch.beside[index]
        with fast_math(self.device):
            given: Any = layers_of(self.model)[index](batch.h_BTD, *args, **kwargs)
        return given[0] if isinstance(given, tuple) else given
