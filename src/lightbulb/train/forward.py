"""Running a decoder for the positions that matter: the head is applied only where something is predicted."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel

from lightbulb.train.data import Batch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEEP_BYTES = 2**31 - 1
USUAL_MMAP, USUAL_TRIM = 32 * 2**20, 64 * 2**20  # where glibc's own thresholds end in a process of large tensors


def device_of(model: PreTrainedModel) -> torch.device:
    """Where its weights are."""
    return next(model.parameters()).device


def best_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def to_best_device(model: PreTrainedModel) -> PreTrainedModel:
    """The model on the best device, moved in place."""
    model.to(best_device())  # type: ignore[arg-type]
    return model


def native_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 natively."""
    return device.type == "cuda" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


@contextmanager
def fast_math(device: torch.device) -> Iterator[None]:
    """bfloat16 products where the hardware multiplies them natively, float32 elsewhere."""
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=native_bf16(device)):
        yield


@contextmanager
def deterministic(seed: int, threads: int) -> Iterator[None]:
    """Same seed, same bytes: fixed thread count (sums are split by thread), deterministic kernels, seeds."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.set_num_threads(threads)
    # On a GPU only this makes cuDNN's and flash attention go backwards in a fixed order; a CPU's kernels all do.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=not torch.cuda.is_available())
    # Nothing here reads memory that nobody wrote, and to fill it took 7 to 11% of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]


@contextmanager
def kept_memory() -> Iterator[None]:
    """What a step frees stays with the process for the next one (glibc): pages that are given back and asked for again
    at each tensor took 10% of a step where there are few threads. Given back at the end."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        mallopt, malloc_trim = libc.mallopt, libc.malloc_trim
    except (OSError, AttributeError):  # another C library
        yield
        return
    mallopt(M_MMAP_THRESHOLD, KEEP_BYTES)
    mallopt(M_TRIM_THRESHOLD, KEEP_BYTES)
    try:
        yield
    finally:
        mallopt(M_MMAP_THRESHOLD, USUAL_MMAP)
        mallopt(M_TRIM_THRESHOLD, USUAL_TRIM)
        malloc_trim(0)


def target_logits(model: PreTrainedModel, batch: Batch, answer_ids: list[int] | None = None) -> torch.Tensor:
    """Logits at the target positions of a batch. Right padding needs no mask: attention is causal.

    Args:
        model: a decoder
        batch: with P targets
        answer_ids: in a "choose" task only the rows of the answers learn from the head. Adam would otherwise push every
            other row away at full speed, and the rows of a tied head are also the words the model reads.

    Returns:
        [P, V].
    """
    device = device_of(model)
    h_BTD = model.base_model(input_ids=batch.ids.to(device), use_cache=False).last_hidden_state
    h_PD = h_BTD[batch.rows.to(device), batch.columns.to(device)]
    return head_logits(model, h_PD, answer_ids)


def head_logits(model: PreTrainedModel, h_PD: torch.Tensor, answer_ids: list[int] | None = None) -> torch.Tensor:
    """Logits [P, V] of what comes out of the last norm; `answer_ids` as `target_logits` has them."""
    weight_VD = model.lm_head.weight
    if answer_ids is None:
        logits_PV = torch.nn.functional.linear(h_PD, weight_VD)
    else:
        index = torch.tensor(answer_ids, device=h_PD.device)
        others_PV = torch.nn.functional.linear(h_PD, weight_VD.detach())
        logits_PV = others_PV.index_copy(1, index, torch.nn.functional.linear(h_PD, weight_VD[index]))
    cap = logit_cap_of(model)
    return torch.tanh(logits_PV / cap) * cap if cap else logits_PV


def logit_cap_of(model: PreTrainedModel) -> float | None:
    """What logits are capped to by tanh, by transformers' config or in a model of ours."""
    return getattr(model.config, "final_logit_softcapping", None) or getattr(model, "logit_cap", None)
