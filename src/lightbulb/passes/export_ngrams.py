"""export-ngrams: a classifier by n-grams as one GGUF file of small integers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.facts_of_kinds import NgramFacts, NgramFileFacts
from lightbulb.models.kinds.ngram_model import NgramModel
from lightbulb.models.kinds.ngrams import ARCHITECTURE, NgramFile
from lightbulb.ops.calibration import calibration_error
from lightbulb.passes.base import Context, Pass
from lightbulb.passes.classifiers import texts_and_labels


class ExportNgrams(Pass):
    """Writes `model.gguf` (docs/format.md): rows rounded to 8 bits with a scale each, answers, and the temperature of
    the source in `ngrams.unit`."""

    name: ClassVar[str] = "export-ngrams"
    facts_type: ClassVar = NgramFileFacts
    reads: ClassVar[tuple[ArtifactKind, ...]] = ("ngrams",)
    makes: ClassVar[ArtifactKind] = "gguf"

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        texts, labels = texts_and_labels(context.task, "validation")
        unseen = bool(texts) and not source.facts_as(NgramFacts).saw_validation
        path = out / "model.gguf"
        with context.progress.bar("export", 1) as step:
            NgramModel.read(source.path).rounded().write(path)
            file = NgramFile.read(path)
            error = calibration_error_of(file, texts, labels) if unseen else None
            step(1, "written")
        return facts_of(file) | {"bytes": path.stat().st_size, "calibration_error": error}


def calibration_error_of(file: NgramFile, texts: list[str], labels: np.ndarray) -> float:
    """Of the probabilities that the file gives the answers of `texts`."""
    return calibration_error(np.log(np.maximum(file.probabilities(texts), 1e-300)), labels)


def facts_of(file: NgramFile) -> dict[str, Any]:
    """What NgramFileFacts says, but for the bytes. bits_per_weight: with hashes, idf and scales."""
    tensors = file.tensors().values()
    stored = [name for name, _ in tensors]
    return {
        "architecture": ARCHITECTURE,
        "rows": len(file.hashes),
        "parameters": file.parameters,
        "bits_per_weight": 8 * sum(values.nbytes for _, values in tensors) / file.parameters,
        "quantization": {name: stored.count(name) for name in sorted(set(stored))},
        "fallbacks": [],
        "unchanged": False,
        "context_length": None,
    }
