"""The norm of all decoders."""

from __future__ import annotations

import torch
from torch import nn


class RMSNorm(nn.Module):
    """x / rms(x) * (weight + offset) over the last dimension (Zhang and Sennrich 2019), computed in float32."""

    def __init__(self, width: int, epsilon: float, offset: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), 1.0 - offset))
        self.eps, self.offset = epsilon, offset

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        unit = x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + self.eps)
        return (unit * (self.weight.float() + self.offset)).to(x.dtype)
