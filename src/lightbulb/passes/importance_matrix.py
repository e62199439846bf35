"""importance-matrix: what the task's own text tells of the model's matrices, for `quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.facts import ImportanceFacts
from lightbulb.models.form import Encoded
from lightbulb.models.loading import load_tokenizer
from lightbulb.passes.base import Context, Pass
from lightbulb.train.calibration import mean_squares_of, sensitivities_of, write_mean_squares
from lightbulb.train.forward import deterministic, to_best_device
from lightbulb.train.quantized import matrices_of
from lightbulb.train.tracing import batches_of, calibration_text


class ImportanceMatrix(Pass):
    """Reads prompts and completions of the train split and keeps the mean square of what goes into each channel of each
    matrix (llama.cpp's importance matrix), and how much the answers change when each matrix alone is rounded.

    Attributes:
        tokens: read for the mean squares
        probe_tokens: read for the changes, once for each matrix; 0: these are not measured
    """

    name: ClassVar[str] = "importance-matrix"
    facts_type: ClassVar = ImportanceFacts
    makes: ClassVar[ArtifactKind] = "calibration"

    tokens: int = Field(default=32768, ge=1)
    probe_tokens: int = Field(default=1024, ge=0)

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        model = to_best_device(context.live.read(source))
        tokenizer, positions = load_tokenizer(source.path), model.config.max_position_embeddings

        def text(tokens: int) -> list[Encoded]:
            return calibration_text(context.task, tokenizer, source.answer_ids, positions, tokens)

        read, sensitivities = text(self.tokens), dict[str, float]()
        with deterministic(context.seed, context.threads):
            batches = batches_of(read)
            with context.progress.bar("mean squares", len(batches)) as advance:
                write_mean_squares(mean_squares_of(model, batches, advance), out)
            if self.probe_tokens:
                with context.progress.bar("sensitivities", len(matrices_of(model))) as advance:
                    sensitivities = sensitivities_of(model, batches_of(text(self.probe_tokens)), advance)
        return {"tokens": sum(len(item.ids) - 1 for item in read), "sensitivities": sensitivities}
