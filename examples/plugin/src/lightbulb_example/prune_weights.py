"""prune-weights: sets the smallest weights to zero."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from lightbulb.core.artifact import Artifact
from lightbulb.passes.base import Context
from lightbulb.passes.model_pass import ModelPass

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class PruneWeights(ModelPass):
    """Sets the `share` of each matrix that is smallest in size to zero (Han et al. 2015). Files do not get smaller by
    it: zeros are stored as any other weight."""

    name: ClassVar[str] = "prune-weights"
    computes: ClassVar[bool] = False

    share: float = Field(ge=0, lt=1)

    def change(self, model: PreTrainedModel, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        matrices = [p.data for p in model.parameters() if p.ndim == 2]
        zeros = 0
        with context.progress.bar("prune-weights", len(matrices)) as advance:
            for done, matrix in enumerate(matrices, 1):
                if count := int(self.share * matrix.numel()):
                    limit = matrix.abs().flatten().kthvalue(count).values
                    matrix[matrix.abs() <= limit] = 0.0
                zeros += int((matrix == 0).sum())
                advance(done, "")
        return {"zeros": zeros}
