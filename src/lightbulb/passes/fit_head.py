"""fit-head: a linear head on the vectors of an encoder that stays as it is."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.facts_of_kinds import LabelFacts
from lightbulb.formats.gguf.quant_types import QuantTypeName
from lightbulb.formats.gguf.type_map import TypeMap
from lightbulb.passes.base import Context, Pass
from lightbulb.tasks.metrics import MACRO_F1
from lightbulb.tasks.task import Task

if TYPE_CHECKING:
    from lightbulb.models.kinds.encoder import Encoder

VECTORS = "vectors.safetensors"
UNSEEN = -100.0  # the score of an answer that train does not show: never the highest
ENOUGH = 400  # validation items; fewer tell less than folds of train


class FitHead(Pass):
    """Logistic regression (scikit-learn) on the pooled vectors of the train split. How strong its penalty is and, where
    every answer counts alike (macro-f1), whether answers are weighted by their rareness is chosen by the task's metric
    on the validation split or, where that has few items, on folds of train.

    Attributes:
        normalize: whether vectors are divided by their length, before training and ever after; None: where the mean is
            pooled
        cs: inverse strengths of the penalty, for vectors of length 1, to choose from
        folds: where the validation split is small
        quant_type: what the matrices are rounded to before the head is fitted, so that the file holds what it was
            fitted to; None: they stay as they are
        embedding: likewise, of the token embedding; None: as the rest
    """

    name: ClassVar[str] = "fit-head"
    version: ClassVar[int] = 2
    facts_type: ClassVar = LabelFacts
    reads: ClassVar[tuple[ArtifactKind, ...]] = ("encoder",)
    makes: ClassVar[ArtifactKind] = "encoder"

    normalize: bool | None = None
    cs: tuple[float, ...] = Field(default=(3.0, 10.0, 30.0), min_length=1)
    folds: int = Field(default=3, ge=2)
    quant_type: QuantTypeName | None = None
    embedding: QuantTypeName | None = None

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        from lightbulb.models.kinds.encoder import Encoder
        from lightbulb.models.kinds.encoder_file import round_weights
        from lightbulb.passes.classifiers import texts_and_labels
        from lightbulb.passes.encoders import calibrate, facts_of
        from lightbulb.train.forward import deterministic

        (texts, labels_N), (asked, wanted_M) = (texts_and_labels(context.task, s) for s in ("train", "validation"))
        encoder = Encoder.read(source.path)
        if self.quant_type is not None:
            round_weights(encoder, TypeMap.of(self.quant_type, self.embedding))
        normalize = encoder.form.pooling == "mean" if self.normalize is None else self.normalize
        with deterministic(context.seed, context.threads):
            encoder = encoder.with_answers(context.task.answers, normalize=normalize)
            vectors = vectors_of(encoder, [*texts, *asked], context)
            train, validation = Labelled(vectors[: len(texts)], labels_N), Labelled(vectors[len(texts) :], wanted_M)
            with context.progress.bar("fitting the head", 1) as advance:
                head, facts = self._fit(train, validation, context)
                advance(1, f"C {facts['c']:g}")
            set_head(encoder, head)
            facts |= calibrate(encoder, head.scores(validation.vectors), wanted_M)
        encoder.save(out)
        return facts_of(encoder, out, source) | facts

    def _fit(self, train: Labelled, validation: Labelled, context: Context) -> tuple[Head, dict[str, Any]]:
        """The head of the best setting, and facts about it."""
        from threadpoolctl import threadpool_limits

        scale = scale_of(train.vectors)
        scaled, task = Labelled(train.vectors / scale, train.labels), context.task
        weights = (None, "balanced") if task.metric == MACRO_F1 else (None,)
        choose = self._on_validation if len(validation.labels) >= ENOUGH else self._on_folds
        found = []
        with threadpool_limits(context.threads), warnings.catch_warnings(action="ignore"):  # of the last digit
            for class_weight in weights:
                found.append((*choose(scaled, validation, scale, class_weight, context), class_weight))
        model, score, class_weight = max(found, key=lambda entry: entry[1] or 0.0)
        name = "chosen_by" if choose == self._on_validation else "cross_validated"
        return Head.of(model, task, scale), {"c": float(model.C), "class_weight": class_weight, name: score}

    def _on_validation(
        self, train: Labelled, validation: Labelled, scale: float, class_weight: str | None, context: Context
    ) -> tuple[Any, float]:
        """The first of the best models by the task's metric on the validation split, and its score."""
        from lightbulb.passes.classifiers import value_of

        found = []
        for c in sorted(self.cs):
            model = _regression(c, class_weight).fit(train.vectors, train.labels)
            scores_MC = Head.of(model, context.task, scale).scores(validation.vectors)
            found.append((model, value_of(context.task, scores_MC, validation.labels)))
        return max(found, key=lambda entry: entry[1])

    def _on_folds(
        self, train: Labelled, validation: Labelled, scale: float, class_weight: str | None, context: Context
    ) -> tuple[Any, float | None]:
        """Likewise, by the mean over folds of train; None where an answer has a single example, or nothing is to be
        chosen."""
        from sklearn.model_selection import GridSearchCV, StratifiedKFold

        model = _regression(self.cs[len(self.cs) // 2], class_weight)
        folds = min(self.folds, int(np.unique(train.labels, return_counts=True)[1].min()))
        if folds < 2 or len(self.cs) == 1:
            return model.fit(train.vectors, train.labels), None
        search = GridSearchCV(
            model,
            {"C": sorted(self.cs)},
            scoring="f1_macro" if context.task.metric == MACRO_F1 else "accuracy",
            cv=StratifiedKFold(folds, shuffle=True, random_state=context.seed),
        )
        search.fit(train.vectors, train.labels)
        return search.best_estimator_, float(search.best_score_)


class Labelled(NamedTuple):
    """Vectors float32 [texts, width], and the numbers of their answers."""

    vectors: np.ndarray
    labels: np.ndarray


class Head(NamedTuple):
    """Weights float32 [answers, width] and bias [answers], of vectors as they are."""

    weight: np.ndarray
    bias: np.ndarray

    @staticmethod
    def of(model: Any, task: Task, scale: float) -> Head:
        """Of a fitted model. scale: what its vectors were divided by."""
        weight_CD, bias_C = model.coef_ / scale, model.intercept_
        if len(model.classes_) == 2:  # scikit-learn's one score is the second answer's over the first's
            weight_CD, bias_C = np.stack([-weight_CD[0], weight_CD[0]]) / 2, np.stack([-bias_C[0], bias_C[0]]) / 2
        weight = np.zeros((len(task.answers), weight_CD.shape[1]), np.float32)
        bias = np.full(len(task.answers), UNSEEN, np.float32)
        weight[model.classes_], bias[model.classes_] = weight_CD, bias_C
        return Head(weight, bias)

    def scores(self, vectors_ND: np.ndarray) -> np.ndarray:
        """[texts, answers]."""
        return vectors_ND @ self.weight.T + self.bias


def _regression(c: float, class_weight: str | None) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=c, class_weight=class_weight, tol=1e-4, max_iter=1000)


def fitted_head(known: Labelled, context: Context, c: float, class_weight: str | None) -> Head:
    """A head by settings that are known."""
    from threadpoolctl import threadpool_limits

    scale = scale_of(known.vectors)
    with threadpool_limits(context.threads), warnings.catch_warnings(action="ignore"):  # of the last digit
        model = _regression(c, class_weight).fit(known.vectors / scale, known.labels)
    return Head.of(model, context.task, scale)


def scale_of(vectors_ND: np.ndarray) -> float:
    """The length that vectors have on average: they are divided by it while a head is fitted."""
    return float(np.sqrt((vectors_ND**2).sum(1).mean())) or 1.0


def set_head(encoder: Encoder, head: Head) -> None:
    import torch

    assert encoder.head is not None
    with torch.no_grad():
        encoder.head.weight.copy_(torch.from_numpy(head.weight))
        encoder.head.bias.copy_(torch.from_numpy(head.bias))


def vectors_of(encoder: Encoder, texts: list[str], context: Context) -> np.ndarray:
    """The pooled vectors of texts, float32 [texts, width]; kept in the scratch folder for an attempt that goes on."""
    from safetensors.numpy import load_file, save_file

    kept = context.scratch / VECTORS
    if not kept.is_file():
        with context.progress.bar("embedding", len(texts)) as advance:
            vectors_ND = encoder.embed(texts, advance)
        context.scratch.mkdir(parents=True, exist_ok=True)
        beside = kept.with_suffix(".tmp")
        save_file({"vectors": vectors_ND}, beside)
        beside.replace(kept)
    return load_file(kept)["vectors"]
