"""The arithmetic of putting a linear recurrence in the place of attention: decays and a last product in closed form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from lightbulb.ops.recurrence import recurrence

DAMPING = 1e-3  # of `ridge`, as a share of the mean of the diagonal


def decayed(c_NW: torch.Tensor, decay_W: torch.Tensor, begins_N: torch.Tensor) -> torch.Tensor:
    """Running means [N, W] of texts that stand one behind the other: h = decay h + (1 - decay) c.

    Args:
        c_NW: what comes in
        decay_W: of each column
        begins_N: True where a text begins
    """
    keep_NW = decay_W.expand_as(c_NW).masked_fill(begins_N[:, None], 0.0)
    return recurrence(keep_NW[None], (c_NW * (1 - decay_W))[None], torch.zeros_like(c_NW[:1]))[0]


def best_decays(
    c_NW: torch.Tensor, read_NW: torch.Tensor, begins_N: torch.Tensor, decays: Sequence[float], row_W: Sequence[int]
) -> torch.Tensor:
    """Of each column the decay [W] whose running mean, scaled, comes nearest to `read_NW` in squares. Columns of the
    same row have different ones, as long as there are some: they would stay copies of each other.

    Args:
        c_NW: what comes in
        read_NW: what attention made of it
        begins_N: True where a text begins
        decays: to choose from
        row_W: of the product that made each column
    """
    gains = []
    for decay in decays:
        h_NW = decayed(c_NW, torch.full_like(c_NW[0], decay), begins_N)
        gains.append((h_NW * read_NW).sum(0).square() / h_NW.square().sum(0).clamp_min(torch.finfo(c_NW.dtype).tiny))
    gain_WL = torch.stack(gains, 1)
    rows, before = torch.tensor(row_W), Counter[int]()
    taken_RL = torch.zeros(int(rows.max()) + 1, len(decays), dtype=torch.bool)
    rank_W = torch.tensor([before.update([row]) or before[row] for row in row_W])
    place_W = torch.zeros_like(rows)
    for rank in range(1, int(rank_W.max()) + 1):
        at = (rank_W == rank).nonzero().flatten()
        taken = taken_RL[rows[at]]
        gone = taken & ~taken.all(1, keepdim=True)
        place_W[at] = gain_WL[at].cpu().masked_fill(gone, -1.0).argmax(1)
        taken_RL[rows[at], place_W[at]] = True
    return torch.tensor(decays, dtype=c_NW.dtype)[place_W].to(c_NW.device)


def ridge(x_NW: torch.Tensor, y_ND: torch.Tensor) -> torch.Tensor:
    """The matrix [D, W] that makes y of x with the least squared error, small where x tells nothing."""
    x = x_NW.double()
    gram_WW = x.T @ x
    least = DAMPING * gram_WW.diagonal().mean().clamp_min(torch.finfo(torch.float32).tiny)
    factor = torch.linalg.cholesky(gram_WW + least * torch.eye(len(gram_WW), device=x.device, dtype=x.dtype))
    return torch.cholesky_solve(x.T @ y_ND.double(), factor).T.to(y_ND.dtype).contiguous()


def explained(y_ND: torch.Tensor, said_ND: torch.Tensor) -> float:
    """The share of y, in squares, that `said` tells."""
    return 1 - float((y_ND - said_ND).square().sum() / y_ND.square().sum().clamp_min(torch.finfo(y_ND.dtype).tiny))
