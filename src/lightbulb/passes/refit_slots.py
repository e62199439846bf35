"""refit-slots: what was chosen on held-out items, fitted anew on all that is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.facts_of_kinds import SlotFacts
from lightbulb.models.kinds.slot_file import read_slots, write_slots
from lightbulb.passes.base import Context, Pass
from lightbulb.passes.fit_slots import FEWEST, MOST, facts_of
from lightbulb.train.slots import Learner


class RefitSlots(Pass):
    """The strength of the penalty and the probabilities of the source, with fields, options and weights that are learnt
    from the train and validation splits together. Its facts are those of the source, but for what is in the file: a
    score on validation would now be of items that it has seen.

    Attributes:
        fewest, most: as of `fit-slots`
    """

    name: ClassVar[str] = "refit-slots"
    facts_type: ClassVar = SlotFacts
    reads: ClassVar[tuple[ArtifactKind, ...]] = ("gguf",)
    makes: ClassVar[ArtifactKind] = "gguf"

    fewest: int = Field(default=FEWEST, ge=1)
    most: int = Field(default=MOST, ge=1)

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        chosen, before = source.facts_as(SlotFacts), read_slots(source.gguf)
        examples = [*context.task.train, *context.task.validation]
        with context.progress.bar("fitting slots", 1) as advance:
            learner = Learner(examples, self.fewest, self.most, context.seed)
            fitted = learner.fit(chosen.c)
            advance(1, f"{len(examples):,} examples")
        slope = before.slope * fitted.slope / chosen.step  # of margins in the steps of these weights
        path = out / "model.gguf"
        write_slots(replace(fitted, slope=slope, offset=before.offset), path)
        return facts_of(read_slots(path)) | {
            "bytes": path.stat().st_size,
            "looked_at": learner.looked_at,
            "score": chosen.score,
            "c": chosen.c,
            "step": fitted.slope,
            "saw_validation": True,
        }
