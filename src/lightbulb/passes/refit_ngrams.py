"""refit-ngrams: what was chosen on held-out items, fitted anew on all that is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.facts_of_kinds import NgramFacts
from lightbulb.models.kinds.features import counts_of
from lightbulb.models.kinds.ngram_model import WEIGHTS, NgramModel, times_of
from lightbulb.passes.base import Context, Pass
from lightbulb.passes.classifiers import texts_and_labels
from lightbulb.train.linear import Corpus, fit_svm


class RefitNgrams(Pass):
    """The n-grams, strength of the penalty, shift and temperature of the source, with weights that are learnt from
    the train and validation splits together. Its facts are those of the source: a score on validation would now be of
    items that it has seen."""

    name: ClassVar[str] = "refit-ngrams"
    facts_type: ClassVar = NgramFacts
    reads: ClassVar[tuple[ArtifactKind, ...]] = ("ngrams",)
    makes: ClassVar[ArtifactKind] = "ngrams"

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        chosen, model = source.facts_as(NgramFacts), NgramModel.read(source.path)
        corpus = corpus_of(model, context)
        with context.progress.bar("fitting n-grams", 1) as advance:
            fitted = fit_svm(corpus.vectors(), corpus.labels, corpus.answers, chosen.c, context.seed)
            advance(1, f"{len(corpus.labels):,} texts")
        rows = (fitted.weights * model.idf[:, None]).astype(np.float32)
        bias = (fitted.bias + (chosen.shift or 0.0)).astype(np.float32)
        made = replace(model, rows=rows, bias=bias).divided(chosen.temperature)
        made.save(out)
        return chosen.model_dump() | {"bytes": (out / WEIGHTS).stat().st_size, "saw_validation": True}


def corpus_of(model: NgramModel, context: Context) -> Corpus:
    """Train and validation by the n-grams of `model`."""
    splits = [texts_and_labels(context.task, split) for split in ("train", "validation")]
    times = [times_of(counts_of(texts, model.ngrams, model.hashes)) for texts, _ in splits]
    labels = np.concatenate([labels for _, labels in splits])
    return Corpus(sp.csr_matrix(sp.vstack(times)), labels, model.hashes, model.idf, len(model.labels))
