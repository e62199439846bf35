"""verify-slots: does a file of slots, in the runtime that ships, answer as the reference does?"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.errors import RunFailure
from lightbulb.core.facts_of_kinds import ClassifierAgreementFacts
from lightbulb.models.form import turns_of
from lightbulb.models.kinds.base import text_of
from lightbulb.models.kinds.slot_file import read_slots
from lightbulb.passes.base import Context, Pass
from lightbulb.runtimes import SLOTS, open_gguf
from lightbulb.runtimes.answering import longest_answer


class VerifySlots(Pass):
    """Compares the answers of a file in filament with those of its arithmetic in Python, on prompts of the validation
    split, of train where there is none. All is whole numbers, so they are the same.

    Attributes:
        prompts: how many are compared
    """

    name: ClassVar[str] = "verify-slots"
    facts_type: ClassVar = ClassifierAgreementFacts
    reads: ClassVar[tuple[ArtifactKind, ...]] = ("gguf",)
    makes: ClassVar[ArtifactKind] = "figures"

    prompts: int = Field(default=1024, ge=1)

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        """As `Pass.apply`.

        Raises:
            RunFailure: an answer differs
        """
        task = context.task
        examples = task.split("validation" if task.validation else "train", self.prompts)
        with context.progress.bar("verify", 2) as advance:
            file = read_slots(source.gguf)
            filled = file.fill([text_of(e) for e in examples])
            advance(1, "reference")
            shipped = open_gguf(source.gguf, SLOTS, threads=context.threads)
            try:
                given = shipped.generate([shipped.render(turns_of(e)) for e in examples], longest_answer(task))
            finally:
                shipped.close()
            advance(2, "file")
        differing = [i for i, (f, text) in enumerate(zip(filled, given.texts, strict=True)) if f.text != text]
        if differing:
            raise RunFailure(
                f"{len(differing):,} of {len(examples):,} answers are not those of the reference, the first of "
                f"them to {examples[differing[0]].prompt!r}",
                where=str(source.gguf),
                hint="a defect of the runtime: report it with the file",
            )
        assert given.probabilities is not None
        ours, theirs = (np.log(np.maximum(p, 1e-30)) for p in (file.probabilities(filled), given.probabilities))
        apart = np.abs(ours - theirs)
        return {
            "prompts": len(examples),
            "same_answer": 1.0,
            "mean_log_prob_difference": float(apart.mean()),
            "max_log_prob_difference": float(apart.max()),
        }
