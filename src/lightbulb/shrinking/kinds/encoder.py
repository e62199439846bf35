"""Encoders: a model that reads the whole text at once, with a head for the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from lightbulb.core.errors import MissingExtra
from lightbulb.models.kinds.encoder_source import resolve_encoder
from lightbulb.passes.export_encoder import ExportEncoder
from lightbulb.passes.fit_head import FitHead
from lightbulb.passes.import_encoder import ImportEncoder
from lightbulb.pipeline.recipe import START, Step, step
from lightbulb.runtimes import runtime_class
from lightbulb.shrinking.candidate import Candidate
from lightbulb.shrinking.kinds.base import After, Setting, StudentKind, file_of
from lightbulb.shrinking.kinds.linear import checked

IMPORTED = "encoder"
# Seen with 22 million weights on two cores of a Zen 3: the head's fit, and embedding, for each character
SECONDS, SECONDS_PER_CHARACTER = 60.0, 1.2e-4


class Encoders(StudentKind):
    """A packaged encoder, or the one that was asked for, kept as it is, with a linear head on its vectors."""

    name: ClassVar[str] = "encoder"
    after: ClassVar[After] = "model"

    def candidates(self, setting: Setting) -> Sequence[Candidate]:
        if setting.task.kind != "choose" or not runtime_class("classifier").installed() or not _there(setting.encoder):
            return []
        return [Candidate(kind=self.name, method="plain", quant_type="q8_0", variant="frozen")]

    def steps(self, candidate: Candidate, setting: Setting) -> list[Step]:
        assert candidate.quant_type is not None
        return [
            step(IMPORTED, ImportEncoder(encoder=setting.encoder), START),
            step(candidate.label, FitHead(), IMPORTED),
            *file_of(candidate, ExportEncoder(quant_type=candidate.quant_type), candidate.label, setting),
            *checked(candidate),
        ]

    def seconds(self, candidate: Candidate, setting: Setting) -> float:
        texts = [*setting.task.train, *setting.task.validation]
        return SECONDS + SECONDS_PER_CHARACTER * sum(len(e.prompt) for e in texts)


def _there(encoder: str) -> bool:
    """Whether a packaged one is installed; one that is named and not there is an error, of which its reader tells."""
    try:
        resolve_encoder(encoder)
    except MissingExtra:
        return False
    return True
