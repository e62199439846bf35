"""teacher-logits: reads the train split once with the teacher and keeps the likeliest tokens of every position."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.facts import LogitsFacts
from lightbulb.models.loading import load_tokenizer
from lightbulb.passes.base import Context, Pass
from lightbulb.train.data import encode_split
from lightbulb.train.forward import deterministic, to_best_device
from lightbulb.train.logits import write_logits


class CacheLogits(Pass):
    """Top-k log-probabilities of the source on the train split, for any number of students.

    Attributes:
        top_k: tokens kept at each position
        batch_size: sequences read at once
    """

    name: ClassVar[str] = "teacher-logits"
    version: ClassVar[int] = 3
    facts_type: ClassVar = LogitsFacts
    makes: ClassVar[ArtifactKind] = "logits"

    top_k: int = Field(default=32, ge=1)
    batch_size: int = Field(default=64, ge=1)

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        model = to_best_device(context.live.read(source))
        tokenizer, answer_ids = load_tokenizer(source.path), source.answer_ids
        data = encode_split(context.task, "train", tokenizer, answer_ids, model.config.max_position_embeddings)
        with deterministic(context.seed, context.threads):
            positions = write_logits(model, data, self.top_k, out, self.batch_size, context.progress, self.name)
        return {"positions": positions}
