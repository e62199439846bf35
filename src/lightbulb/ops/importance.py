"""How much a part of a model does."""

from __future__ import annotations

import torch


def block_influence(h_in: torch.Tensor, h_out: torch.Tensor) -> torch.Tensor:
    """1 - mean cosine of what enters and what leaves a block, over positions [N, D] (ShortGPT, Men et al. 2024)."""
    return 1 - torch.nn.functional.cosine_similarity(h_in.float(), h_out.float(), dim=-1).mean()
