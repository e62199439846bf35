"""ternarize: a transformer becomes one whose weights in the layers are -s, 0 or s."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field
from transformers import PreTrainedModel

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.facts import TrainingFacts
from lightbulb.models.loading import load_tokenizer
from lightbulb.models.ternarizing import NormSizes, ternarized
from lightbulb.models.ternary import set_share
from lightbulb.passes.base import Context, Pass
from lightbulb.passes.fit import fit, plain_loss, teacher_loss
from lightbulb.passes.model_pass import write_changed
from lightbulb.train.data import encode_split, micro_batches, within
from lightbulb.train.forward import deterministic, target_logits, to_best_device
from lightbulb.train.loop import Schedule

CALIBRATION_EXAMPLES, CALIBRATION_TOKENS = 64, 4096


class Ternarize(Pass):
    """BitNet b1.58 (Ma et al. 2024) of a model that is there, trained as it becomes ternary: absmean weights, int8
    activations, a norm before every matrix, gradients straight through. Weights go from dense to ternary over a part
    of the training. With "logits" among the inputs it listens to the dense model, or whatever teacher they are of (as
    BitDistill does, Wu et al. 2025), else to the data alone. Widths must be multiples of 256, which `prune-width` makes
    of others.

    Attributes:
        schedule: of the training
        ramp: the share of it after which the weights are ternary altogether
        weight: of the teacher against the data's own answers
        temperature: divides the logits of both
    """

    name: ClassVar[str] = "ternarize"
    facts_type: ClassVar = TrainingFacts
    may_use: ClassVar[tuple[ArtifactKind, ...]] = ("logits",)

    schedule: Schedule = Schedule(epochs=8, learning_rate=1e-3)
    ramp: float = Field(default=0.5, ge=0, le=1)
    weight: float = Field(default=0.8, gt=0, le=1)
    temperature: float = Field(default=2.0, gt=0)

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        model = to_best_device(ternarized(context.live.take(source)))  # type: ignore[arg-type]
        self._fit_norms(model, source, context)
        logits = context.inputs.get("logits")
        loss = teacher_loss(logits.path, self.weight, self.temperature) if logits else plain_loss

        def harden(done: float) -> None:
            set_share(model, min(1.0, done / self.ramp) if self.ramp else 1.0)

        facts = fit(model, source, self.schedule, loss, context, self.name, before_step=harden)
        set_share(model, 1.0)
        return write_changed(model, source, out, context) | facts

    def _fit_norms(self, model: PreTrainedModel, source: Artifact, context: Context) -> None:
        tokenizer, positions = load_tokenizer(source.path), model.config.max_position_embeddings
        data = encode_split(context.task, "train", tokenizer, source.answer_ids, positions, CALIBRATION_EXAMPLES)
        data = within(data, CALIBRATION_TOKENS)
        with deterministic(context.seed, context.threads), torch.no_grad(), NormSizes(model):
            for batch in micro_batches(data, list(range(len(data)))):
                target_logits(model, batch)
