"""What the passes of encoders share: calibration and facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightbulb.core.artifact import Artifact
from lightbulb.models.kinds.encoder import Encoder
from lightbulb.models.loading import WEIGHTS
from lightbulb.ops.calibration import nats, temperature_of
from lightbulb.passes.base import Context
from lightbulb.passes.classifiers import texts_and_labels


def calibrated(encoder: Encoder, context: Context) -> dict[str, Any]:
    """Sets the temperature of `encoder` by the validation split; returns facts about it."""
    texts, labels_N = texts_and_labels(context.task, "validation")
    if not texts:
        return {"temperature": encoder.form.temperature}
    with context.progress.bar("calibrating", len(texts)) as advance:
        scores_NC = encoder.scores_of(texts, advance)
    temperature = temperature_of(scores_NC, labels_N)
    encoder.form = encoder.form.model_copy(update={"temperature": temperature})
    return {
        "temperature": temperature,
        "validation_nats": nats(scores_NC, labels_N, 1.0),
        "calibrated_nats": nats(scores_NC, labels_N, temperature),
    }


def facts_of(encoder: Encoder, folder: Path, source: Artifact | None = None) -> dict[str, Any]:
    """EncoderFacts of what was saved.

    Args:
        encoder: that was saved
        folder: where
        source: whose name is carried on
    """
    return {
        "name": source.facts.get("name") if source else None,
        "answer_ids": None,
        "layers": encoder.spec.layers,
        "width": encoder.spec.width,
        "vocabulary": encoder.spec.vocabulary,
        "pooling": encoder.form.pooling,
        "parameters": encoder.parameter_count,
        "bytes": (folder / WEIGHTS).stat().st_size,
    }
