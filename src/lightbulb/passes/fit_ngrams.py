"""fit-ngrams: a linear classifier over the n-grams of the train split, with no more of them than it needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
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
from lightbulb.ops.operating_point import shift_for_macro_f1
from lightbulb.passes.base import Context, Pass
from lightbulb.passes.classifiers import error_of, texts_and_labels, value_of
from lightbulb.tasks.metrics import MACRO_F1
from lightbulb.tasks.task import Task
from lightbulb.train.linear import Corpus, Fitted, HeldOut, corpora, fit_most_used, fit_svm

Advance = Callable[[float, str], None]  # of a progress bar
MANY = 4000  # texts: folds of so many tell which n-grams can be left out
NONE = (0, 0)  # no n-grams of this sort


class FitNgrams(Pass):
    """A linear support vector machine for each answer, over counts of n-grams weighted by TF-IDF; its logits calibrated
    by one temperature. The source is not looked at: all is learnt from the train split.

    Choices are made by the task's metric on the validation split, or, where that has few items, on folds of train:
    whether characters are looked at beside words, the penalty and, where every answer counts alike (macro-f1), how far
    each answer's logits are shifted.

    Attributes:
        words: shortest and longest n-gram of words; (0, 0) for none
        chars: likewise, of characters
        fewest_texts: of train, that an n-gram must come in
        most: n-grams that are looked at, those in most texts
        words_weight: of words against characters
        cs: inverse strengths of the penalty to choose from
        within: of a standard error of the score on the held-out items, that leaving out n-grams may cost; 0 keeps
            all, and so do folds of fewer than MANY texts, which show too little of what others say
        shares: of n-grams that are kept, tried in this order until one costs more
    """

    name: ClassVar[str] = "fit-ngrams"
    version: ClassVar[int] = 2
    facts_type: ClassVar = NgramFacts
    reads: ClassVar[tuple[ArtifactKind, ...]] = ("model", "encoder", "task")
    makes: ClassVar[ArtifactKind] = "ngrams"

    words: tuple[int, int] = (1, 2)
    chars: tuple[int, int] = (2, 5)
    fewest_texts: int = Field(default=2, ge=1)
    most: int = Field(default=200_000, ge=1)
    words_weight: float = Field(default=1.5, gt=0)
    cs: tuple[float, ...] = Field(default=(0.3, 1.0, 3.0), min_length=1)
    within: float = Field(default=0.2, ge=0)
    shares: tuple[float, ...] = (0.5, 0.25, 0.125)

    @model_validator(mode="after")
    def _check(self) -> FitNgrams:
        for least, longest in (self.words, self.chars):
            if (least, longest) != NONE and not 1 <= least <= longest <= LONGEST:
                raise ValueError(f"n-grams are from 1 to {LONGEST} long, not {least} to {longest}")
        if self.words == self.chars == NONE:
            raise ValueError("there are n-grams of words, of characters, or of both")
        return self

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        settings = self._settings(context.task)
        with context.progress.bar("fitting n-grams", len(settings) + len(self.shares)) as advance:
            whole = self._choose(settings, context, advance)
            held_out = whole.held_out
            error = error_of(context.task, whole.logits, held_out.labels)
            kept = self._leave_out(whole, self.within * error, len(settings), context, advance)
        model, facts = calibrated(kept.model(context.task.answers), kept.logits, held_out.labels)
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
            "c": kept.setting.c,
            "shift": kept.shift.tolist() if held_out.alike else (),
            "words": whole.setting.ngrams.words,
            "chars": whole.setting.ngrams.chars,
        }

    def _settings(self, task: Task) -> list[FitSetting]:
        """In the order in which they are tried."""
        looked_at = [Ngrams(self.words, self.chars)]
        if NONE not in (self.words, self.chars):
            looked_at.append(Ngrams(self.words, NONE))
        return [FitSetting(ngrams, c) for ngrams in looked_at for c in self.cs]

    def _held_out(self, task: Task, ngrams: Ngrams) -> HeldOut:
        """Raises RecipeError unless the task chooses."""
        train, validation = texts_and_labels(task, "train"), texts_and_labels(task, "validation")
        answers, fewest = len(task.answers), self.fewest_texts
        found = corpora(train, validation, answers, ngrams, fewest, self.words_weight, self.most)
        return HeldOut(*found, alike=task.metric == MACRO_F1)

    def _choose(self, settings: Sequence[FitSetting], context: Context, advance: Advance) -> Trial:
        """The first of the best settings with all n-grams. Raises TaskError where none comes often enough."""
        best: Trial | None = None
        held_out = cache(partial(self._held_out, context.task))
        for done, setting in enumerate(settings, 1):
            if not len(held_out(setting.ngrams).train.hashes):
                continue
            tried = Trial.of(held_out(setting.ngrams), setting, context)
            best = tried if best is None or tried.value > best.value else best
            advance(done, f"C {setting.c:g}: {tried.value:.3f}")
        if best is None:
            raise TaskError(
                f"no n-gram comes in {self.fewest_texts} of the {len(context.task.train)} texts of train",
                where=context.task.source or None,
                hint="give more examples with words in common",
            )
        return best

    def _leave_out(self, whole: Trial, tolerance: float, done: int, context: Context, advance: Advance) -> Trial:
        """With as few of the n-grams as score within `tolerance` of the whole."""
        kept, enough = whole, not whole.held_out.by_folds or len(whole.held_out.labels) >= MANY
        for share in self.shares if self.within and enough else ():
            tried = Trial.of(whole.held_out, whole.setting, context, share, whole.fitted)
            done += 1
            advance(done, f"{share:.1%} of n-grams: {tried.value:.3f}")
            if tried.value < whole.value - tolerance:
                break
            kept = tried
        return kept


@dataclass(frozen=True, slots=True)
class FitSetting:
    """What is chosen between.

    Attributes:
        ngrams: that are looked at
        c: inverse strength of the penalty
    """

    ngrams: Ngrams
    c: float


@dataclass(frozen=True, eq=False)
class Trial:
    """A model of one setting.

    Attributes:
        shift: what is added to the logits of each answer [C]
        logits: of the held-out items, shifted
        value: their score
    """

    held_out: HeldOut
    setting: FitSetting
    fitted: Fitted
    shift: np.ndarray
    logits: np.ndarray
    value: float

    @staticmethod
    def of(
        held_out: HeldOut, setting: FitSetting, context: Context, share: float = 1.0, known: Fitted | None = None
    ) -> Trial:
        """Fits and scores.

        Args:
            held_out: what is learnt from, and the items to score
            setting: of the fit
            context: task and seed
            share: of the n-grams that are looked at: those that a model of all of them, fitted on the same texts, uses
                most
            known: the model of all n-grams and all texts, where it is there
        """

        def fit(corpus: Corpus) -> Fitted:
            if known is not None and corpus is held_out.train:
                whole = known
            else:
                whole = fit_svm(corpus.vectors(), corpus.labels, corpus.answers, setting.c, context.seed)
            return whole if share == 1 else fit_most_used(corpus, whole, share, setting.c, context.seed)

        fitted, logits = held_out.fit(fit)
        shift = shift_for_macro_f1(logits, held_out.labels) if held_out.alike else np.zeros(logits.shape[1])
        logits = logits + shift
        return Trial(held_out, setting, fitted, shift, logits, value_of(context.task, logits, held_out.labels))

    def model(self, answers: tuple[str, ...]) -> NgramModel:
        """As it is saved, not calibrated yet."""
        train = self.fitted.looked_at(self.held_out.train)
        rows = (self.fitted.weights * train.idf[:, None]).astype(np.float32)
        bias = (self.fitted.bias + self.shift).astype(np.float32)
        return NgramModel(answers, self.setting.ngrams, train.hashes, train.idf, rows, bias)


def calibrated(model: NgramModel, logits: np.ndarray, labels: np.ndarray) -> tuple[NgramModel, dict[str, float]]:
    """The model with the temperature at which `labels` are likeliest under its `logits`, and facts about it."""
    temperature = temperature_of(logits, labels)
    return model.divided(temperature), {
        "temperature": temperature,
        "nats": nats(logits, labels, temperature),
        "calibration_error": calibration_error(logits / temperature, labels),
    }
