"""How far one distribution is from another."""

from __future__ import annotations

import torch


def kl_divergences(logits_PV: torch.Tensor, other_PV: torch.Tensor) -> torch.Tensor:
    """KL(softmax(logits) || softmax(other)) of each position [P], in nats."""
    log_p_PV, log_q_PV = (x.float().log_softmax(-1) for x in (logits_PV, other_PV))
    return (log_p_PV.exp() * (log_p_PV - log_q_PV)).sum(-1)
