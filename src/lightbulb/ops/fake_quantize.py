"""Fake quantization as pure functions: a tensor rounded to what a GGUF file of a quant type holds of it.

Bit-compatible with llama.cpp's reference quantizers (ggml-quants.c: quantize_row_q8_0_ref, quantize_row_q4_0_ref):
blocks of 32 along the last dimension, one half-precision scale each.
"""

from __future__ import annotations

import torch

BLOCK = 32


def quantize_dequantize_q8_0(w: torch.Tensor) -> torch.Tensor:
    """The nearest q8_0 values to w [..., in], in w's dtype.

    Raises:
        ValueError: `in` is no multiple of 32
    """
    blocks = _blocks(w)
    scale = blocks.abs().amax(-1, keepdim=True) / 127
    q = blocks * _inverse(scale)
    q = torch.trunc(q + torch.copysign(torch.full_like(q, 0.5), q))  # roundf: halves away from zero
    return (q * scale.half().float()).reshape(w.shape).to(w.dtype)


def quantize_dequantize_q4_0(w: torch.Tensor) -> torch.Tensor:
    """The nearest q4_0 values to w [..., in], in w's dtype: 16 levels -8..7 of a signed scale, so that the entry of
    largest magnitude lands on -8.

    Raises:
        ValueError: `in` is no multiple of 32
    """
    blocks = _blocks(w)
    where = blocks.abs().argmax(-1, keepdim=True)
    scale = blocks.gather(-1, where) / -8
    q = torch.trunc(blocks * _inverse(scale) + 8.5).clamp(0, 15)
    return ((q - 8) * scale.half().float()).reshape(w.shape).to(w.dtype)


def _blocks(w: torch.Tensor) -> torch.Tensor:
    if w.shape[-1] % BLOCK:
        raise ValueError(f"last dimension {w.shape[-1]} is not a multiple of {BLOCK}")
    return w.detach().float().reshape(*w.shape[:-1], -1, BLOCK)


def _inverse(scale: torch.Tensor) -> torch.Tensor:
    """1 / scale, and 0 where the file's half-precision scale is 0 anyway: 1 / a denormal would be infinite."""
    return torch.where(scale.half() == 0, torch.zeros_like(scale), 1 / scale)
