"""refit-head: a head that was chosen on held-out items, fitted anew on all that is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.errors import RecipeError
from lightbulb.core.facts_of_kinds import LabelFacts
from lightbulb.passes.base import Context, Pass
from lightbulb.passes.fit_head import Labelled, fitted_head, set_head, vectors_of


class RefitHead(Pass):
    """The encoder of the source, its temperature and the settings of its head's training, with a head that is learnt
    from the train and validation splits together. Its facts are those of the source: a score on validation would now be
    of items that it has seen."""

    name: ClassVar[str] = "refit-head"
    facts_type: ClassVar = LabelFacts
    reads: ClassVar[tuple[ArtifactKind, ...]] = ("encoder",)
    makes: ClassVar[ArtifactKind] = "encoder"

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        """As `Pass.apply`.

        Raises:
            RecipeError: the head of the source is none that `fit-head` made
        """
        from lightbulb.models.kinds.encoder import Encoder
        from lightbulb.passes.classifiers import texts_and_labels
        from lightbulb.passes.encoders import facts_of
        from lightbulb.train.forward import deterministic

        chosen = source.facts_as(LabelFacts)
        if chosen.c is None:
            raise RecipeError(
                "this head was trained with its encoder", where=str(source.path), hint="fit-head makes one"
            )
        splits = [texts_and_labels(context.task, split) for split in ("train", "validation")]
        encoder = Encoder.read(source.path)
        with deterministic(context.seed, context.threads):
            vectors = vectors_of(encoder, [text for texts, _ in splits for text in texts], context)
            known = Labelled(vectors, np.concatenate([labels for _, labels in splits]))
            with context.progress.working("fitting the head"):
                set_head(encoder, fitted_head(known, context, chosen.c, chosen.class_weight))
        encoder.save(out)
        return facts_of(encoder, out, source) | chosen.model_dump() | {"saw_validation": True}
