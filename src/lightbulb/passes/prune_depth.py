"""prune-depth: keeps the layers that do most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from transformers import PreTrainedModel

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import RecipeError
from lightbulb.core.facts import Facts, PruningFacts
from lightbulb.models.families import keep_layers, layers_of
from lightbulb.models.form import Encoded
from lightbulb.models.loading import load_tokenizer
from lightbulb.ops.importance import block_influence
from lightbulb.passes.base import Context
from lightbulb.passes.model_pass import ModelPass
from lightbulb.train.data import encode_split, in_order, micro_batches, within
from lightbulb.train.forward import deterministic, device_of, fast_math
from lightbulb.train.importance import task_loss, without_layers
from lightbulb.train.tracing import real_positions

CALIBRATION_EXAMPLES = 256
SCORED_EXAMPLES, SCORED_TOKENS = 64, 4096  # each layer's removal is scored on them, anew after every layer that went


class PruneDepth(ModelPass):
    """Keeps the layers that do most on the task's own examples, in their old order.

    Attributes:
        layers: how many are kept
        by: "influence", those of highest block influence (ShortGPT, Men et al. 2024), or "loss": the layer whose
            removal costs least of the task's loss goes, again and again (greedily, as in SLEB, Song et al. 2024), which
            takes as many readings of the examples as layers are tried, or "order": as an elastic model was trained to
            lose them (`adapt-elastic`), which takes none
    """

    name: ClassVar[str] = "prune-depth"
    version: ClassVar[int] = 2
    facts_type: ClassVar = PruningFacts

    layers: int = Field(ge=1)
    by: Literal["influence", "loss", "order"] = "influence"

    def change(self, model: PreTrainedModel, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        depth = len(layers_of(model))
        if self.layers > depth:
            raise RecipeError(f"prune-depth keeps {self.layers} layers of a model with {depth}", hint="lower `layers`")
        order = source.facts_as(Facts).layer_order
        facts: dict[str, Any] = {}
        if self.by == "order":
            kept = self._by_order(order, depth)
        else:
            kept, facts = self._by_data(model, source, context)
        if order is not None:
            facts["layer_order"] = [kept.index(i) for i in order if i in kept]
        keep_layers(model, kept)
        return {"kept_layers": kept, **facts}

    def _by_order(self, order: list[int] | None, depth: int) -> list[int]:
        if order is None:
            raise RecipeError(
                "prune-depth by order needs an elastic model", hint='train it with adapt-elastic, or by = "influence"'
            )
        gone = order[: depth - self.layers]
        if len(gone) < depth - self.layers:
            raise RecipeError(
                f"prune-depth keeps {self.layers} layers, of a model whose sub-models were trained down to "
                f"{depth - len(order)}",
                hint="raise `layers`, or lower `layers` of adapt-elastic",
            )
        return [i for i in range(depth) if i not in gone]

    def _by_data(self, model: PreTrainedModel, source: Artifact, context: Context) -> tuple[list[int], dict[str, Any]]:
        tokenizer, positions = load_tokenizer(source.path), model.config.max_position_embeddings
        examples = CALIBRATION_EXAMPLES if self.by == "influence" else SCORED_EXAMPLES
        data = encode_split(context.task, "train", tokenizer, source.answer_ids, positions, examples)
        with deterministic(context.seed, context.threads):
            return (self._by_influence if self.by == "influence" else self._by_loss)(model, data, context)

    def _by_influence(
        self, model: PreTrainedModel, data: Sequence[Encoded], context: Context
    ) -> tuple[list[int], dict[str, Any]]:
        with context.progress.bar("block influence", len(data)) as advance:
            influence = layer_influence(model, data, advance)
        kept = sorted(sorted(range(len(influence)), key=lambda i: -influence[i])[: self.layers])
        return kept, {"influence": [round(x, 6) for x in influence]}

    def _by_loss(
        self, model: PreTrainedModel, data: Sequence[Encoded], context: Context
    ) -> tuple[list[int], dict[str, Any]]:
        depth = len(layers_of(model))
        with context.progress.bar("loss without layers", depth - self.layers) as advance:
            removed, losses = least_loss(model, within(data, SCORED_TOKENS), depth - self.layers, advance)
        kept = [i for i in range(depth) if i not in removed]
        return kept, {"removed_layers": removed, "losses": [round(x, 6) for x in losses]}


def least_loss(
    model: PreTrainedModel, data: Sequence[Encoded], count: int, advance: Callable[[float, str], None]
) -> tuple[list[int], list[float]]:
    """The `count` layers that go, each the one without which the loss is least then, in that order; and the mean loss
    (nats) of the whole model and after each."""
    removed: list[int] = []
    losses = [task_loss(model, data)]
    while len(removed) < count:
        without = {}
        for index in range(len(layers_of(model))):
            if index not in removed:
                with without_layers(model, [*removed, index]):
                    without[index] = task_loss(model, data)
        removed.append(min(without, key=lambda i: (without[i], i)))
        losses.append(without[removed[-1]])
        advance(len(removed), f"loss {losses[-1]:.3f}")
    return removed, losses


@torch.no_grad()
def layer_influence(
    model: PreTrainedModel, data: Sequence[Encoded], advance: Callable[[float, str], None]
) -> list[float]:
    """Block influence of every layer (ShortGPT, Men et al. 2024): 1 - cosine of what goes in and what comes out,
    averaged over the real (unpadded) positions.

    Args:
        model: a decoder
        data: encoded prompts
        advance: told how far it is: a share, and a line
    """
    sums, positions, done = [0.0] * len(layers_of(model)), 0, 0
    state: dict[str, torch.Tensor] = {}
    device = device_of(model)

    def watch(index: int) -> Any:
        def hook(module: torch.nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
            h_in = args[0] if args else kwargs["hidden_states"]
            h_out = output[0] if isinstance(output, tuple) else output
            real = state["real"]
            sums[index] += block_influence(h_in[real], h_out[real]).item() * int(real.sum())

        return hook

    hooks = [layer.register_forward_hook(watch(i), with_kwargs=True) for i, layer in enumerate(layers_of(model))]
    try:
        for examples in in_order(data, 32):
            for batch in micro_batches(data, examples):
                state["real"] = real_positions(batch).to(device)
                positions += int(state["real"].sum())
                with fast_math(device):
                    model.base_model(input_ids=batch.ids.to(device), use_cache=False)
            advance(done := done + len(examples), "")
    finally:
        for hook in hooks:
            hook.remove()
    return [s / positions for s in sums]
