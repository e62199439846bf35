"""What the passes of encoders share: calibration and facts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lightbulb.core.artifact import Artifact
from lightbulb.core.files import read_json
from lightbulb.core.progress import Progress
from lightbulb.formats.gguf.wordpiece import read_wordpiece
from lightbulb.models.kinds.base import text_of
from lightbulb.models.kinds.encoder import Encoder, WordPiece
from lightbulb.models.kinds.encoder_source import encoder_origin, folder_of
from lightbulb.models.kinds.encoder_spec import spec_of
from lightbulb.models.loading import TOKENIZER, WEIGHTS
from lightbulb.models.resolve import ModelSource
from lightbulb.ops.calibration import nats, temperature_of
from lightbulb.passes.base import Context
from lightbulb.passes.classifiers import texts_and_labels
from lightbulb.tasks.task import Task


def calibrated(encoder: Encoder, context: Context) -> dict[str, Any]:
    """Sets the temperature of `encoder` by the validation split; returns facts about it."""
    texts, labels_N = texts_and_labels(context.task, "validation")
    if not texts:
        return {"temperature": encoder.form.temperature}
    with context.progress.bar("calibrating", len(texts)) as advance:
        return calibrate(encoder, encoder.scores_of(texts, advance), labels_N)


def calibrate(encoder: Encoder, scores_NC: np.ndarray, labels_N: np.ndarray) -> dict[str, Any]:
    """Sets the temperature at which labels are likeliest under its scores; as it is where there are none."""
    if not len(labels_N):
        return {"temperature": encoder.form.temperature}
    temperature = temperature_of(scores_NC, labels_N)
    encoder.form = encoder.form.model_copy(update={"temperature": temperature})
    return {
        "temperature": temperature,
        "validation_nats": nats(scores_NC, labels_N, 1.0),
        "calibrated_nats": nats(scores_NC, labels_N, temperature),
    }


def import_encoder(source: ModelSource, out: Path, progress: Progress) -> dict[str, Any]:
    """Writes the artifact folder `out` from any encoder.

    Args:
        source: what `resolve_encoder` found
        out: the folder
        progress: where it reports

    Returns:
        EncoderFacts as a record.

    Raises:
        ModelError: the weights do not fit their config
    """
    with progress.bar(f"reading {source.name}", 1) as advance:
        encoder = Encoder.from_checkpoint(folder_of(source))
        encoder.save(out)
        advance(1, "written")
    return facts_of(encoder, out) | {"name": encoder_origin(source).name}


def with_cut_texts(task: Task, folder: Path) -> Task:
    """The task with a finding where texts are too long for the encoder in `folder`, whose end it does not read."""
    words = words_of(folder)
    texts = [text_of(e) for e in (*task.train, *task.validation, *task.test)]
    may_be = [text for text in texts if len(text) > words.positions - 2]  # a token has a character or more
    long = [n for n in words.lengths(may_be) if n > words.positions]
    if not long:
        return task
    finding = (
        f"{len(long):,} of {len(texts):,} texts are longer than the {words.positions:,} tokens that this encoder reads "
        f"(the longest has {max(long):,}): they lose their end; if what decides stands there, put it at the beginning "
        "or shorten them"
    )
    return replace(task, findings=(*task.findings, finding))


def words_of(folder: Path) -> WordPiece:
    """The tokenizer of an artifact of the kind "encoder"."""
    spec = spec_of(read_json(folder / "config.json"), str(folder / "config.json"))
    return WordPiece(read_wordpiece(folder / TOKENIZER), spec.positions)


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
