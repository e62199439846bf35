"""A linear model over n-grams: what a good engineer tries first, and often all that is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from lightbulb.passes.evaluate import Evaluate
from lightbulb.passes.export_ngrams import ExportNgrams
from lightbulb.passes.fit_ngrams import FitNgrams
from lightbulb.passes.verify_classifier import VerifyClassifier
from lightbulb.pipeline.recipe import START, Step, step
from lightbulb.runtimes import runtime_class
from lightbulb.shrinking.candidate import Candidate
from lightbulb.shrinking.kinds.base import After, Setting, StudentKind, file_of

# Seen on a Zen 3: fitting, leaving out and checking take some seconds, and about these for each character
SECONDS, SECONDS_PER_CHARACTER = 10.0, 4e-5


class Linear(StudentKind):
    """Hashed n-grams, one row of integers each. Closed sets only, where filament is there to run the file."""

    name: ClassVar[str] = "linear"
    after: ClassVar[After] = "model"

    def candidates(self, setting: Setting) -> Sequence[Candidate]:
        if setting.task.kind != "choose" or not runtime_class("classifier").installed():
            return []
        return [Candidate(kind=self.name, method="plain")]

    def steps(self, candidate: Candidate, setting: Setting) -> list[Step]:
        return [
            step(candidate.label, FitNgrams(), START),
            *file_of(candidate, ExportNgrams(), candidate.label, setting),
            *checked(candidate),
        ]

    def seconds(self, candidate: Candidate, setting: Setting) -> float:
        return SECONDS + SECONDS_PER_CHARACTER * sum(len(e.prompt) for e in setting.task.train)


def checked(candidate: Candidate) -> list[Step]:
    """Whether its file answers as its weights do, and what it scores on validation."""
    verify = step(candidate.verify_label, VerifyClassifier(), candidate.file_label, model=candidate.label)
    return [verify, on_validation(candidate)]


def on_validation(candidate: Candidate) -> Step:
    """The score of its file."""
    file = candidate.file_label
    return step(f"{file}-validation", Evaluate(split="validation", runtime="classifier"), file)
