"""fit-ngrams: a linear classifier over the n-grams of the train split, with no more of them than it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.errors import TaskError
from lightbulb.core.facts_of_kinds import NgramFacts
from lightbulb.models.kinds.features import LONGEST, Ngrams
from lightbulb.models.kinds.ngram_model import WEIGHTS, NgramModel
from lightbulb.ops.calibration import calibration_error, nats, temperature_of
from lightbulb.passes.base import Context, Pass
from lightbulb.passes.classifiers import error_of, texts_and_labels, value_of
from lightbulb.tasks.metrics import MACRO_F1
from lightbulb.tasks.task import Task
from lightbulb.train.linear import Corpus, Fitted, HeldOut, corpora, fit_svm, importance

Advance = Callable[[float, str], None]  # of a progress bar


class FitNgrams(Pass):
    """A linear support vector machine for each answer, over counts of n-grams weighted by TF-IDF; its logits calibrated
    by one temperature. The source is not looked at: all is learnt from the train split.

    Choices are made by the task's metric on the validation split, or, where that has few items, on folds of train.
    Where every answer counts alike (macro-f1), whether answers are weighted by their rareness is chosen, too.

    Attributes:
        words: shortest and longest n-gram of words; (0, 0) for none
        chars: likewise, of characters
        fewest_texts: of train, that an n-gram must come in
        most: n-grams that are looked at, those in most texts
        words_weight: of words against characters
        cs: inverse strengths of the penalty to choose from
        within: of a standard error of the score on the validation split, that leaving out n-grams may cost; 0 keeps
            all, and so do folds, whose few texts show too little of what others say
        shares: of n-grams that are kept, tried in this order until one costs more
    """

    name: ClassVar[str] = "fit-ngrams"
    facts_type: ClassVar = NgramFacts
    reads: ClassVar[tuple[ArtifactKind, ...]] = ("model", "encoder", "task")
    makes: ClassVar[ArtifactKind] = "ngrams"

    words: tuple[int, int] = (1, 2)
    chars: tuple[int, int] = (2, 5)
    fewest_texts: int = Field(default=2, ge=1)
    most: int = Field(default=200_000, ge=1)
    words_weight: float = Field(default=1.5, gt=0)
    cs: tuple[float, ...] = Field(default=(1.0, 3.0), min_length=1)
    within: float = Field(default=0.2, ge=0)
    shares: tuple[float, ...] = (0.5, 0.25, 0.125)

    @model_validator(mode="after")
    def _check(self) -> FitNgrams:
        for least, longest in (self.words, self.chars):
            if (least, longest) != (0, 0) and not 1 <= least <= longest <= LONGEST:
                raise ValueError(f"n-grams are from 1 to {LONGEST} long, not {least} to {longest}")
        if self.words == self.chars == (0, 0):
            raise ValueError("there are n-grams of words, of characters, or of both")
        return self

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        held_out = self._held_out(context.task)
        with context.progress.bar("fitting n-grams", len(self._settings(context.task)) + len(self.shares)) as advance:
            whole = self._choose(held_out, context, advance)
            error = error_of(context.task, whole.logits, held_out.labels)
            kept = self._leave_out(whole, self.within * error, context, advance)
        model, facts = calibrated(kept.model(context.task.answers, self._ngrams), kept.logits, held_out.labels)
        model.save(out)
        return facts | {
            "answer_ids": None,
            "parameters": model.parameters,
            "bytes": (out / WEIGHTS).stat().st_size,
            "rows": len(model.hashes),
            "looked_at": len(held_out.train.hashes),
            "held_out": "folds" if held_out.by_folds else "validation",
            "score": kept.value,
            "whole_score": whole.value,
            "score_error": error,
            "c": kept.c,
            "class_weight": "balanced" if kept.balanced else None,
        }

    @property
    def _ngrams(self) -> Ngrams:
        return Ngrams(self.words, self.chars)

    def _settings(self, task: Task) -> list[tuple[float, bool]]:
        """(C, whether answers are weighted), in the order in which they are tried."""
        return [(c, balanced) for balanced in ((False, True) if task.metric == MACRO_F1 else (False,)) for c in self.cs]

    def _held_out(self, task: Task) -> HeldOut:
        """Raises RecipeError unless the task chooses, TaskError where no n-gram comes often enough."""
        train, validation = texts_and_labels(task, "train"), texts_and_labels(task, "validation")
        answers, fewest = len(task.answers), self.fewest_texts
        found = corpora(train, validation, answers, self._ngrams, fewest, self.words_weight, self.most)
        if not len(found[0].hashes):
            raise TaskError(
                f"no n-gram comes in {fewest} of the {len(train[0])} texts of train",
                where=task.source or None,
                hint="give more examples with words in common",
            )
        return HeldOut(*found)

    def _choose(self, held_out: HeldOut, context: Context, advance: Advance) -> Trial:
        """The first of the best settings with all n-grams."""
        trials: list[Trial] = []
        for c, balanced in self._settings(context.task):
            trials.append(Trial.of(held_out, c, balanced, context))
            advance(len(trials), f"C {c:g}: {trials[-1].value:.3f}")
        return max(trials, key=lambda t: t.value)

    def _leave_out(self, whole: Trial, tolerance: float, context: Context, advance: Advance) -> Trial:
        """With as few of the n-grams as score within `tolerance` of the whole: each time those that the model before
        uses least are left out, and it is fitted anew."""
        kept, done, every = whole, len(self._settings(context.task)), len(whole.held_out.train.hashes)
        for share in self.shares if self.within and not whole.held_out.by_folds else ():
            train = kept.held_out.train
            used = importance(train.vectors(), kept.fitted.weights)
            columns = np.sort(np.argsort(-used, kind="stable")[: max(1, round(share * every))])
            tried = Trial.of(kept.held_out.keeping(columns), whole.c, whole.balanced, context)
            done += 1
            advance(done, f"{len(columns):,} n-grams: {tried.value:.3f}")
            if tried.value < whole.value - tolerance:
                break
            kept = tried
        return kept


@dataclass(frozen=True, eq=False)
class Trial:
    """A model of one setting.

    Attributes:
        logits: of the held-out items
        value: their score
    """

    held_out: HeldOut
    c: float
    balanced: bool
    fitted: Fitted
    logits: np.ndarray
    value: float

    @staticmethod
    def of(held_out: HeldOut, c: float, balanced: bool, context: Context) -> Trial:
        """Fits and scores."""

        def fit(corpus: Corpus) -> Fitted:
            return fit_svm(corpus.vectors(), corpus.labels, corpus.answers, c, balanced, context.seed)

        fitted, logits = held_out.fit(fit)
        return Trial(held_out, c, balanced, fitted, logits, value_of(context.task, logits, held_out.labels))

    def model(self, answers: tuple[str, ...], ngrams: Ngrams) -> NgramModel:
        """As it is saved, not calibrated yet."""
        train = self.held_out.train
        rows = (self.fitted.weights * train.idf[:, None]).astype(np.float32)
        return NgramModel(answers, ngrams, train.hashes, train.idf, rows, self.fitted.bias.astype(np.float32))


def calibrated(model: NgramModel, logits: np.ndarray, labels: np.ndarray) -> tuple[NgramModel, dict[str, float]]:
    """The model with the temperature at which `labels` are likeliest under its `logits`, and facts about it."""
    temperature = temperature_of(logits, labels)
    return model.divided(temperature), {
        "temperature": temperature,
        "nats": nats(logits, labels, temperature),
        "calibration_error": calibration_error(logits / temperature, labels),
    }
