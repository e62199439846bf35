"""Losses over the positions to be predicted (P of them), as pure functions."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def cross_entropy(logits_PV: torch.Tensor, targets_P: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits_PV.float(), targets_P)


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
    """
    teacher = (teacher_log_probs_PK.float() / temperature).log_softmax(-1)
    student = (logits_PV.float() / temperature).log_softmax(-1).gather(-1, teacher_ids_PK)
    return (teacher.exp() * (teacher - student)).sum(-1).mean() * temperature**2
