"""The recurrent mixer of decoders of plain weights: what `replace-mixer` puts in the place of attention."""

from __future__ import annotations

import torch
from torch import nn

from lightbulb.ops.recurrence import gated_recurrence


class PlainMLGRU(nn.Module):
    """As models.ternary.MLGRU, of plain linears and without a norm of its own. Each channel's forget gate has a bias,
    so that it can remember for as long as is good for it, in whichever layer."""

    def __init__(self, width: int):
        super().__init__()
        self.f_proj = nn.Linear(width, width)
        self.c_proj, self.g_proj, self.out_proj = (nn.Linear(width, width, bias=False) for _ in range(3))

    def forward(
        self,
        x_BTD: torch.Tensor,
        bound_D: torch.Tensor | None,
        state_BD: torch.Tensor | None,
        begins_BT: torch.Tensor | None,
        mask_BT: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As models.ternary.MLGRU reads a piece of text."""
        f, c, g = self.f_proj(x_BTD), self.c_proj(x_BTD), self.g_proj(x_BTD)
        gated, last = gated_recurrence(f, c, g, bound_D, state_BD, begins_BT, mask_BT)
        return self.out_proj(gated.to(x_BTD.dtype)), last
