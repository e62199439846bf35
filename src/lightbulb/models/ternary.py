"""Linears of ternary weights, and how dense ones become them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from lightbulb.models.norms import RMSNorm
from lightbulb.ops.ternary import int8_levels, ternary_products, ternary_values


class TernaryLinear(nn.Linear):
    """A linear without a bias, whose weights act as -s, 0 or s and whose input as 8-bit whole numbers. What is trained
    are the float weights behind.

    Args:
        columns: width of the input
        rows: of the output
        epsilon: of an RMSNorm of its own before it; None: what comes in is normed

    Attributes:
        share: how much of all this acts while a dense layer becomes ternary (`set_share`): at 0 it is the plain linear
            of its float weights, at 1 what it is otherwise
    """

    def __init__(self, columns: int, rows: int, epsilon: float | None = None):
        super().__init__(columns, rows, bias=False)
        self.norm = None if epsilon is None else RMSNorm(columns, epsilon)
        self.share = 1.0

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if self.share < 1:
            return self._between(input)
        return ternary_products(input if self.norm is None else self.norm(input), self.weight)[0]

    def _between(self, x: torch.Tensor) -> torch.Tensor:
        w = self.weight
        if self.norm is not None:
            x = torch.lerp(x, self.norm(x), self.share)
        levels, scale = int8_levels(x)
        x = x + self.share * (levels * scale - x.detach())
        return F.linear(x, w + self.share * (ternary_values(w) - w.detach()))


def set_share(model: nn.Module, share: float) -> None:
    """Sets `TernaryLinear.share` of all linears of a model."""
    for module in model.modules():
        if isinstance(module, TernaryLinear):
            module.share = share
