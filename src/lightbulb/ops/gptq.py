"""Error compensation: what rounding one column takes from a layer's outputs is given back by the columns that are still
to be rounded (GPTQ, Frantar et al. 2023, after Optimal Brain Surgeon, Hassibi & Stork 1993)."""

from __future__ import annotations

from collections.abc import Callable

import torch

RoundColumn = Callable[[int, torch.Tensor], torch.Tensor]  # place in the block, values [R] -> what is held of them


def inverse_factor(hessian_NN: torch.Tensor, damping: float) -> torch.Tensor:
    """The upper Cholesky factor [N, N] of the inverse of a matrix of second moments of a layer's inputs.

    Args:
        hessian_NN: sum of x x^T over positions
        damping: added to its diagonal, as a share of its mean: channels that were never seen stay invertible
    """
    hessian = hessian_NN.double()
    diagonal_N = hessian.diagonal()
    least = diagonal_N.mean().clamp_min(torch.finfo(torch.float32).tiny)
    singular = 1
    while singular:  # sums in float32 may leave a large matrix slightly indefinite
        damped = hessian + torch.diag((damping * least).expand_as(diagonal_N))
        factor, singular = torch.linalg.cholesky_ex(damped)
        damping *= 10
    inverse = torch.cholesky_inverse(factor)
    return torch.linalg.cholesky(inverse, upper=True).float()


def compensate_(
    weight_RN: torch.Tensor,
    factor_NN: torch.Tensor,
    block: int,
    begin: Callable[[int, torch.Tensor, torch.Tensor], RoundColumn],
) -> None:
    """Rounds a matrix in place, column by column.

    Args:
        weight_RN: the matrix
        factor_NN: of its inputs, by `inverse_factor`
        block: columns that share scales
        begin: told where a block starts, its values [R, block] as they now are, and what the squared error of each of
            its columns costs [block] once the columns after it have given back what they can; says how to round them
    """
    columns = weight_RN.shape[1]
    for start in range(0, columns, block):
        end = start + block
        inside = factor_NN[start:end, start:end]
        round_column = begin(start, weight_RN[:, start:end], inside.diagonal() ** -2)
        errors_RB = torch.empty_like(weight_RN[:, start:end])
        for place, column in enumerate(range(start, end)):
            held_R = round_column(place, weight_RN[:, column])
            errors_RB[:, place] = (weight_RN[:, column] - held_R) / inside[place, place]
            weight_RN[:, column] = held_R
            weight_RN[:, column + 1 : end] -= torch.outer(errors_RB[:, place], inside[place, place + 1 :])
        weight_RN[:, end:] -= errors_RB @ factor_NN[start:end, end:]
