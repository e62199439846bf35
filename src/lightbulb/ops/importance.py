"""How much a part of a model does, and which parts are kept."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def block_influence(h_in: torch.Tensor, h_out: torch.Tensor) -> torch.Tensor:
    """1 - mean cosine of what enters and what leaves a block, over positions [N, D] (ShortGPT, Men et al. 2024)."""
    return 1 - torch.nn.functional.cosine_similarity(h_in.float(), h_out.float(), dim=-1).mean()


def taylor(x_BTC: torch.Tensor, gradient_BTC: torch.Tensor) -> torch.Tensor:
    """First-order change of each sequence's loss if a channel were zero (Molchanov et al. 2017; for heads, summed over
    their channels, Michel et al. 2019), float32 [B, C]."""
    return (x_BTC.float() * gradient_BTC.float()).sum(1)


def contribution(squares_C: torch.Tensor, weight_DC: torch.Tensor) -> torch.Tensor:
    """Size of what each channel adds to what a matrix gives: its own times that of its column (the scores of Wanda, Sun
    et al. 2023, over whole columns), squared, [C].

    Args:
        squares_C: mean squares of the channels
        weight_DC: the matrix that reads them
    """
    return squares_C * weight_DC.float().square().sum(0)


def chunks(scores_C: torch.Tensor, size: int) -> torch.Tensor:
    """Sums of the scores in chunks of `size`, best first, [ceil(C / size)]."""
    return torch.stack([chunk.sum() for chunk in scores_C.sort(descending=True).values.split(size)])


def chunks_kept(
    by_layer: Sequence[torch.Tensor], before: Sequence[int], share: float, across_layers: bool
) -> list[int]:
    """How many of its best chunks each layer keeps, at least one.

    Args:
        by_layer: scores of each layer's chunks, best first
        before: how many chunks each layer had at first
        share: of these, that is kept
        across_layers: of all layers together, the best; else of each layer
    """
    if not across_layers:
        return [min(len(scores), max(1, round(share * size))) for scores, size in zip(by_layer, before, strict=True)]
    others = [(-score, layer) for layer, scores in enumerate(by_layer) for score in scores[1:].tolist()]
    counts = [1] * len(by_layer)
    for _, layer in sorted(others)[: max(0, round(share * sum(before)) - len(counts))]:
        counts[layer] += 1
    return counts


def best(scores_C: torch.Tensor, count: int) -> list[int]:
    """Places of the `count` highest scores, rising; of equal ones the first."""
    return sorted(scores_C.argsort(descending=True, stable=True)[:count].tolist())
