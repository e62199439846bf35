"""Parameters as they act in training: copies in the dtype of products, rounded where the file will round them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from lightbulb.ops.fused import RMSNorm, Working
from lightbulb.train.quantized import quantize_dequantize

Weights = tuple[torch.Tensor, torch.Tensor | None]  # a matrix [out, in] and its bias [out]


class Copy:
    """A working copy of one parameter or of several stacked ones, made anew when a master has changed."""

    def __init__(self, masters: Sequence[torch.Tensor], dtype: torch.dtype, quant_types: Mapping[int, str]):
        self.masters, self.dtype, self.quant_types = masters, dtype, quant_types
        self.plain = len(masters) == 1 and masters[0].dtype == dtype and id(masters[0]) not in quant_types
        self.versions: list[int] = []
        self.copy = masters[0].detach()

    @torch.no_grad()
    def values(self) -> torch.Tensor:
        """The weights as they act: rounded where they have a type, in `dtype`."""
        versions = [m._version for m in self.masters]
        if not self.plain and versions != self.versions:
            if not self.versions:
                rows = sum(len(m) for m in self.masters)
                self.copy = self.masters[0].new_empty(rows, *self.masters[0].shape[1:], dtype=self.dtype)
            at = 0
            for m in self.masters:
                quant_type = self.quant_types.get(id(m))
                self.copy[at : at + len(m)].copy_(quantize_dequantize(m, quant_type) if quant_type else m)
                at += len(m)
            self.versions = versions
        return self.copy

    def __call__(self) -> torch.Tensor:
        if self.plain:
            return self.masters[0]
        return Working.apply(self.values(), *self.masters)


class Norm:
    """An RMSNorm as it acts, its offset in the weight."""

    def __init__(self, module: Any, offset: float, dtype: torch.dtype):
        self.weight, self.offset, self.dtype = module.weight, offset, dtype
        self.eps = getattr(module, "variance_epsilon", None) or module.eps

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight + self.offset if self.offset else self.weight
        return RMSNorm.apply(x, weight, self.eps, self.dtype)


def linear(x: torch.Tensor, weights: tuple[Copy, Copy | None]) -> torch.Tensor:
    """x [N, in] times weights [out, in], and the bias where there is one."""
    return F.linear(x, *values(weights))


def values(weights: tuple[Copy, Copy | None]) -> Weights:
    """A matrix and its bias as they act."""
    weight, bias = weights
    return weight(), bias() if bias else None
