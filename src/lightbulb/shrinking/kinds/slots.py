"""Answers filled in: JSON objects whose values stand in the text or in a closed list, without a language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from lightbulb.passes.evaluate import Evaluate
from lightbulb.passes.fit_slots import FitSlots
from lightbulb.passes.refit_slots import RefitSlots
from lightbulb.passes.verify_slots import VerifySlots
from lightbulb.pipeline.recipe import START, Step, step
from lightbulb.runtimes import SLOTS, runtime_class
from lightbulb.shrinking.candidate import Candidate
from lightbulb.shrinking.kinds.base import After, Setting, StudentKind, learns_from_validation

# Seen on a Zen 4: fitting, choosing and checking take some seconds, and about these for each character
SECONDS, SECONDS_PER_CHARACTER = 10.0, 9e-5


class SlotFilling(StudentKind):
    """Fields chosen by n-grams, values copied by tags. Writing tasks only, where filament is there to run the file.
    What is chosen on validation, and the score there, are of a file that never saw that split; the one that is handed
    out is learnt from it, too."""

    name: ClassVar[str] = "slots"
    after: ClassVar[After] = "model"

    def candidates(self, setting: Setting) -> Sequence[Candidate]:
        if setting.task.kind != "generate" or not runtime_class(SLOTS).installed() or self.why_not(setting):
            return []
        return [Candidate(kind=self.name, method="plain")]

    def why_not(self, setting: Setting) -> str | None:
        from lightbulb.train.slots import why_not

        return why_not(setting.task.train) if setting.task.kind == "generate" else None

    def refits(self, candidate: Candidate, setting: Setting) -> bool:
        """Where that split's answers can be filled in, too."""
        from lightbulb.train.slots import why_not

        every = (*setting.task.train, *setting.task.validation)
        return learns_from_validation(setting) and why_not(every) is None

    def steps(self, candidate: Candidate, setting: Setting) -> list[Step]:
        file, deciding = candidate.file_label, self.deciding(candidate, setting)
        return [
            step(deciding, FitSlots(), START),
            *([step(file, RefitSlots(), deciding)] if deciding != file else []),
            step(candidate.verify_label, VerifySlots(), file),
            step(f"{file}-validation", Evaluate(split="validation", runtime=SLOTS), deciding),
        ]

    def seconds(self, candidate: Candidate, setting: Setting) -> float:
        return SECONDS + SECONDS_PER_CHARACTER * sum(len(e.prompt) for e in setting.task.train)
