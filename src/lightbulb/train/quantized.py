"""Training on the grid that ships: weights are rounded in the forward pass, gradients pass straight through.

Straight-through estimator (Bengio et al. 2013) on GGUF blocks, so that the loss already sees what the file will hold.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.func import functional_call
from transformers import PreTrainedModel

from lightbulb.models.anatomy import embedding_of, layers_of
from lightbulb.ops.grids import Grid, round_to_grid
from lightbulb.train.data import Batch
from lightbulb.train.forward import target_logits


def block_weights(model: PreTrainedModel, grid: Grid, embedding_grid: Grid) -> list[tuple[torch.Tensor, Grid]]:
    """What the file will hold in blocks: every linear of the layers, the embedding, and an untied head."""
    weights = [(m.weight, grid) for layer in layers_of(model) for m in layer.modules() if isinstance(m, nn.Linear)]
    ends = {id(w): w for w in (embedding_of(model).weight, model.lm_head.weight)}
    return weights + [(w, embedding_grid) for w in ends.values()]


@torch.no_grad()
def quantize_dequantize_(model: PreTrainedModel, grid: Grid, embedding_grid: Grid) -> None:
    """Rounds all block weights in place."""
    for weight, to in block_weights(model, grid, embedding_grid):
        weight.copy_(round_to_grid(weight, to))


class FakeQuantized(nn.Module):
    """A model whose weights act as rounded while their float32 masters are trained."""

    def __init__(self, model: PreTrainedModel, grid: Grid, embedding_grid: Grid):
        super().__init__()
        self.model = model
        self.grids = {id(weight): to for weight, to in block_weights(model, grid, embedding_grid)}

    def forward(self, batch: Batch, answer_ids: list[int] | None) -> torch.Tensor:
        return target_logits(self.model, batch, answer_ids)

    def target_logits(self, batch: Batch, answer_ids: list[int] | None = None) -> torch.Tensor:
        """As train.forward.target_logits, [P, V]."""
        rounded = {
            name: w + (round_to_grid(w, self.grids[id(w)]) - w).detach()
            for name, w in self.named_parameters()
            if id(w) in self.grids
        }
        return functional_call(self, rounded, (batch, answer_ids), tie_weights=True)
