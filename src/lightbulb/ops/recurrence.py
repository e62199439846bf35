"""The linear recurrence h_t = a_t h_(t-1) + b_t as a pure function, in parallel over its length.

Steps are cut into about sqrt(T) pieces of about sqrt(T): all pieces go step by step side by side, then what the pieces
before hand on is added. So there are 2 sqrt(T) small operations instead of T, and each number is touched a few times
instead of log2(T) times. Nothing is divided, so factors of 0 and long texts are no trouble.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd import Function


class _Recurrence(Function):
    """Going back is the same recurrence from the end: what reaches h_t is its own gradient and a_(t+1) times what
    reaches h_(t+1)."""

    @staticmethod
    def forward(ctx: Any, a_BTD: torch.Tensor, b_BTD: torch.Tensor, h_BD: torch.Tensor) -> torch.Tensor:
        out_BTD = _scan(a_BTD, b_BTD, h_BD)
        ctx.save_for_backward(a_BTD, out_BTD, h_BD)
        return out_BTD

    @staticmethod
    def backward(ctx: Any, grad_BTD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        a_BTD, out_BTD, h_BD = ctx.saved_tensors
        later_BTD = torch.cat([a_BTD[:, 1:], torch.zeros_like(a_BTD[:, :1])], 1)
        reached_BTD = _scan(later_BTD.flip(1), grad_BTD.flip(1), torch.zeros_like(h_BD)).flip(1)
        before_BTD = torch.cat([h_BD[:, None], out_BTD[:, :-1]], 1)
        return reached_BTD * before_BTD, reached_BTD, a_BTD[:, 0] * reached_BTD[:, 0]


def recurrence(a_BTD: torch.Tensor, b_BTD: torch.Tensor, h_BD: torch.Tensor) -> torch.Tensor:
    """All states [B, T, D] of h_t = a_t h_(t-1) + b_t.

    Args:
        a_BTD: factors; 0 forgets all that was before
        b_BTD: what is added
        h_BD: the state before the first step
    """
    return _Recurrence.apply(a_BTD, b_BTD, h_BD)


def _scan(a_BTD: torch.Tensor, b_BTD: torch.Tensor, h_BD: torch.Tensor) -> torch.Tensor:
    B, T, D = a_BTD.shape
    length = math.isqrt(T - 1) + 1  # of a piece
    pieces = -(-T // length)
    rest = pieces * length - T
    a = F.pad(a_BTD, (0, 0, 0, rest)).reshape(B, pieces, length, D)  # what is padded comes last, and is cut off
    out = F.pad(b_BTD, (0, 0, 0, rest)).reshape(B, pieces, length, D)
    factor = a.clone()  # product of the factors since the piece began
    if not rest:  # no padding made a copy
        out = out.clone()
    for t in range(1, length):
        out[:, :, t].addcmul_(a[:, :, t], out[:, :, t - 1])
        factor[:, :, t].mul_(factor[:, :, t - 1])
    carried = [h_BD]
    for piece in range(pieces - 1):
        carried.append(torch.addcmul(out[:, piece, -1], factor[:, piece, -1], carried[-1]))
    out.addcmul_(factor, torch.stack(carried, 1)[:, :, None])
    return out.view(B, pieces * length, D)[:, :T]


def gated_recurrence(
    f_BTD: torch.Tensor,
    c_BTD: torch.Tensor,
    g_BTD: torch.Tensor,
    bound_D: torch.Tensor | None,
    state_BD: torch.Tensor | None,
    begins_BT: torch.Tensor | None,
    mask_BT: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What an MLGRU (Zhu et al. 2024) does between its products: h_t = f_t h_(t-1) + (1 - f_t) silu(c_t), read through
    sigmoid(g_t).

    Args:
        f_BTD: logits of the forget gate
        c_BTD: candidates, not yet activated
        g_BTD: logits of the output gate
        bound_D: what the forget gate is at least; None: 0
        state_BD: h after what was read before; None: nothing was
        begins_BT: True where a text begins: what was before is forgotten
        mask_BT: 0 for padding, which changes no state

    Returns:
        What the last product reads [B, T, D], and the last state, float32 both.
    """
    keep = torch.sigmoid(f_BTD.float())
    if bound_D is not None:
        keep = bound_D + (1 - bound_D) * keep
    add = (1 - keep) * F.silu(c_BTD.float())
    if begins_BT is not None:
        keep = keep.masked_fill(begins_BT[..., None], 0.0)
    if mask_BT is not None:
        padding = (mask_BT == 0)[..., None]
        keep, add = keep.masked_fill(padding, 1.0), add.masked_fill(padding, 0.0)
    before = torch.zeros_like(add[:, 0]) if state_BD is None else state_BD
    h_BTD = recurrence(keep, add, before)
    return torch.sigmoid(g_BTD.float()) * h_BTD, h_BTD[:, -1]


def rising_bounds(logits_LD: torch.Tensor) -> torch.Tensor:
    """Lower bounds of the forget gates of L layers, from 0 in the first up to less than 1, each channel for itself
    (HGRN, Qin et al. 2023): shares that add up to one, summed from below, without the first share."""
    shares_LD = logits_LD.float().softmax(0)
    return (shares_LD.cumsum(0) - shares_LD[:1]).clamp(0, 1)


def logits_of_bounds(bounds_LD: torch.Tensor) -> torch.Tensor:
    """Logits [L, D] that `rising_bounds` makes these bounds of.

    Raises:
        ValueError: they do not start at 0, fall, or reach 1
    """
    shares_LD = torch.cat([1 - bounds_LD[-1:], bounds_LD.diff(dim=0)])
    if bounds_LD[0].any() or not (shares_LD >= 0).all() or not (shares_LD[0] > 0).all():
        raise ValueError("lower bounds of forget gates must rise from 0 in the first layer and stay below 1")
    return shares_LD.clamp_min(torch.finfo(torch.float32).tiny).log()
