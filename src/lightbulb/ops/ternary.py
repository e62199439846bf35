"""Products with ternary weights and 8-bit activations as pure functions (BitNet b1.58, Ma et al. 2024).

A matrix is -s, 0 or +s everywhere, with one s for all of it. Levels of both sides are whole numbers that bfloat16 and
float32 hold exactly, so that a product of levels in float32 is exact, and the same in every runtime.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd import Function

LARGEST = 127  # level of an activation
LEAST_SCALE = 2.0**-24  # the smallest number that half precision holds


def ternary_levels(w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights [rows, in] as levels -1, 0, 1 in w's dtype, and their scale, a float32 scalar: the mean magnitude, which
    half precision holds exactly because files keep it so."""
    scale = w.detach().abs().mean(dtype=torch.float32).half().float().clamp_min(LEAST_SCALE)
    return (w.detach() / scale).round_().clamp_(-1, 1), scale


def ternary_values(w: torch.Tensor) -> torch.Tensor:
    """The weights as they act: -s, 0 or s."""
    levels, scale = ternary_levels(w)
    return levels * scale.to(w.dtype)


def masters_of(values: torch.Tensor) -> torch.Tensor:
    """Weights whose ternary values are `values`: larger than these by the share of zeros, so that their mean magnitude
    is the scale again."""
    return values * (values.numel() / values.count_nonzero().clamp_min(1))


def int8_levels(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Activations [..., in] as whole numbers from -127 to 127, and the scale of each vector, [..., 1]; both of x's
    dtype."""
    scale = (x.detach().abs().amax(-1, keepdim=True) / LARGEST).clamp_min(torch.finfo(torch.float32).tiny)
    return (x.detach() / scale).round_(), scale


class TernaryProducts(Function):
    """Products of one input with several matrices, all quantized; gradients pass straight through the rounding (Bengio
    et al. 2013)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, dtype: torch.dtype, *weights: torch.Tensor) -> tuple[torch.Tensor, ...]:
        q, scale_x = int8_levels(x)
        found = [ternary_levels(w) for w in weights]
        levels = torch.cat([each for each, _ in found]).to(dtype)
        ctx.rows, ctx.dtype = [len(w) for w in weights], x.dtype
        scales = torch.cat([s.expand(n) for (_, s), n in zip(found, ctx.rows, strict=True)])
        q = q.to(dtype)
        ctx.save_for_backward(q, scale_x, levels, scales)
        parts = F.linear(q, levels).split(ctx.rows, -1)
        return tuple(part.mul_(scale_x.float() * s) for part, (_, s) in zip(parts, found, strict=True))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, scale_x, levels, scales = ctx.saved_tensors
        grad = torch.cat(grads, -1).to(q.dtype)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = ((grad * scales.to(grad.dtype)) @ levels).to(ctx.dtype)
        if not any(ctx.needs_input_grad[2:]):
            return grad_x, *[None] * (1 + len(ctx.rows))
        weighed = (grad * scale_x.to(grad.dtype)).reshape(-1, grad.shape[-1])
        grad_w = (weighed.T @ q.reshape(-1, q.shape[-1])).float()
        return grad_x, None, *grad_w.split(ctx.rows)


def ternary_products(x: torch.Tensor, *weights: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """x [..., in] times each matrix [rows, in], weights ternary and activations 8 bits wide: [..., rows] each. Under
    autocast the levels are multiplied in its dtype, which loses nothing of them, and results are of it."""
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    return TernaryProducts.apply(x, dtype, *weights)
