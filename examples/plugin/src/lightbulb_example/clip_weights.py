"""clip-weights: brings the largest weights in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from lightbulb.core.artifact import Artifact
from lightbulb.passes.base import Context
from lightbulb.passes.model_pass import ModelPass

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ClipWeights(ModelPass):
    """Limits the size of each matrix's weights to so many `deviations` (root mean squares of the matrix), so that one
    of them does not make the steps of a whole block coarse."""

    name: ClassVar[str] = "clip-weights"
    computes: ClassVar[bool] = False

    deviations: float = Field(gt=0)

    def change(self, model: PreTrainedModel, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        matrices = [p.data for p in model.parameters() if p.ndim == 2]
        clipped = 0
        with context.progress.bar("clip-weights", len(matrices)) as advance:
            for done, matrix in enumerate(matrices, 1):
                limit = self.deviations * matrix.square().mean().sqrt()
                clipped += int((matrix.abs() > limit).sum())
                matrix.clamp_(-limit, limit)
                advance(done, "")
        return {"clipped": clipped}
