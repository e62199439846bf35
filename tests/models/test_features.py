"""N-grams of many texts at once are those that docs/format.md says, one by one."""

from __future__ import annotations

import numpy as np
import plain_ngrams
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from samples import SAMPLES

from lightbulb.models.kinds.features import BLANK, LETTER, TABLE, Ngrams, class_table, counts_of, features_of, fold_table

EVERYTHING = st.characters(codec=None, categories=None)  # halves of surrogate pairs, too
ODD = st.sampled_from("aZ9_ \n\u00a0\u3000\u2028\u00d7\u00c4\u0130\u0410\u03a3\ufffd\ud800\udfff\uff0f\U0001f600ßʼ-'")
TEXTS = st.lists(st.text(EVERYTHING | ODD, max_size=40), min_size=1, max_size=5)
RANGE = st.sampled_from([(0, 0), (1, 1), (1, 3), (2, 2), (2, 5), (4, 8)])


def as_dicts(features) -> list[dict[int, int]]:
    rows = []
    for row in range(features.counts.shape[0]):
        part = features.counts[row]
        rows.append({int(features.hashes[c]): int(n) for c, n in zip(part.indices, part.data, strict=True)})
    return rows


@settings(max_examples=150)
@given(TEXTS, RANGE, RANGE)
@example(["", "a", "  ", "A a\u0301b_9\u00d7x"], (1, 2), (1, 8))
@example(["x" * 300, "x" * 299 + " " + "y" * 300], (1, 3), (2, 3))
@example(["\ud83d", "\ude00"], (1, 1), (1, 2))  # together they would be one character
def test_they_are_those_of_the_page(texts, words, chars):
    found = features_of(texts, Ngrams(words, chars))
    assert (np.diff(found.hashes.astype(np.int64)) > 0).all()
    assert as_dicts(found) == [plain_ngrams.counted(text, words, chars) for text in texts]


def test_every_code_point_is_folded_and_classified():
    folds, classes = fold_table(), class_table()
    for code in range(0x110000):
        folded = int(folds[code]) if code < len(folds) else code
        assert folded == plain_ngrams.folded(code), hex(code)
        kind = classes[min(code, TABLE - 1)]
        assert (kind == BLANK, kind == LETTER) == (plain_ngrams.is_blank(code), plain_ngrams.is_letter(code)), hex(code)


def test_portions_do_not_matter(monkeypatch):
    texts = [f"word{i % 7} and {'long ' * (i % 5)}text" for i in range(50)]
    whole = features_of(texts, Ngrams((1, 2), (2, 4)))
    monkeypatch.setattr("lightbulb.models.kinds.features.CODES_AT_ONCE", 40)
    parts = features_of(texts, Ngrams((1, 2), (2, 4)))
    assert (whole.hashes == parts.hashes).all() and (whole.counts != parts.counts).nnz == 0


def test_rare_ngrams_are_left_out_and_known_ones_are_found_again():
    texts = ["one two", "two three", "three four", "four"]
    found = features_of(texts, Ngrams((1, 1), (0, 0)), fewest_texts=2)
    assert len(found.hashes) == 3  # two, three, four
    again = counts_of(["two two one", "nothing"], Ngrams((1, 1), (0, 0)), found.hashes)
    assert sorted(again.toarray()[0].tolist()) == [0, 0, 2] and again.toarray()[1].sum() == 0


def test_no_texts_and_no_known_ngrams():
    assert features_of([], Ngrams((1, 2), (2, 5))).counts.shape == (0, 0)
    assert counts_of(["a b"], Ngrams((1, 2), (2, 5)), np.zeros(0, np.uint32)).shape == (1, 0)


@pytest.mark.parametrize("name", ["banking77", "unfair_tos"])
def test_real_texts(name):
    from lightbulb.tasks.load import load_task

    texts = [e.prompt for e in load_task(str(SAMPLES / name)).train[:60]]
    found = features_of(texts, Ngrams((1, 2), (2, 5)))
    assert as_dicts(found) == [plain_ngrams.counted(text, (1, 2), (2, 5)) for text in texts]
