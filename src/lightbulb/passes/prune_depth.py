"""prune-depth: keeps the layers that do most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field
from transformers import PreTrainedModel

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import RecipeError
from lightbulb.core.facts import PruningFacts
from lightbulb.models.families import keep_layers, layers_of
from lightbulb.models.form import Encoded
from lightbulb.models.loading import load_tokenizer
from lightbulb.ops.importance import block_influence
from lightbulb.passes.base import Context
from lightbulb.passes.model_pass import ModelPass
from lightbulb.train.data import Batch, encode_split, in_order, micro_batches
from lightbulb.train.forward import deterministic, device_of, fast_math

CALIBRATION_EXAMPLES = 256


class PruneDepth(ModelPass):
    """Keeps the layers with the highest block influence on the task's own prompts (ShortGPT, Men et al. 2024), in their
    old order.

    Attributes:
        layers: how many are kept
    """

    name: ClassVar[str] = "prune-depth"
    version: ClassVar[int] = 2
    facts_type: ClassVar = PruningFacts

    layers: int = Field(ge=1)

    def change(self, model: PreTrainedModel, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        depth = len(layers_of(model))
        if self.layers > depth:
            raise RecipeError(f"prune-depth keeps {self.layers} layers of a model with {depth}", hint="lower `layers`")
        tokenizer, answer_ids = load_tokenizer(source.path), source.answer_ids
        positions = model.config.max_position_embeddings
        data = encode_split(context.task, "train", tokenizer, answer_ids, positions, CALIBRATION_EXAMPLES)
        bar = context.progress.bar("block influence", len(data))
        with deterministic(context.seed, context.threads), bar as advance:
            influence = layer_influence(model, data, advance)
        kept = sorted(sorted(range(depth), key=lambda i: -influence[i])[: self.layers])
        keep_layers(model, kept)
        return {"kept_layers": kept, "influence": [round(x, 6) for x in influence]}


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
                state["real"] = real_positions(batch, data).to(device)
                positions += int(state["real"].sum())
                with fast_math(device):
                    model.base_model(input_ids=batch.ids.to(device), use_cache=False)
            advance(done := done + len(examples), "")
    finally:
        for hook in hooks:
            hook.remove()
    return [s / positions for s in sums]


def real_positions(batch: Batch, data: Sequence[Encoded]) -> torch.Tensor:
    """Mask [B, T] of what is not padding."""
    lengths = torch.tensor([len(data[i].ids) - 1 for i in batch.examples])
    return torch.arange(batch.ids.shape[1])[None, :] < lengths[:, None]
