"""Linear models over n-grams: what they learn from, and how they are scored."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from lightbulb.models.kinds.features import Ngrams
from lightbulb.train.linear import UNSEEN, HeldOut, corpora, fit_most_used, fit_svm, folds_of, importance

COLOURS = ["a red lamp", "red red paint", "the blue sea", "blue sky and sea", "a green field", "green green grass"]
LABELS = np.array([0, 0, 1, 1, 2, 2])
NONE = ([], np.zeros(0, np.int64))


def corpus(texts=COLOURS, labels=LABELS, answers=3, fewest=1, words_weight=1.0, most=10_000, chars=(0, 0)):
    return corpora((texts, labels), (texts[:2], labels[:2]), answers, Ngrams((1, 2), chars), fewest, words_weight, most)


def test_vectors_are_those_of_scikit_learn():
    train, held_out = corpus()
    theirs = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    expected = theirs.fit_transform(COLOURS)
    ours = train.vectors()
    assert ours.shape == expected.shape
    # columns are in another order: the products of texts are the same (counts are rounded to 1/256)
    assert (ours @ ours.T).toarray() == pytest.approx((expected @ expected.T).toarray(), abs=2e-3)
    assert held_out.vectors().toarray() == pytest.approx(ours[:2].toarray())


def test_words_weigh_more_where_asked():
    plain, _ = corpus(chars=(2, 3))
    heavy, _ = corpus(chars=(2, 3), words_weight=2.0)
    ratio = heavy.idf / plain.idf
    words, _ = corpus()
    assert ratio == pytest.approx(np.where(np.isin(plain.hashes, words.hashes), 2.0, 1.0))


def test_at_most_so_many_those_in_most_texts():
    few, _ = corpus(most=3)
    every, _ = corpus()
    assert len(few.hashes) == 3 and (np.diff(few.hashes.astype(np.int64)) > 0).all()
    assert few.idf.max() <= np.sort(every.idf)[2]


def test_an_answer_without_examples_is_never_the_likeliest():
    train, _ = corpus(answers=5)
    fitted = fit_svm(train.vectors(), train.labels, 5, 1.0, 0)
    logits = fitted.logits(train.vectors())
    assert (logits.argmax(axis=1) == LABELS).all() and (logits[:, 3:] == UNSEEN).all()
    one = fit_svm(train.vectors()[:2], LABELS[:2], 3, 1.0, 0)
    assert (one.logits(train.vectors()).argmax(axis=1) == 0).all()


def test_two_answers_are_opposites():
    train, _ = corpus(COLOURS[:4], LABELS[:4], answers=2)
    fitted = fit_svm(train.vectors(), train.labels, 2, 1.0, 0)
    assert (fitted.weights[:, 0] == -fitted.weights[:, 1]).all()
    assert (fitted.logits(train.vectors()).argmax(axis=1) == LABELS[:4]).all()


def test_folds_deal_out_each_answer():
    labels = np.repeat([0, 1, 2], [4, 8, 5])
    folds = folds_of(labels)
    assert sorted(np.bincount(folds).tolist()) == [4, 4, 4, 5]
    assert all(np.bincount(folds[labels == answer], minlength=4).min() >= 1 for answer in range(3))


def fit_hard(part):
    return fit_svm(part.vectors(), part.labels, part.answers, 10.0, 0)


def random_answers(n=200):
    rng = np.random.default_rng(0)
    words = rng.integers(0, 300, (n, 12))
    texts = [" ".join(f"w{w}" for w in row) for row in words]
    return corpora((texts, rng.integers(0, 2, n)), NONE, 2, Ngrams((1, 1), (0, 0)), 1, 1.0, 10_000)


def test_a_fold_is_scored_by_a_model_that_did_not_see_it():
    """Random answers can be learnt by heart and not be guessed."""
    train, validation = random_answers()
    held_out = HeldOut(train, validation)
    whole, logits = held_out.fit(fit_hard)
    assert held_out.by_folds and (whole.logits(train.vectors()).argmax(axis=1) == train.labels).all()
    assert 0.35 < (logits.argmax(axis=1) == held_out.labels).mean() < 0.65


def test_every_item_is_scored_even_where_folds_are_not_full():
    train, validation = random_answers(3)
    _, logits = HeldOut(train, validation).fit(fit_hard)
    assert logits.shape == (3, 2) and (np.abs(logits).sum(axis=1) > 0).all()


def test_a_large_validation_split_is_scored_itself():
    train, _ = random_answers()
    held_out = HeldOut(train, train)
    assert not held_out.by_folds
    whole, logits = held_out.fit(fit_hard)
    assert (logits == whole.logits(train.vectors())).all()


def test_what_tells_answers_apart_is_important():
    train, _ = corpus()
    fitted = fit_svm(train.vectors(), train.labels, 3, 1.0, 0)
    found = importance(train.vectors(), fitted.weights)
    telling, _ = corpus(["red", "blue", "green"], np.arange(3))
    names = np.isin(train.hashes, telling.hashes)
    assert set(np.argsort(-found)[:3]) == set(np.flatnonzero(names))


def test_a_share_of_ngrams_is_those_that_tell_most():
    train, held_out = corpus()
    whole = fit_hard(train)
    few = fit_most_used(train, whole, 0.25, 10.0, 0)
    used = importance(train.vectors(), whole.weights)
    assert few.columns is not None and len(few.columns) == len(few.weights) == round(0.25 * len(used))
    assert used[few.columns].min() >= np.delete(used, few.columns).max()
    logits = few.logits(held_out.keeping(few.columns).vectors())
    assert np.array_equal(few.logits_of(held_out), logits)
