"""Which weights of a matrix are set to zero, and what the others become. R: rows, what comes out; C: what is read."""

from __future__ import annotations

import torch

BLOCK = 128  # columns of which SparseGPT chooses at once
DAMPING = 0.01  # of the mean of the diagonal, added to it


def lowest(scores_RC: torch.Tensor, share: float) -> torch.Tensor:
    """Mask of the `share` of each row with the lowest scores; of equal ones the first."""
    count = int(share * scores_RC.shape[1])
    order = scores_RC.argsort(dim=1, stable=True)[:, :count]
    return torch.zeros_like(scores_RC, dtype=torch.bool).scatter_(1, order, True)


def lowest_two_of_four(scores_RC: torch.Tensor) -> torch.Tensor:
    """Mask of the two lowest scores of every four side by side (2:4, Mishra et al. 2021).

    Raises:
        ValueError: C is no multiple of 4
    """
    if scores_RC.shape[1] % 4:
        raise ValueError(f"rows of {scores_RC.shape[1]} weights are no whole number of fours")
    return lowest(scores_RC.reshape(-1, 4), 0.5).view_as(scores_RC)


def wanda(weight_RC: torch.Tensor, norms_C: torch.Tensor) -> torch.Tensor:
    """|weight| times the norm of what it reads (Wanda, Sun et al. 2023); compared in a row."""
    return weight_RC.abs() * norms_C


def sparsegpt(weight_RC: torch.Tensor, gram_CC: torch.Tensor, share: float | None) -> torch.Tensor:
    """Weights with a share of them zero, the others changed so that the outputs stay nearest (SparseGPT, Frantar and
    Alistarh 2023): column by column, what a zero takes away is made up for by the columns after it.

    Args:
        weight_RC: float32
        gram_CC: sum of the products of what is read with itself
        share: of zeros in each block of columns; None: two of every four
    """
    weight_RC, upper_CC = weight_RC.clone(), _inverse_factor(gram_CC)
    weight_RC[:, gram_CC.diagonal() == 0] = 0.0  # never read
    columns = weight_RC.shape[1]
    for start in range(0, columns, BLOCK):
        end = min(start + BLOCK, columns)
        part, inner = weight_RC[:, start:end], upper_CC[start:end, start:end]
        errors = torch.zeros_like(part)
        mask = None if share is None else _costing_least(part, inner, share)
        for i in range(end - start):
            if share is None and i % 4 == 0:
                mask_4 = lowest_two_of_four((part[:, i : i + 4] / inner.diagonal()[i : i + 4]) ** 2)
            gone = mask_4[:, i % 4] if mask is None else mask[:, i]
            errors[:, i] = torch.where(gone, part[:, i], 0.0) / inner[i, i]
            part[:, i:] -= errors[:, i : i + 1] * inner[i, i:]
            part[gone, i] = 0.0
        weight_RC[:, end:] -= errors @ upper_CC[start:end, end:]
    return weight_RC


def _costing_least(part: torch.Tensor, inner: torch.Tensor, share: float) -> torch.Tensor:
    """Mask of the share of a block whose loss is least."""
    loss = (part / inner.diagonal()) ** 2
    return lowest(loss.reshape(1, -1), share).view_as(loss)


def _inverse_factor(gram_CC: torch.Tensor) -> torch.Tensor:
    """The upper Cholesky factor of the damped inverse of the Gram matrix; a channel that is always zero counts as 1."""
    full = gram_CC.double()
    full = full + torch.diag((full.diagonal() == 0).double())
    full = full + DAMPING * full.diagonal().mean() * torch.eye(len(full), dtype=full.dtype, device=full.device)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(full))
    return torch.linalg.cholesky(inverse, upper=True).to(gram_CC.dtype)
