"""calibrate: what a file's probabilities mean, by validation, and below which it gives none of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, NamedTuple

import numpy as np
from pydantic import Field, model_validator
from scipy.special import softmax

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.errors import RecipeError, RunFailure
from lightbulb.core.facts_of_kinds import CalibrationFacts, CascadeFacts
from lightbulb.formats.gguf.header import read_architecture
from lightbulb.formats.gguf.keys import Value, with_keys
from lightbulb.models.abstention import NONE, NONE_KEY, TEMPERATURE_KEY, THRESHOLD_KEY
from lightbulb.models.form import turns_of
from lightbulb.models.kinds.cascade import ARCHITECTURE as CASCADE
from lightbulb.models.kinds.cascade import THRESHOLDS_KEY, stages_of
from lightbulb.ops.abstaining import Stages, Sureness, threshold_for_coverage, threshold_for_precision
from lightbulb.ops.calibration import nats, temperature_of
from lightbulb.passes.abstaining import abstention_facts, sureness_of
from lightbulb.passes.base import Context, Pass
from lightbulb.runtimes import is_language_model, open_gguf
from lightbulb.runtimes.answering import longest_exchange
from lightbulb.runtimes.base import Runtime
from lightbulb.tasks.task import Example, Task


class Calibrate(Pass):
    """Writes the file once more, with keys of docs/format.md: the temperature of a language model's answers (other
    kinds have theirs from when they were made), and, where a precision or a coverage is asked for, the least
    probability of an answer that is given.

    Of thresholds, the lowest at which the precision surely holds is taken, or the highest at which the coverage does:
    by the low end of the 95% interval on validation. Questions that none of the answers fits are among what is
    answered, where the task has a label for them. The stages of a cascade hand on what they would leave out: their
    thresholds are raised to that, and only the last leaves out.

    Attributes:
        precision: of the answers that are given the share that must be right
        coverage: instead of it, of the questions that have an answer the share that must get one
        limit: how many validation items are looked at; None: all
        runtime: that tells the probabilities
    """

    name: ClassVar[str] = "calibrate"
    version: ClassVar[int] = 2
    facts_type: ClassVar = CalibrationFacts
    reads: ClassVar[tuple[ArtifactKind, ...]] = ("gguf",)
    makes: ClassVar[ArtifactKind] = "gguf"
    needs: ClassVar[tuple[str, ...]] = ("closed_set",)

    precision: float | None = Field(default=None, gt=0, lt=1)
    coverage: float | None = Field(default=None, gt=0, lt=1)
    limit: int | None = Field(default=None, ge=1)
    runtime: str = "llamacpp"

    @model_validator(mode="after")
    def _one_is_asked(self) -> Calibrate:
        if self.precision is not None and self.coverage is not None:
            raise ValueError("a threshold holds a precision or a coverage, not both")
        return self

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        """As `Pass.apply`.

        Raises:
            RecipeError: the task does not choose
            RunFailure: the runtime tells no probabilities
        """
        task = context.task
        if task.kind != "choose":
            raise RecipeError(f"only what chooses is calibrated, and this task is of the kind {task.kind}")
        examples = task.split("validation" if task.validation else "train", self.limit)
        outside, share = task.outside.split("validation") if task.outside else ((), 0.0)
        asked = Asked(task, examples, outside, share)
        with context.progress.working("calibrating"):
            if read_architecture(source.gguf) == CASCADE:
                found = self._cascade(source, asked, context)
            else:
                found = self._alone(source, asked, context)
        keys, facts = dict(found.keys), dict(found.facts)
        if found.threshold is not None:
            none = task.outside.label if task.outside else NONE
            keys |= {THRESHOLD_KEY: found.threshold, NONE_KEY: none}
            facts["abstention"] = abstention_facts(found.sure, found.threshold).model_dump(mode="json")
        with_keys(source.gguf, out / "model.gguf", keys)
        return {**source.facts, "bytes": (out / "model.gguf").stat().st_size, **facts}

    def _alone(self, source: Artifact, asked: Asked, context: Context) -> Found:
        """Of a file that answers by itself."""
        runtime = self._opened(source.gguf, asked, context)
        try:
            if is_language_model(source.gguf):
                sure, keys, facts = _language_model(runtime, asked)
            else:
                sure, keys, facts = asked.sureness(*_answers(runtime, asked)), {}, {}
        finally:
            runtime.close()
        return Found(sure, self._threshold(sure), keys, facts)

    def _cascade(self, source: Artifact, asked: Asked, context: Context) -> Found:
        """Of a cascade, each stage of which is asked every question."""
        sure = []
        with TemporaryDirectory() as folder:
            for file in stages_of(source.gguf, Path(folder)):
                runtime = self._opened(file, asked, context)
                try:
                    sure.append(asked.sureness(*_answers(runtime, asked)))
                finally:
                    runtime.close()
        own = tuple(source.facts_as(CascadeFacts).thresholds)
        inside_SN, right_SN = np.stack([s.inside_N for s in sure]), np.stack([s.right_N for s in sure])
        stages = Stages(inside_SN, right_SN, np.stack([s.outside_M for s in sure]), own, asked.share)
        threshold = self._threshold(stages)
        least = threshold or 0.0
        facts = {"thresholds": stages.raised(least), "shares": stages.shares(least)}
        return Found(stages.at(least), threshold, {THRESHOLDS_KEY: stages.raised(least)}, facts)

    def _threshold(self, sure: Sureness | Stages) -> float | None:
        if self.precision is not None:
            return threshold_for_precision(sure, self.precision)
        return None if self.coverage is None else threshold_for_coverage(sure, self.coverage)

    def _opened(self, path: Path, asked: Asked, context: Context) -> Runtime:
        room = longest_exchange(asked.task, [*asked.examples, *asked.outside])
        return open_gguf(path, self.runtime, threads=context.threads, context=room)


@dataclass(frozen=True)
class Asked:
    """The questions by which is chosen: those that have an answer, and those that none fits, which stand for `share` of
    all."""

    task: Task
    examples: Sequence[Example]
    outside: Sequence[Example]
    share: float

    def prompts(self, runtime: Runtime) -> list[str]:
        """Of both, as a file reads them."""
        return [runtime.render(turns_of(e)) for e in (*self.examples, *self.outside)]

    def sureness(self, texts: Sequence[str], probabilities: Sequence[float]) -> Sureness:
        """Of answers to both, in order."""
        n = len(self.examples)
        return sureness_of(self.examples, texts[:n], probabilities[:n], probabilities[n:], self.share)


class Found(NamedTuple):
    """How sure a file is, the least probability of an answer that is given, and what else its keys and facts say."""

    sure: Sureness
    threshold: float | None
    keys: dict[str, Value]
    facts: dict[str, Any]


def _answers(runtime: Runtime, asked: Asked) -> tuple[Sequence[str], Sequence[float]]:
    """A classifier's answers, and its own probabilities."""
    made = runtime.answer(asked.prompts(runtime), asked.task.answers)
    if made.probabilities is None:
        raise RunFailure("the runtime tells no probabilities", where=str(runtime.info.name))
    return made.texts, made.probabilities


def _language_model(runtime: Runtime, asked: Asked) -> tuple[Sureness, dict[str, Value], dict[str, Any]]:
    """The likelihoods of its answers' tokens, at the temperature at which the right ones are likeliest."""
    answers = asked.task.answers
    scores = runtime.score_answers(asked.prompts(runtime), answers)
    n, labels = len(asked.examples), np.array([answers.index(e.completion) for e in asked.examples])
    temperature = temperature_of(scores[:n], labels)
    confidence = softmax(scores / temperature, axis=1).max(axis=1)
    facts = {
        "calibration": temperature,
        "nats_before": nats(scores[:n], labels, 1.0),
        "nats_after": nats(scores[:n], labels, temperature),
    }
    sure = asked.sureness([answers[i] for i in scores.argmax(axis=1)], confidence)
    return sure, {TEMPERATURE_KEY: temperature}, facts
