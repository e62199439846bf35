"""Losses over the positions to be predicted (P of them), as pure functions."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import Function


def cross_entropy(logits_PV: torch.Tensor, targets_P: torch.Tensor) -> torch.Tensor:
    """Mean over positions (nats), in float32."""
    return _Loss.apply(logits_PV, targets_P[:, None], logits_PV.new_zeros(len(targets_P), 1, dtype=torch.float32), 1.0)


def top_k_log_probs(logits_PV: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k likeliest tokens of each position: (log-probabilities [P, k], token ids [P, k])."""
    log_probs = logits_PV.float().log_softmax(-1)
    return log_probs.topk(min(k, log_probs.shape[-1]), dim=-1)


def distillation(
    logits_PV: torch.Tensor, teacher_log_probs_PK: torch.Tensor, teacher_ids_PK: torch.Tensor, temperature: float
) -> torch.Tensor:
    """KL(teacher || student) at `temperature` on the teacher's top-k tokens (Hinton et al. 2015), times temperature².

    The teacher is renormalised over its top-k after the temperature; the student is normalised over the whole
    vocabulary, so that probability it spends elsewhere is punished.

    Args:
        logits_PV: the student's
        teacher_log_probs_PK: the teacher's, of its top-k tokens
        teacher_ids_PK: these tokens
        temperature: divides the logits of both

    Returns:
        Mean over positions (nats).
    """
    teacher = (teacher_log_probs_PK.float() / temperature).log_softmax(-1)
    return _Loss.apply(logits_PV, teacher_ids_PK, teacher, temperature)


class _Loss(Function):
    """KL(wanted || softmax(logits / temperature)) * temperature², where `wanted` are log-probabilities [P, K] at `ids`
    and nothing elsewhere. What goes back is known when the loss is: it is made in place of the log-probabilities, in
    half the passes over [P, V] that autograd takes."""

    @staticmethod
    def forward(
        ctx: Any, logits_PV: torch.Tensor, ids_PK: torch.Tensor, wanted_PK: torch.Tensor, temperature: float
    ) -> torch.Tensor:
        if temperature == 1:
            log_probs_PV = logits_PV.log_softmax(-1, dtype=torch.float32)
        else:
            log_probs_PV = (logits_PV.float() / temperature).log_softmax(-1)
        share_PK = wanted_PK.exp()
        loss = (share_PK * (wanted_PK - log_probs_PV.gather(-1, ids_PK))).sum(-1).mean() * temperature**2
        if ctx.needs_input_grad[0]:
            scale = temperature / len(logits_PV)
            back_PV = log_probs_PV.exp_().mul_(scale).scatter_add_(-1, ids_PK, share_PK * -scale)
            ctx.save_for_backward(back_PV.to(logits_PV.dtype))
        return loss

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (back_PV,) = ctx.saved_tensors
        return back_PV * grad, None, None, None
