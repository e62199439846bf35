"""Linear models over n-grams: what is learnt from, support vector machines, and how well one does on held-out items."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.sparse as sp

from lightbulb.models.kinds.features import Ngrams, counts_of, features_of
from lightbulb.models.kinds.ngram_model import lengths_of, times_of

ENOUGH = 400  # validation items; fewer tell less than folds of train
ENOUGH_OF_EACH = 200  # of them with each answer, where every answer counts alike
FOLDS = 4
TOLERANCE = 0.1  # LIBLINEAR's own for this problem: closer takes longer and scores no better (banking77, unfair_tos)
UNSEEN = -3.0  # the margin of an answer without an example: below those of the others, which lie around -1


@dataclass(frozen=True, eq=False)
class Corpus:
    """The n-grams of a task's texts.

    Attributes:
        times: float64 [texts, n-grams], what n-grams count
        labels: numbers of the answers [texts]
        hashes: uint32 [n-grams], ascending
        idf: float32 [n-grams]
        answers: how many there are
    """

    times: sp.csr_matrix
    labels: np.ndarray
    hashes: np.ndarray
    idf: np.ndarray
    answers: int

    def vectors(self) -> sp.csr_matrix:
        """The texts as vectors of length 1: t x idf / root."""
        scaled = self.times @ sp.diags(self.idf.astype(np.float64))
        return sp.csr_matrix(sp.diags(1 / lengths_of(self.times, self.idf)) @ scaled)

    def keeping(self, columns: np.ndarray) -> Corpus:
        """With these n-grams only (places, ascending)."""
        times = sp.csr_matrix(self.times[:, columns])
        return Corpus(times, self.labels, self.hashes[columns], self.idf[columns], self.answers)

    def texts(self, places: np.ndarray) -> Corpus:
        """Only these texts."""
        return Corpus(self.times[places], self.labels[places], self.hashes, self.idf, self.answers)


def corpora(
    train: tuple[Sequence[str], np.ndarray],
    validation: tuple[Sequence[str], np.ndarray],
    answers: int,
    ngrams: Ngrams,
    fewest: int,
    words_weight: float,
    most: int,
) -> tuple[Corpus, Corpus]:
    """Train and validation by the n-grams that at least `fewest` texts of train hold, of these at most `most`, those in
    most texts. idf is scikit-learn's smooth one; that of words is multiplied by `words_weight`."""
    texts, labels = train
    found = features_of(texts, ngrams, fewest)
    in_texts = np.bincount(found.counts.indices, minlength=len(found.hashes))
    words = np.isin(found.hashes, features_of(texts, Ngrams(ngrams.words, (0, 0)), fewest).hashes)
    idf = (np.log((1 + len(texts)) / (1 + in_texts)) + 1) * np.where(words, words_weight, 1.0)
    kept = np.sort(np.argsort(-in_texts, kind="stable")[:most])
    hashes, idf = found.hashes[kept], idf[kept].astype(np.float32)
    learnt = Corpus(times_of(sp.csr_matrix(found.counts[:, kept])), labels, hashes, idf, answers)
    held_out = Corpus(times_of(counts_of(validation[0], ngrams, hashes)), validation[1], hashes, idf, answers)
    return learnt, held_out


@dataclass(frozen=True, slots=True)
class Fitted:
    """A linear model of vectors.

    Attributes:
        weights: float64 [n-grams, C]
        bias: float64 [C]
        columns: places of the n-grams that it looks at, ascending; None for all
    """

    weights: np.ndarray
    bias: np.ndarray
    columns: np.ndarray | None = None

    def logits(self, vectors: sp.csr_matrix) -> np.ndarray:
        """float64 [texts, C]"""
        return np.asarray(vectors @ self.weights + self.bias)

    def looked_at(self, corpus: Corpus) -> Corpus:
        """The corpus by the n-grams that the model looks at."""
        return corpus if self.columns is None else corpus.keeping(self.columns)

    def logits_of(self, corpus: Corpus) -> np.ndarray:
        """float64 [texts, C]"""
        return self.logits(self.looked_at(corpus).vectors())


def fit_svm(
    vectors: sp.csr_matrix, labels: np.ndarray, answers: int, c: float, seed: int, penalty: Literal["l1", "l2"] = "l2"
) -> Fitted:
    """A linear support vector machine (squared hinge) for each answer against the rest (LIBLINEAR, Fan et al. 2008).

    Args:
        vectors: [texts, n-grams]
        labels: numbers of the answers [texts]
        answers: how many there are; one without an example is never the likeliest
        c: inverse strength of the penalty
        seed: of the order in which texts are taken
        penalty: of the weights; l1 leaves most of them at 0
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    weights, bias = np.zeros((vectors.shape[1], answers)), np.full(answers, UNSEEN)
    seen = np.unique(labels)
    if len(seen) == 1:
        bias[seen] = 0.0
        return Fitted(weights, bias)
    svm = LinearSVC(penalty=penalty, C=c, tol=TOLERANCE, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # of what is nearly there: the score on held-out items tells
        warnings.filterwarnings("ignore", "The number of unique classes")  # few examples of many answers
        svm.fit(vectors, labels)
    if len(seen) == 2:
        weights[:, seen] = np.concatenate([-svm.coef_, svm.coef_]).T
        bias[seen] = [-svm.intercept_[0], svm.intercept_[0]]
    else:
        weights[:, seen], bias[seen] = svm.coef_.T, svm.intercept_
    return Fitted(weights, bias)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Items that a model is not fitted on: the validation split, or, where that is small, each fold of train with a
    model fitted on the others.

    Attributes:
        train: what is learnt from
        validation: by the same n-grams
        alike: whether every answer counts alike, so that the rarest one decides whether the split is small
    """

    train: Corpus
    validation: Corpus
    alike: bool = False

    @property
    def by_folds(self) -> bool:
        few = len(self.validation.labels) < min(ENOUGH, len(self.train.labels))
        counts = np.bincount(self.validation.labels, minlength=self.train.answers)
        return few or (self.alike and bool(counts.min() < ENOUGH_OF_EACH))

    @property
    def labels(self) -> np.ndarray:
        """Of the items."""
        return self.train.labels if self.by_folds else self.validation.labels

    def fit(self, fit: Callable[[Corpus], Fitted]) -> tuple[Fitted, np.ndarray]:
        """The model of all of train, and logits of the items, float64 [items, C]."""
        whole = fit(self.train)
        if not self.by_folds:
            return whole, whole.logits_of(self.validation)
        logits, folds = np.zeros((len(self.train.labels), self.train.answers)), folds_of(self.train.labels)
        for fold in range(FOLDS):
            own, others = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
            if len(own) and len(others):
                logits[own] = fit(self.train.texts(others)).logits_of(self.train.texts(own))
        return whole, logits


def folds_of(labels: np.ndarray) -> np.ndarray:
    """Number of the fold of each item: the items of an answer are dealt out in turn, and the next answer goes on."""
    order = np.argsort(labels, kind="stable")
    folds = np.empty(len(labels), np.int64)
    folds[order] = np.arange(len(labels)) % FOLDS
    return folds


def fit_most_used(corpus: Corpus, whole: Fitted, share: float, c: float, seed: int) -> Fitted:
    """A model that looks at a share of the n-grams: those that `whole`, a model of all of them, uses most."""
    used = importance(corpus.vectors(), whole.weights)
    columns = np.sort(np.argsort(-used, kind="stable")[: max(1, round(share * len(used)))])
    fitted = fit_svm(corpus.keeping(columns).vectors(), corpus.labels, corpus.answers, c, seed)
    return Fitted(fitted.weights, fitted.bias, columns)


def importance(vectors: sp.csr_matrix, weights: np.ndarray) -> np.ndarray:
    """How much each n-gram moves the answers of these texts apart, float64 [n-grams]: the sum of its squares times the
    variance of its weights."""
    return np.asarray(vectors.power(2).sum(axis=0)).ravel() * weights.var(axis=1)
