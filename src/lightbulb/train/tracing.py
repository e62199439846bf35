"""A decoder read layer by layer: what goes into each of its layers and linears."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from lightbulb.models.families import final_norm_of, layers_of
from lightbulb.models.form import Encoded, encode
from lightbulb.models.phrases import phrases_of
from lightbulb.tasks.task import Task
from lightbulb.train.data import MAX_LENGTH, Batch, in_order, micro_batches
from lightbulb.train.forward import device_of, head_logits

AT_ONCE = 32  # sequences that batches are cut from
Watch = Callable[[str, torch.Tensor], None]  # the path of a linear in its layer, its inputs [positions, width]


@dataclass
class Traced:
    """A batch on its way through the layers.

    Attributes:
        batch: its tokens
        real: mask [B, T] of what is not padding
        inputs: of each layer [B, T, D], or of the first alone
        calls: what else each layer is called with
    """

    batch: Batch
    real: torch.Tensor
    inputs: list[torch.Tensor] = field(default_factory=list)
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)


def calibration_text(
    task: Task, tokenizer: PreTrainedTokenizerFast, answer_ids: list[int] | None, context_length: int, tokens: int
) -> list[Encoded]:
    """Examples spread over the train split, encoded until they have so many tokens. The others as `encode_split` has
    them."""
    found: list[Encoded] = []
    phrases = phrases_of(tokenizer)
    for at in task.spread("train"):
        if tokens <= 0:
            break
        found.append(encode(tokenizer, task, task.train[at], answer_ids, min(MAX_LENGTH, context_length), phrases))
        tokens -= len(found[-1].ids) - 1
    return found


def batches_of(data: Sequence[Encoded]) -> list[Batch]:
    """All of the data, by length."""
    return [batch for examples in in_order(data, AT_ONCE) for batch in micro_batches(data, examples)]


def real_positions(batch: Batch) -> torch.Tensor:
    """Mask [B, T] of what is not padding."""
    return torch.arange(batch.ids.shape[1])[None, :] < torch.tensor(batch.lengths)[:, None]


@torch.no_grad()
def trace(model: PreTrainedModel, batch: Batch, every: bool) -> Traced:
    """Reads a batch once. every: the inputs of every layer are kept, else those of the first."""
    traced = Traced(batch, real_positions(batch).to(device_of(model)))

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        h_BTD = args[0] if args else kwargs["hidden_states"]
        if every or not traced.inputs:
            traced.inputs.append(h_BTD)
        traced.calls.append((args[1:], {k: v for k, v in kwargs.items() if k != "hidden_states"}))

    hooks = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in layers_of(model)]
    try:
        model.base_model(input_ids=batch.ids.to(device_of(model)), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return traced


@torch.no_grad()
def through(model: PreTrainedModel, index: int, h_BTD: torch.Tensor, traced: Traced) -> torch.Tensor:
    """What comes out of a layer."""
    args, kwargs = traced.calls[index]
    out = layers_of(model)[index](h_BTD, *args, **kwargs)
    return out[0] if isinstance(out, tuple) else out


@torch.no_grad()
def logits_from(model: PreTrainedModel, index: int, traced: Traced) -> torch.Tensor:
    """Logits at the targets [P, V], read from what goes into layer `index`."""
    h_BTD = traced.inputs[index]
    for above in range(index, len(layers_of(model))):
        h_BTD = through(model, above, h_BTD, traced)
    h_PD = h_BTD[traced.batch.rows.to(h_BTD.device), traced.batch.columns.to(h_BTD.device)]
    return head_logits(model, final_norm_of(model)(h_PD))


def linears_of(layer: nn.Module) -> dict[str, nn.Linear]:
    """By their paths in a layer."""
    return {path: module for path, module in layer.named_modules() if isinstance(module, nn.Linear)}


@contextmanager
def watching(linears: Mapping[str, nn.Module], real: torch.Tensor, watch: Watch) -> Iterator[None]:
    """Within it `watch` is told what goes into each of the modules, padding left out."""

    def hook(path: str) -> Any:
        def before(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            with torch.autocast(args[0].device.type, enabled=False):  # sums of squares in bfloat16 are no sums
                watch(path, args[0][real].float())

        return before

    hooks = [module.register_forward_pre_hook(hook(path)) for path, module in linears.items()]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()
