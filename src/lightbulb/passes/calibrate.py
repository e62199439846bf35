"""calibrate: what a file's probabilities mean, by validation, and below which it gives none of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, model_validator
from scipy.special import softmax

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.errors import RecipeError, RunFailure
from lightbulb.core.facts_of_kinds import CalibrationFacts
from lightbulb.formats.gguf.keys import with_keys
from lightbulb.models.abstention import NONE, NONE_KEY, TEMPERATURE_KEY, THRESHOLD_KEY
from lightbulb.models.form import turns_of
from lightbulb.ops.abstaining import Sureness, threshold_for_coverage, threshold_for_precision
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
    answered, where the task has a label for them.

    Attributes:
        precision: of the answers that are given the share that must be right
        coverage: instead of it, of the questions that have an answer the share that must get one
        limit: how many validation items are looked at; None: all
        runtime: that tells the probabilities
    """

    name: ClassVar[str] = "calibrate"
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
        room = longest_exchange(task, [*examples, *outside])
        runtime = open_gguf(source.gguf, self.runtime, threads=context.threads, context=room)
        try:
            asked = self._language_model if is_language_model(source.gguf) else self._classifier
            with context.progress.working("calibrating"):
                sure, keys, facts = asked(runtime, task, examples, outside, share)
        finally:
            runtime.close()
        if (threshold := self._threshold(sure)) is not None:
            none = task.outside.label if task.outside else NONE
            keys |= {THRESHOLD_KEY: threshold, NONE_KEY: none}
            facts["abstention"] = abstention_facts(sure, threshold).model_dump(mode="json")
        with_keys(source.gguf, out / "model.gguf", keys)
        return {**source.facts, "bytes": (out / "model.gguf").stat().st_size, **facts}

    def _threshold(self, sure: Sureness) -> float | None:
        if self.precision is not None:
            return threshold_for_precision(sure, self.precision)
        return None if self.coverage is None else threshold_for_coverage(sure, self.coverage)

    def _classifier(
        self, runtime: Runtime, task: Task, examples: Sequence[Example], outside: Sequence[Example], share: float
    ) -> tuple[Sureness, dict[str, float | str], dict[str, Any]]:
        """Its own probabilities."""
        made = runtime.answer([runtime.render(turns_of(e)) for e in (*examples, *outside)], task.answers)
        if made.probabilities is None:
            raise RunFailure("the runtime tells no probabilities", where=str(runtime.info.name))
        n = len(examples)
        sure = sureness_of(examples, made.texts[:n], made.probabilities[:n], made.probabilities[n:], share)
        return sure, {}, {}

    def _language_model(
        self, runtime: Runtime, task: Task, examples: Sequence[Example], outside: Sequence[Example], share: float
    ) -> tuple[Sureness, dict[str, float | str], dict[str, Any]]:
        """The likelihoods of its answers' tokens, at the temperature at which the right ones are likeliest."""
        scores = runtime.score_answers([runtime.render(turns_of(e)) for e in (*examples, *outside)], task.answers)
        n, labels = len(examples), np.array([task.answers.index(e.completion) for e in examples])
        temperature = temperature_of(scores[:n], labels)
        confidence = softmax(scores / temperature, axis=1).max(axis=1)
        texts = [task.answers[i] for i in scores[:n].argmax(axis=1)]
        facts = {
            "calibration": temperature,
            "nats_before": nats(scores[:n], labels, 1.0),
            "nats_after": nats(scores[:n], labels, temperature),
        }
        sureness = sureness_of(examples, texts, confidence[:n], confidence[n:], share)
        return sureness, {TEMPERATURE_KEY: temperature}, facts
