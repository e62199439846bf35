"""A linear model over n-grams: what a good engineer tries first, and often all that is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from lightbulb.passes.evaluate import Evaluate
from lightbulb.passes.export_ngrams import ExportNgrams
from lightbulb.passes.fit_ngrams import FitNgrams
from lightbulb.passes.refit_ngrams import RefitNgrams
from lightbulb.passes.verify_classifier import VerifyClassifier
from lightbulb.pipeline.recipe import START, Step, step
from lightbulb.runtimes import runtime_class
from lightbulb.shrinking.candidate import Candidate
from lightbulb.shrinking.kinds.base import After, Setting, StudentKind, file_of, learns_from_validation

# Seen on a Zen 3: fitting, leaving out and checking take some seconds, and about these for each character
SECONDS, SECONDS_PER_CHARACTER = 10.0, 4e-5


class Linear(StudentKind):
    """Hashed n-grams, one row of integers each. Closed sets only, where filament is there to run the file. What is
    chosen on validation, and its score there, are of a model that never saw that split; then the file is learnt from
    it, too."""

    name: ClassVar[str] = "linear"
    after: ClassVar[After] = "model"

    def candidates(self, setting: Setting) -> Sequence[Candidate]:
        if setting.task.kind != "choose" or not runtime_class("classifier").installed():
            return []
        return [Candidate(kind=self.name, method="plain")]

    def refits(self, candidate: Candidate, setting: Setting) -> bool:
        return learns_from_validation(setting)

    def steps(self, candidate: Candidate, setting: Setting) -> list[Step]:
        if not self.refits(candidate, setting):
            fit = step(candidate.label, FitNgrams(), START)
            return [fit, *file_of(candidate, ExportNgrams(), candidate.label, setting), *checked(candidate)]
        return [
            step("linear-held-out", FitNgrams(), START),
            step(candidate.held_out_file, ExportNgrams(), "linear-held-out"),
            step(candidate.label, RefitNgrams(), "linear-held-out"),
            step(candidate.file_label, ExportNgrams(), candidate.label),
            verify(candidate),
            on_validation(candidate, candidate.held_out_file),
        ]

    def seconds(self, candidate: Candidate, setting: Setting) -> float:
        return SECONDS + SECONDS_PER_CHARACTER * sum(len(e.prompt) for e in setting.task.train)


def checked(candidate: Candidate) -> list[Step]:
    """Whether its file answers as its weights do, and what it scores on validation."""
    return [verify(candidate), on_validation(candidate)]


def verify(candidate: Candidate) -> Step:
    """Whether its file answers as its weights do."""
    return step(candidate.verify_label, VerifyClassifier(), candidate.file_label, model=candidate.label)


def on_validation(candidate: Candidate, file: str | None = None) -> Step:
    """The score of its file, or of the one with another label in its place."""
    passed = Evaluate(split="validation", runtime="classifier")
    return step(f"{candidate.file_label}-validation", passed, file or candidate.file_label)
