"""fit-head: a linear head on the vectors of an encoder that stays as it is."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.facts import LabelFacts
from lightbulb.formats.gguf.quant_types import QuantTypeName
from lightbulb.formats.gguf.type_map import TypeMap
from lightbulb.passes.base import Context, Pass
from lightbulb.tasks.metrics import MACRO_F1

if TYPE_CHECKING:
    import numpy as np

    from lightbulb.models.kinds.encoder import Encoder

VECTORS = "vectors.safetensors"
UNSEEN = -100.0  # the score of an answer that train does not show: never the highest


class FitHead(Pass):
    """Logistic regression (scikit-learn) on the pooled vectors of the train split. Where every answer counts alike
    (macro-f1), whether answers are weighted by their rareness is chosen by cross-validation, too.

    Attributes:
        normalize: whether vectors are divided by their length, before training and ever after; None: where the mean is
            pooled
        cs: inverse strengths of the penalty, for vectors of length 1, the best of which is chosen by cross-validation
            within the train split
        folds: of the cross-validation
    """

    name: ClassVar[str] = "fit-head"
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
        from lightbulb.passes.encoders import calibrated, facts_of
        from lightbulb.train.forward import deterministic

        texts, labels_N = texts_and_labels(context.task, "train")
        encoder = Encoder.read(source.path)
        if self.quant_type is not None:
            round_weights(encoder, TypeMap.of(self.quant_type, self.embedding))
        normalize = encoder.form.pooling == "mean" if self.normalize is None else self.normalize
        with deterministic(context.seed, context.threads):
            encoder = encoder.with_answers(context.task.answers, normalize=normalize)
            vectors_ND = vectors_of(encoder, texts, context)
            with context.progress.bar("fitting the head", 1) as advance:
                facts = self._fit(encoder, vectors_ND, labels_N, context)
                advance(1, f"C {facts['c']:g}")
            facts |= calibrated(encoder, context)
        encoder.save(out)
        return facts_of(encoder, out, source) | facts

    def _fit(self, encoder: Encoder, vectors_ND: np.ndarray, labels_N: np.ndarray, context: Context) -> dict[str, Any]:
        import numpy as np
        from threadpoolctl import threadpool_limits

        scale = float(np.sqrt((vectors_ND**2).sum(1).mean())) or 1.0
        macro = context.task.metric == MACRO_F1
        found = []
        with threadpool_limits(context.threads):
            for class_weight in (None, "balanced") if macro else (None,):
                search = self._search(vectors_ND / scale, labels_N, class_weight, macro, context.seed)
                found.append((*search, class_weight))
        model, c, score, class_weight = max(found, key=lambda entry: entry[2] or 0.0)
        _set_head(encoder, model, scale)
        return {"c": c, "class_weight": class_weight, "cross_validated": score}

    def _search(
        self, vectors_ND: np.ndarray, labels_N: np.ndarray, class_weight: str | None, macro: bool, seed: int
    ) -> tuple[Any, float, float | None]:
        """(the fitted model, its C, its score over the folds; None where an answer has a single example)."""
        import numpy as np
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV, StratifiedKFold

        model = LogisticRegression(C=self.cs[len(self.cs) // 2], class_weight=class_weight, tol=1e-4, max_iter=1000)
        folds = min(self.folds, int(np.unique(labels_N, return_counts=True)[1].min()))
        with warnings.catch_warnings(action="ignore"):  # that it has not converged to the last digit
            if folds < 2 or len(self.cs) == 1:
                return model.fit(vectors_ND, labels_N), model.C, None
            search = GridSearchCV(
                model,
                {"C": sorted(self.cs)},
                scoring="f1_macro" if macro else "accuracy",
                cv=StratifiedKFold(folds, shuffle=True, random_state=seed),
            )
            search.fit(vectors_ND, labels_N)
        return search.best_estimator_, search.best_params_["C"], float(search.best_score_)


def _set_head(encoder: Encoder, model: Any, scale: float) -> None:
    """The fitted model as the head of `encoder`. scale: what vectors were divided by."""
    import numpy as np
    import torch

    assert encoder.head is not None
    weight_CD, bias_C = model.coef_ / scale, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn's one score is the second answer's over the first's
        weight_CD, bias_C = np.stack([-weight_CD[0], weight_CD[0]]) / 2, np.stack([-bias_C[0], bias_C[0]]) / 2
    with torch.no_grad():
        encoder.head.weight.zero_()
        encoder.head.bias.fill_(UNSEEN)
        encoder.head.weight[model.classes_] = torch.from_numpy(weight_CD).float()
        encoder.head.bias[model.classes_] = torch.from_numpy(bias_C).float()


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
