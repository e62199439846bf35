"""What a search is about: models that could be handed out, trials of them, and what came of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lightbulb.core.figures import Figure
from lightbulb.formats.gguf.quant_types import QuantTypeName

Method = Literal["teacher", "distill", "plain"]
Fidelity = Literal["probe", "trained", "exported"]
METHODS: tuple[Method, ...] = ("distill", "plain")  # of training a student


class Candidate(BaseModel):
    """A model that could be handed out.

    kind: of model; "decoder" for one that is cut from the source. layers: how many it keeps. method: "distill" from the
    teacher's logits, "plain" on the examples, or "teacher", the adapted model itself. quant_type: of the file's layers;
    None where it is not exported. variant: what tells candidates of another kind apart.
    """

    model_config = ConfigDict(frozen=True)

    kind: str = "decoder"
    layers: int = 0
    method: Method
    quant_type: QuantTypeName | None = None
    variant: str = ""

    def in_type(self, quant_type: QuantTypeName) -> Candidate:
        """The same model in a file of this type."""
        return self.model_copy(update={"quant_type": quant_type})

    @property
    def is_stock(self) -> bool:
        """Whether it is what a user would get without lightbulb: the adapted teacher, quantized."""
        return self.method == "teacher"

    @property
    def label(self) -> str:
        """Of the step that makes its weights, as the file holds them."""
        if self.is_stock:
            return "teacher"
        if self.kind != "decoder":
            return "-".join(part for part in (self.kind, self.variant) if part)
        trained = f"student-{self.layers}-{self.method}"
        return trained if self.quant_type in (None, "f16") else f"{trained}-{self.quant_type}"

    @property
    def file_label(self) -> str:
        """Of the step that exports it."""
        return f"teacher-{self.quant_type}" if self.is_stock else f"{self.label}-gguf"

    @property
    def test_label(self) -> str:
        """Of the step that scores its file on test."""
        return f"{self.file_label}-test"

    @property
    def name(self) -> str:
        """As pages call it."""
        return f"adapted teacher, {self.quant_type}" if self.is_stock else f"student, {self.size}, {self.quant_type}"

    @property
    def size(self) -> str:
        """What it is, in a few words."""
        if self.kind != "decoder":
            return " ".join(part for part in (self.kind, self.variant) if part)
        return "1 layer" if self.layers == 1 else f"{self.layers} layers"


@dataclass(frozen=True)
class Trial:
    """A candidate to be evaluated. fidelity: after a short training ("probe"), after the full one, or as a file in the
    runtime that ships."""

    candidate: Candidate
    fidelity: Fidelity

    @property
    def name(self) -> str:
        parts = [self.candidate.size, self.candidate.method, self.candidate.quant_type]
        return ", ".join(part for part in (*parts, "probe" if self.fidelity == "probe" else None) if part)


@dataclass
class Outcome:
    """What came of a trial: the score on validation, the metered cost of an answer there (CPU seconds, loading shared
    out over the answers), the seconds that the trial took, and what was decided after it."""

    trial: Trial
    score: Figure
    cpu_seconds_per_answer: Figure
    seconds: float
    why: str = ""
    chosen: bool = False


@dataclass(frozen=True)
class Choice:
    """What a search came to. candidate: None where no student could be trained in the time, and `why`."""

    candidate: Candidate | None
    tried: tuple[Outcome, ...] = ()
    why: str = ""
