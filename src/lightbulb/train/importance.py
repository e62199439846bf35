"""What the parts of a decoder do for a task, measured on its own examples: channels, heads, columns, whole layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from lightbulb.models.families import architecture_spec, embedding_of, final_norm_of, layers_of
from lightbulb.models.form import Encoded
from lightbulb.models.narrowing import spec_of_model
from lightbulb.ops.importance import contribution, taylor
from lightbulb.ops.losses import cross_entropy
from lightbulb.train.data import Batch, in_order, micro_batches
from lightbulb.train.forward import device_of, fast_math, target_logits
from lightbulb.train.tracing import real_positions

Key = tuple[str, int]  # a role ("o", "down"), whose matrix's input is meant, and its layer; or all norms' outputs
COLUMNS: Key = ("columns", 0)
See = Callable[[Key, torch.Tensor], None]
Advance = Callable[[float, str], None]


@dataclass(frozen=True)
class Scores:
    """Importance of the parts of a decoder, float32.

    Attributes:
        channels: of each layer's feed-forward, [F]; None where it has none
        heads: of queries, [H]; None where it has none
        columns: of the hidden states, [D]
    """

    channels: list[torch.Tensor | None]
    heads: list[torch.Tensor | None]
    columns: torch.Tensor


def gradient_scores(model: PreTrainedModel, data: Sequence[Encoded], advance: Advance) -> Scores:
    """The first-order change of the task's loss if a part were zero, its size summed over the examples (`taylor`): in
    one unit, so that layers can be compared. No weight of `model` takes a gradient while this works."""
    sums: dict[Key, torch.Tensor] = {}
    found: dict[Key, torch.Tensor] = {}

    def see(key: Key, x_BTC: torch.Tensor) -> None:
        def went_back(gradient_BTC: torch.Tensor) -> None:
            change_BC = taylor(x_BTC.detach(), gradient_BTC)
            found[key] = found[key] + change_BC if key in found else change_BC

        x_BTC.register_hook(went_back)

    with _watched(model, see), _gradients_of_states(model):
        for batch in _read(data, advance):
            with fast_math(device_of(model)):
                logits_PV = target_logits(model, batch)
            (cross_entropy(logits_PV, batch.targets.to(logits_PV.device)) * len(batch.targets)).backward()
            for key, change_BC in found.items():
                score_C = _of_parts(model, key, change_BC).abs().sum(0)
                sums[key] = sums[key] + score_C if key in sums else score_C
            found.clear()
    return _scores(model, sums)


@torch.no_grad()
def activation_scores(model: PreTrainedModel, data: Sequence[Encoded], advance: Advance) -> Scores:
    """The size of what a part adds (`contribution`), over all positions, relative to the mean of its layer."""
    squares: dict[Key, torch.Tensor] = {}
    state: dict[str, torch.Tensor] = {}

    def see(key: Key, x_BTC: torch.Tensor) -> None:
        sums_C = x_BTC[state["real"]].float().square().sum(0)
        squares[key] = squares[key] + sums_C if key in squares else sums_C

    with _watched(model, see):
        for batch in _read(data, advance):
            state["real"] = real_positions(batch).to(device_of(model))
            with fast_math(device_of(model)):
                model.base_model(input_ids=batch.ids.to(device_of(model)), use_cache=False)
    found = {}
    for key, squares_C in squares.items():
        if key != COLUMNS:
            squares_C = _of_parts(model, key, contribution(squares_C, _linear(model, key).weight))
        sizes_C = squares_C.sqrt()
        found[key] = sizes_C / sizes_C.mean()
    return _scores(model, found)


def order_scores(model: PreTrainedModel, data: Sequence[Encoded], advance: Advance) -> Scores:
    """Of an elastic model, whose channels stand by their importance: the earlier the higher. Nothing is read."""
    spec = spec_of_model(model)
    sizes = [layer.feed_forward for layer in spec.layers]
    channels = [torch.arange(size, 0, -1).float() if size else None for size in sizes]
    return Scores(channels, [None] * len(sizes), torch.zeros(spec.width))


def task_loss(model: PreTrainedModel, data: Sequence[Encoded]) -> float:
    """Mean cross-entropy (nats) over all targets of `data`."""
    total, targets = 0.0, 0
    with torch.no_grad():
        for batch in _read(data, lambda done, note: None):
            with fast_math(device_of(model)):
                logits_PV = target_logits(model, batch)
            total += cross_entropy(logits_PV, batch.targets.to(logits_PV.device)).item() * len(batch.targets)
            targets += len(batch.targets)
    return total / targets


@contextmanager
def without_layers(model: PreTrainedModel, indices: Sequence[int]) -> Iterator[None]:
    """The model whose layers `indices` give what they are given."""
    skipped: Any = [layers_of(model)[i] for i in indices]
    for layer in skipped:
        layer.forward = _same
    try:
        yield
    finally:
        for layer in skipped:
            del layer.forward


def _same(hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    return hidden_states


def _read(data: Sequence[Encoded], advance: Advance) -> Iterator[Batch]:
    done = 0
    for examples in in_order(data, 32):
        yield from micro_batches(data, examples)
        advance(done := done + len(examples), "")


@contextmanager
def _watched(model: PreTrainedModel, see: See) -> Iterator[None]:
    """Shows `see` what the second matrices of mixers and feed-forwards read, and what norms give to the first ones."""
    arch = architecture_spec(model.config)
    with ExitStack() as stack:

        def watch_norm(norm: torch.nn.Module) -> None:
            hook = norm.register_forward_hook(lambda module, args, out: see(COLUMNS, out))
            stack.callback(hook.remove)

        for index, layer in enumerate(layers_of(model)):
            modules = dict(layer.named_modules())
            for role in ("o", "down"):
                if linear := modules.get(arch.linears[role]):
                    key: Any = (role, index)
                    hook = linear.register_forward_pre_hook(lambda module, args, key=key: see(key, args[0]))
                    stack.callback(hook.remove)
            for path, gguf in arch.norms.items():
                if gguf in ("attn_norm", "ffn_norm") and path in modules:
                    watch_norm(modules[path])
        watch_norm(final_norm_of(model))
        yield


@contextmanager
def _gradients_of_states(model: PreTrainedModel) -> Iterator[None]:
    """Gradients go back through states, and to no weight."""
    learning = [p for p in model.parameters() if p.requires_grad]
    for p in learning:
        p.requires_grad_(False)
    hook = embedding_of(model).register_forward_hook(lambda module, args, out: out.requires_grad_())
    try:
        yield
    finally:
        hook.remove()
        for p in learning:
            p.requires_grad_(True)


def _linear(model: PreTrainedModel, key: Key) -> Any:
    role, index = key
    return layers_of(model)[index].get_submodule(architecture_spec(model.config).linears[role])


def _of_parts(model: Any, key: Key, scores: torch.Tensor) -> torch.Tensor:
    """Scores [..., channels] of heads [..., H] where the channels are those of heads; else as they are."""
    role, index = key
    if role != "o":
        return scores
    return scores.unflatten(-1, (-1, model.get_submodule(_attention_path(model, index)).head_dim)).sum(-1)


def _attention_path(model: PreTrainedModel, index: int) -> str:
    arch = architecture_spec(model.config)
    return f"{arch.layers}.{index}.{arch.linears['o'].rpartition('.')[0]}"


def _scores(model: PreTrainedModel, found: dict[Key, torch.Tensor]) -> Scores:
    layers = range(len(layers_of(model)))
    return Scores(
        channels=[found[key].cpu() if (key := ("down", i)) in found else None for i in layers],
        heads=[found[key].cpu() if (key := ("o", i)) in found else None for i in layers],
        columns=found[COLUMNS].cpu(),
    )
