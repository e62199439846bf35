"""Modules whose products are with ternary weights, and the recurrent mixer that is made of them ("Scalable MatMul-free
Language Modeling", Zhu et al. 2024)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from lightbulb.models.norms import RMSNorm
from lightbulb.ops.recurrence import gated_recurrence
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


class MLGRU(nn.Module):
    """A gated recurrence without products between states: h_t = f_t h_(t-1) + (1 - f_t) c_t, gates and candidates read
    from the input alone."""

    def __init__(self, width: int, epsilon: float):
        super().__init__()
        self.f_proj, self.c_proj, self.g_proj = (TernaryLinear(width, width) for _ in range(3))
        self.out_proj = TernaryLinear(width, width, epsilon)
        self.lower = nn.Parameter(torch.zeros(width))  # logits; `ops.recurrence.rising_bounds` of all layers

    def forward(
        self,
        x_BTD: torch.Tensor,
        bound_D: torch.Tensor | None,
        state_BD: torch.Tensor | None,
        begins_BT: torch.Tensor | None,
        mask_BT: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Reads a piece of text.

        Args:
            x_BTD: normed input
            bound_D: what the forget gate is at least
            state_BD: after what was read before; None: nothing was
            begins_BT: True where a text begins: what was before is forgotten
            mask_BT: 0 for padding, which changes no state

        Returns:
            What is added to the layer's input [B, T, D], and the state after the piece, float32.
        """
        f, c, g = ternary_products(x_BTD, self.f_proj.weight, self.c_proj.weight, self.g_proj.weight)
        gated, last = gated_recurrence(f, c, g, bound_D, state_BD, begins_BT, mask_BT)
        return self.out_proj(gated), last
