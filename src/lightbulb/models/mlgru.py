"""The recurrent mixer of decoders ("Scalable MatMul-free Language Modeling", Zhu et al. 2024), of ternary weights or of
plain ones: these are what `replace-mixer` puts in the place of attention."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn

from lightbulb.models.ternary import TernaryLinear
from lightbulb.ops.recurrence import gated_recurrence
from lightbulb.ops.ternary import ternary_products


class RecurrentMixer(nn.Module, ABC):
    """A gated recurrence without products between states: h_t = f_t h_(t-1) + (1 - f_t) c_t, gates and candidates read
    from the input alone."""

    out_proj: nn.Linear

    @abstractmethod
    def gates(self, x_BTD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits of the forget gate, candidates and logits of the output gate [B, T, D] of an input."""

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
        gated, last = gated_recurrence(*self.gates(x_BTD), bound_D, state_BD, begins_BT, mask_BT)
        return self.out_proj(gated.to(x_BTD.dtype)), last


class MLGRU(RecurrentMixer):
    """Of ternary linears, with a norm of its own before the last. A layer's forget gates have a lower bound."""

    def __init__(self, width: int, epsilon: float):
        super().__init__()
        self.f_proj, self.c_proj, self.g_proj = (TernaryLinear(width, width) for _ in range(3))
        self.out_proj = TernaryLinear(width, width, epsilon)
        self.lower = nn.Parameter(torch.zeros(width))  # logits; `ops.recurrence.rising_bounds` of all layers

    def gates(self, x_BTD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        f, c, g = ternary_products(x_BTD, self.f_proj.weight, self.c_proj.weight, self.g_proj.weight)
        return f, c, g


class PlainMLGRU(RecurrentMixer):
    """Of plain linears. Each channel's forget gate has a bias, so that it can remember for as long as is good for it,
    in whichever layer."""

    def __init__(self, width: int):
        super().__init__()
        self.f_proj = nn.Linear(width, width)
        self.c_proj, self.g_proj, self.out_proj = (nn.Linear(width, width, bias=False) for _ in range(3))

    def gates(self, x_BTD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.f_proj(x_BTD), self.c_proj(x_BTD), self.g_proj(x_BTD)
