"""The block grids of GGUF as pure functions: a tensor rounded to what the file can hold.

Bit-compatible with llama.cpp's reference quantizers (ggml-quants.c: quantize_row_q8_0_ref, quantize_row_q4_0_ref):
blocks of 32 along the last dimension, one half-precision scale each.
"""

from __future__ import annotations

from typing import Literal

import torch

Grid = Literal["q8_0", "q4_0"]
BLOCK = 32


def round_to_grid(w: torch.Tensor, grid: Grid) -> torch.Tensor:
    """The nearest values of `grid` to w [..., in], in w's dtype. `in` must be a multiple of 32."""
    if w.shape[-1] % BLOCK:
        raise ValueError(f"last dimension {w.shape[-1]} is not a multiple of {BLOCK}")
    blocks = w.detach().float().reshape(*w.shape[:-1], -1, BLOCK)
    return {"q8_0": _q8_0, "q4_0": _q4_0}[grid](blocks).reshape(w.shape).to(w.dtype)


def _inverse(scale: torch.Tensor) -> torch.Tensor:
    """1 / scale, and 0 where the file's half-precision scale is 0 anyway: 1 / a denormal would be infinite."""
    return torch.where(scale.half() == 0, torch.zeros_like(scale), 1 / scale)


def _q8_0(blocks: torch.Tensor) -> torch.Tensor:
    scale = blocks.abs().amax(-1, keepdim=True) / 127
    q = blocks * _inverse(scale)
    q = torch.trunc(q + torch.copysign(torch.full_like(q, 0.5), q))  # roundf: halves away from zero
    return q * scale.half().float()


def _q4_0(blocks: torch.Tensor) -> torch.Tensor:
    """16 levels -8..7 of a signed scale: the entry of largest magnitude lands on -8."""
    where = blocks.abs().argmax(-1, keepdim=True)
    scale = blocks.gather(-1, where) / -8
    q = torch.trunc(blocks * _inverse(scale) + 8.5).clamp(0, 15)
    return (q - 8) * scale.half().float()
