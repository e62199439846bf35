"""prune-weights: sets the smallest weights to zero."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from lightbulb.core.artifact import Artifact
from lightbulb.passes.base import Context, Pass


class PruneWeights(Pass):
    """Sets the `share` of each matrix that is smallest in size to zero (Han et al. 2015). Files do not get smaller by
    it: zeros are stored as any other weight."""

    name: ClassVar[str] = "prune-weights"

    share: float = Field(ge=0, lt=1)

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        from lightbulb.models.loading import copy_tokenizer, load_model, save_model

        model = load_model(source.path)
        matrices = [p.data for p in model.parameters() if p.ndim == 2]
        zeros = 0
        with context.progress.bar("prune-weights", len(matrices)) as advance:
            for done, matrix in enumerate(matrices, 1):
                if count := int(self.share * matrix.numel()):
                    limit = matrix.abs().flatten().kthvalue(count).values
                    matrix[matrix.abs() <= limit] = 0.0
                zeros += int((matrix == 0).sum())
                advance(done, "")
        copy_tokenizer(source.path, out)
        save_model(model, out)
        return {"zeros": zeros, "parameters": sum(p.numel() for p in model.parameters())}
