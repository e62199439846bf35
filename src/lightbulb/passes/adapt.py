"""adapt: fine-tunes a model on the task."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field
from transformers import PreTrainedModel

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import RecipeError
from lightbulb.core.facts import TrainingFacts
from lightbulb.models.families import architecture_spec, embedding_of, is_tied, layers_of
from lightbulb.passes.base import Context
from lightbulb.passes.fit import fit, plain_loss
from lightbulb.passes.model_pass import ModelPass
from lightbulb.train.loop import Schedule


class Adapt(ModelPass):
    """Fine-tuning by cross-entropy, of all weights or of adapters.

    Attributes:
        schedule: of the training
        method: "full", or "lora": low-rank adapters (LoRA, Hu et al. 2021) that are merged at the end
        freeze_layers: the first N layers and what they read stay as they are, which saves their backward pass
        lora_rank: of the adapters
    """

    name: ClassVar[str] = "adapt"
    version: ClassVar[int] = 3
    facts_type: ClassVar = TrainingFacts

    schedule: Schedule = Schedule(epochs=3, learning_rate=2e-4)
    method: Literal["full", "lora"] = "full"
    freeze_layers: int = Field(default=0, ge=0)
    lora_rank: int = Field(default=16, ge=1)

    def change(self, model: PreTrainedModel, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        lora = self._add_lora(model, context.seed) if self.method == "lora" else None
        freeze(model, self.freeze_layers, keep_head=context.task.kind == "choose")
        facts = fit(model, source, self.schedule, plain_loss, context, "adapt")
        facts["trained_parameters"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
        if lora is not None:
            lora.merge_and_unload()  # into the linears inside `model`
        return facts

    def _add_lora(self, model: PreTrainedModel, seed: int) -> Any:
        import peft
        import torch

        torch.manual_seed(seed)
        linears = list(architecture_spec(model.config).linears.values())
        config = peft.LoraConfig(r=self.lora_rank, lora_alpha=2 * self.lora_rank, target_modules=linears)
        lora = peft.get_peft_model(model, config)  # replaces the linears inside `model` itself
        embedding_of(model).weight.requires_grad_(True)
        return lora


def freeze(model: PreTrainedModel, layers: int, *, keep_head: bool) -> None:
    """Freezes the first layers and what they read.

    Args:
        model: a decoder, changed in place
        layers: how many
        keep_head: a tied head still learns its answers' rows; the frozen layers are then cut off from the gradient, so
            that nothing is computed backwards through them

    Raises:
        RecipeError: the model has fewer layers
    """
    stack = layers_of(model)
    if layers > len(stack):
        raise RecipeError(
            f"freeze_layers is {layers}, but the model has {len(stack)} layers", hint="lower freeze_layers"
        )
    if not layers:
        return
    for layer in stack[:layers]:
        layer.requires_grad_(False)
    embedding = embedding_of(model)
    if not (keep_head and is_tied(model)):
        embedding.weight.requires_grad_(False)
    embedding.register_forward_hook(lambda module, inputs, h: h.detach())
