"""distill: trains a cut student, on the teacher's cached logits or, as the cheaper rival, on the data alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from transformers import PreTrainedModel

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.facts import TrainingFacts
from lightbulb.passes.base import Context
from lightbulb.passes.fit import fit, teacher_loss
from lightbulb.passes.model_pass import ModelPass
from lightbulb.train.loop import Schedule


class Distill(ModelPass):
    """Logit distillation (Hinton et al. 2015).

    Attributes:
        schedule: of the training
        weight: of the teacher against the data's own answers
        temperature: divides the logits of both
    """

    name: ClassVar[str] = "distill"
    version: ClassVar[int] = 3
    facts_type: ClassVar = TrainingFacts
    uses: ClassVar[tuple[ArtifactKind, ...]] = ("logits",)

    schedule: Schedule = Schedule(epochs=6, learning_rate=6e-4)
    weight: float = Field(default=0.8, gt=0, le=1)
    temperature: float = Field(default=2.0, gt=0)

    def change(self, model: PreTrainedModel, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        loss = teacher_loss(context.inputs["logits"].path, self.weight, self.temperature)
        return fit(model, source, self.schedule, loss, context, self.name)
