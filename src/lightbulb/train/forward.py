"""Running a decoder for the positions that matter: the head is applied only where something is predicted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel

from lightbulb.train.data import Batch


def device_of(model: PreTrainedModel) -> torch.device:
    return next(model.parameters()).device


def best_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def placed(model: PreTrainedModel) -> PreTrainedModel:
    """The model on the best device, moved in place."""
    model.to(best_device())  # type: ignore[arg-type]
    return model


@contextmanager
def fast_math(device: torch.device) -> Iterator[None]:
    """bfloat16 products where the hardware multiplies them natively, float32 elsewhere."""
    native = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=native):
        yield


@contextmanager
def deterministic(seed: int, threads: int) -> Iterator[None]:
    """Same seed, same bytes: fixed thread count (sums are split by thread), deterministic kernels, seeds."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


def target_logits(model: PreTrainedModel, batch: Batch, answer_ids: list[int] | None = None) -> torch.Tensor:
    """Logits [P, V] at the P target positions of a batch. Right padding needs no mask: attention is causal.

    answer_ids: in a "choose" task only the rows of the answers learn from the head. Adam would otherwise push every
    other row away at full speed, and the rows of a tied head are also the words the model reads.
    """
    device = device_of(model)
    h_BTD = model.base_model(input_ids=batch.ids.to(device), use_cache=False).last_hidden_state
    h_PD = h_BTD[batch.rows.to(device), batch.columns.to(device)]
    weight_VD = model.lm_head.weight
    if answer_ids is None:
        logits_PV = torch.nn.functional.linear(h_PD, weight_VD)
    else:
        index = torch.tensor(answer_ids, device=device)
        others_PV = torch.nn.functional.linear(h_PD, weight_VD.detach())
        logits_PV = others_PV.index_copy(1, index, torch.nn.functional.linear(h_PD, weight_VD[index]))
    cap = getattr(model.config, "final_logit_softcapping", None)
    return torch.tanh(logits_PV / cap) * cap if cap else logits_PV
