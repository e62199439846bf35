"""Calibration data on its way up a decoder, one layer at a time, each layer being as it now is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from lightbulb.models.families import architecture_spec, layers_of
from lightbulb.models.form import Encoded
from lightbulb.train.forward import device_of, fast_math
from lightbulb.train.tracing import Traced, batches_of, through, trace, watching

READERS = {
    "q": ("q", "k", "v"), "o": ("o",), "mix_f": ("mix_f", "mix_c", "mix_g"), "mix_out": ("mix_out",),
    "gate": ("gate", "up"), "down": ("down",),
}  # fmt: skip  # roles that read the same


class LayerWalk:
    """The states of calibration data before some layer of a model.

    Args:
        model: a decoder
        data: encoded examples
    """

    def __init__(self, model: PreTrainedModel, data: Sequence[Encoded]):
        self.model, self.device = model, device_of(model)
        self.linears = architecture_spec(model.config).linears
        with fast_math(self.device):
            self.batches = [trace(model, batch, every=False) for batch in batches_of(data)]

    def linears_of(self, index: int) -> dict[str, list[nn.Linear]]:
        """The matrices of a layer that read the same, by the first role of READERS."""
        modules: Any = dict(layers_of(self.model)[index].named_modules())
        return {
            first: [modules[self.linears[role]] for role in roles]
            for first, roles in READERS.items()
            if self.linears.get(first) in modules
        }

    def grams(self, index: int) -> dict[str, torch.Tensor]:
        """Of what each group of matrices of layer `index` reads: the sum over real positions of its products with
        itself, float32 [C, C]. All layers before must have been passed."""
        grams: dict[str, torch.Tensor] = {}

        def add(first: str, x_NC: torch.Tensor) -> None:
            product_CC = x_NC.T @ x_NC
            grams[first] = grams[first] + product_CC if first in grams else product_CC

        readers = {first: linear for first, (linear, *_) in self.linears_of(index).items()}
        for batch in self.batches:
            with watching(readers, batch.real, add):
                self._through(index, batch)
        return grams

    def go_through(self, index: int) -> None:
        """On to what layer `index`, as it now is, gives."""
        for batch in self.batches:
            batch.inputs[0] = self._through(index, batch)

    @property
    def starts(self) -> list[int]:
        """Where each text begins among the real positions of all batches."""
        lengths = [n for batch in self.batches for n in batch.batch.lengths]
        return [0, *accumulate(lengths)][:-1]

    def reads(self, index: int, roles: Sequence[str]) -> list[dict[str, torch.Tensor]]:
        """What matrices of layer `index` read at real positions, [N, C] float32 by role, of each batch: one text behind
        the other. All layers before must have been passed, and then this one is, too."""
        modules = dict(layers_of(self.model)[index].named_modules())
        found = []
        for batch in self.batches:
            seen: dict[str, torch.Tensor] = {}
            with watching({role: modules[self.linears[role]] for role in roles}, batch.real, seen.__setitem__):
                batch.inputs[0] = self._through(index, batch)
            found.append(seen)
        return found

    def _through(self, index: int, batch: Traced) -> torch.Tensor:
        with fast_math(self.device):
            return through(self.model, index, batch.inputs[0], batch)
