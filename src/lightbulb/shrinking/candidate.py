"""What a search is about: models that could be handed out, trials of them, and what came of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lightbulb.core.figures import Figure
from lightbulb.formats.gguf.quant_types import QuantTypeName

Method = Literal["teacher", "distill", "plain"]
Mixer = Literal["attention", "mlgru"]  # of the layers of a decoder
Fidelity = Literal["probe", "trained", "exported"]
METHODS: tuple[Method, ...] = ("distill", "plain")  # of training a student
DECODER, RECURRENT = "decoder", "recurrent"
TITLES = {"linear": "n-grams", "slots": "slot filling", "encoder": "encoder", "cascade": "cascade"}  # on pages


class Candidate(BaseModel):
    """A model that could be handed out.

    Attributes:
        kind: of model; "decoder" for one that is cut from the source
        layers: how many it keeps; 0 of a kind that has none, or keeps all
        feed_forward: share of the channels of each layer's feed-forward that it keeps
        mixer: of its layers: attention as they have it, or "mlgru", a recurrent one in its place
        method: "distill" from the teacher's logits, "plain" on the examples, or "teacher", the adapted model itself
        quant_type: of the file's layers; None where it is not exported, or where its kind has types of its own
        variant: what tells candidates of another kind apart
        stages: of a cascade, cheapest first
        give_up: likewise, the share of the better stage's score that it may lose
    """

    model_config = ConfigDict(frozen=True)

    kind: str = DECODER
    layers: int = 0
    feed_forward: float = 1.0
    mixer: Mixer = "attention"
    method: Method
    quant_type: QuantTypeName | None = None
    variant: str = ""
    stages: tuple[Candidate, ...] = ()
    give_up: float | None = None

    def in_type(self, quant_type: QuantTypeName) -> Candidate:
        """The same model in a file of this type."""
        return self.model_copy(update={"quant_type": quant_type})

    @property
    def wider(self) -> Candidate:
        """The student that one with less of its feed-forward is cut from, as it was trained."""
        return self.model_copy(update={"feed_forward": 1.0, "quant_type": None})

    @property
    def hands_on(self) -> bool:
        """Whether it is a cascade whose last stage is a language model."""
        return bool(self.stages) and self.stages[-1].kind == DECODER

    @property
    def is_stock(self) -> bool:
        """Whether it is what a user would get without lightbulb: the adapted teacher, quantized."""
        return self.method == "teacher"

    @property
    def label(self) -> str:
        """Of the step that makes its weights, as the file holds them."""
        if self.is_stock:
            return "teacher"
        if self.kind != DECODER:
            return "-".join(part for part in (self.kind, *self._own_label) if part)
        narrow = f"-ff{100 * self.feed_forward:.0f}" if self.feed_forward < 1 else ""
        trained = f"student-{self.layers}{self.mixer_label}{narrow}-{self.method}"
        return trained if self.quant_type in (None, "f16") else f"{trained}-{self.quant_type}"

    @property
    def mixer_label(self) -> str:
        """The part of a label that says which layers it has."""
        return "" if self.mixer == "attention" else f"-{self.mixer}"

    @property
    def _own_label(self) -> list[str]:
        """Of another kind, what tells it apart; q8_0 is so fine that weights are the same with it as without."""
        if self.give_up is not None:
            return [*(s.file_label if s.is_stock else s.label for s in self.stages), f"{self.give_up:g}"]
        fitted = "" if self.quant_type in (None, "q8_0") else str(self.quant_type)
        return [self.variant, str(self.layers or ""), fitted]

    @property
    def file_kind(self) -> str:
        """As records name it: "recurrent" for decoders that only filament runs."""
        return self.kind if self.mixer == "attention" else RECURRENT

    @property
    def file_label(self) -> str:
        """Of the step that exports it."""
        return f"teacher-{self.quant_type}" if self.is_stock else f"{self.label}-gguf"

    @property
    def held_out_file(self) -> str:
        """Of the step that exports it as it was before it learnt from the validation split, where it does."""
        return f"{self.label}-held-out-gguf"

    @property
    def test_label(self) -> str:
        """Of the step that scores its file on test."""
        return f"{self.file_label}-test"

    @property
    def verify_label(self) -> str:
        """Of the step that compares its file with its weights."""
        plain = self.kind == DECODER and self.mixer == "attention"
        return "verify" if plain else f"{self.file_label}-verify"

    @property
    def name(self) -> str:
        """As pages call it."""
        if self.is_stock:
            return f"adapted teacher, {self.quant_type}"
        parts = ["student" if self.kind == DECODER else None, self.size, self.quant_type]
        return ", ".join(part for part in parts if part)

    @property
    def size(self) -> str:
        """What it is, in a few words."""
        title = TITLES.get(self.kind, self.kind)
        if self.give_up is not None:
            *names, last = (s.size if len(self.stages) > 2 else s.in_a_cascade for s in self.stages)
            stages = f"{'; '.join(names)} and {last}"
            return f"{title} of {stages}, {1 - self.give_up:.0%}"
        what = "recurrent layer" if self.mixer == "mlgru" else "layer"
        layers = f"1 {what}" if self.layers == 1 else f"{self.layers} {what}s"
        if self.kind != DECODER:
            return ", ".join(part for part in (title, self.variant, layers if self.layers else "") if part)
        share = Fraction(self.feed_forward).limit_denominator(16)
        return layers if self.feed_forward == 1 else f"{layers}, feed-forward {share}"

    @property
    def in_a_cascade(self) -> str:
        """As one of two stages: the kind says enough of those of which there is one."""
        return self.name if self.kind in (DECODER, "cascade") else TITLES.get(self.kind, self.kind)

    def fewer_layers(self, than: Candidate) -> bool:
        """Whether it is the same kind of model cut to fewer layers, and so cheaper to use."""
        return self.kind == than.kind and 0 < self.layers < (than.layers or math.inf)


@dataclass(frozen=True)
class Trial:
    """A candidate to be evaluated.

    Attributes:
        fidelity: after a short training ("probe"), after the full one, or as a file in the runtime that ships
    """

    candidate: Candidate
    fidelity: Fidelity

    @property
    def name(self) -> str:
        if self.candidate.is_stock:
            return self.candidate.name
        method = self.candidate.method if self.candidate.kind == DECODER else None
        parts = [self.candidate.size, method, self.candidate.quant_type]
        return ", ".join(part for part in (*parts, "probe" if self.fidelity == "probe" else None) if part)


@dataclass
class Outcome:
    """What came of a trial.

    Attributes:
        score: on validation
        cpu_seconds_per_answer: metered there, loading shared out over the answers
        seconds: that the trial took
        why: what was decided after it
    """

    trial: Trial
    score: Figure
    cpu_seconds_per_answer: Figure
    seconds: float
    why: str = ""
    chosen: bool = False


def other_kinds(tried: Sequence[Outcome]) -> tuple[Candidate, ...]:
    """Those of the candidates that are no decoders, and no stock files."""
    found = (o.trial.candidate for o in tried)
    return tuple(c for c in found if c.kind != DECODER and not c.is_stock)


@dataclass(frozen=True)
class Choice:
    """What a search came to.

    Attributes:
        candidate: what is likely to be handed out; None where nothing held, or there is no student, and `why`
        tried: all trials, in their order
        files: those to be measured and tested: of the decoders the best, and the best with other mixers where there is
            one; of other kinds all
        why: there is no student
        missed: what there was no time for, in sentences
    """

    candidate: Candidate | None
    tried: tuple[Outcome, ...] = ()
    files: tuple[Candidate, ...] = ()
    why: str = ""
    missed: tuple[str, ...] = ()
