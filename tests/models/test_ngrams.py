"""Files of n-grams: their integers are those of docs/format.md, they come back as they were, bad ones are refused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import plain_ngrams
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lightbulb.core.errors import ModelError
from lightbulb.formats.gguf.header import read_header
from lightbulb.models.kinds.features import Ngrams, features_of
from lightbulb.models.kinds.likelihood import ONE, likelihoods, most_total
from lightbulb.models.kinds.ngrams import NgramFile, highest_score, whole_roots

KNOWN = ["the card was lost", "where is my money, my money, my money?", "Über Geld spricht man nicht", "lost card"]
NGRAMS = Ngrams((1, 2), (2, 3))
ARRAYS = ("hashes", "idf", "scales", "weights", "counts", "bias", "head")


def random_file(seed: int, width: int | None = None, answers: int = 3, extreme: bool = False) -> NgramFile:
    """Random integers over the n-grams of KNOWN. width: of the table, where there is a head. extreme: the largest."""
    rng = np.random.default_rng(seed)
    hashes = features_of(KNOWN, NGRAMS).hashes
    rows, columns = len(hashes), width or answers
    least = 32767 if extreme else 1
    weights = rng.choice([-127, 127], (rows, columns)) if extreme else rng.integers(-127, 128, (rows, columns))
    return NgramFile(
        labels=tuple(f"answer {i}" for i in range(answers)),
        ngrams=NGRAMS,
        unit=float(np.float32(rng.uniform(1, 1e5))),
        hashes=hashes,
        idf=rng.integers(least, 32768, rows).astype(np.int16),
        scales=rng.integers(least if extreme else 0, 32768, rows).astype(np.int16),
        weights=weights.astype(np.int8),
        counts=np.sort(rng.integers(0, 32768, 4)).astype(np.int16),
        bias=rng.integers(-(1 << 31), 1 << 31, answers).astype(np.int32),
        head=None if width is None else rng.integers(-2047, 2048, (answers, width)).astype(np.int16),
    )


@settings(max_examples=60)
@given(
    st.integers(0, 1000), st.sampled_from([None, 1, 5]), st.booleans(), st.lists(st.sampled_from(KNOWN), max_size=300)
)
@example(0, 5, True, ["my money"] * 300)
@example(0, None, False, [])
def test_scores_are_those_of_the_page(seed, width, extreme, words):
    file, texts = random_file(seed, width, extreme=extreme), [" ".join(words), "nothing known here"]
    scores, roots = file.scores(texts)
    assert [(s.tolist(), r) for s, r in zip(scores, roots.tolist(), strict=True)] == [
        plain_ngrams.scored(file, text) for text in texts
    ]


def test_answers_and_probabilities_follow_from_scores():
    file = replace(random_file(1), bias=np.array([5, 5, 4], np.int32))
    assert file.answers(["zzz"]) == ["answer 0"]  # of equals the first
    (given_,), (scores,), (root,) = file.probabilities(KNOWN[:1]), *(x[:1] for x in file.scores(KNOWN))
    exponentials = [math.exp((s - scores.max()) / (root * file.unit)) for s in scores.tolist()]
    assert given_ == pytest.approx([e / sum(exponentials) for e in exponentials], rel=1e-3, abs=1e-7)


LARGE = st.integers(-(1 << 63) + 1, (1 << 63) - 1)


@settings(max_examples=200)
@given(
    st.lists(LARGE | st.integers(-(1 << 30), 1 << 30), min_size=2, max_size=5),
    st.integers(1, (1 << 29) - 1),
    st.floats(2.0**-149, 2.0**127, width=32) | st.floats(1, 1e5, width=32),
)
@example([5, 5], 1, 1.0)
@example([(1 << 63) - 1, -(1 << 63) + 1], 1, 2.0**127)
@example([0, -7, -100], 3, 2.0**-149)
def test_likelihoods_are_those_of_the_page(scores, root, unit):
    found = likelihoods(np.array([scores]), np.array([root]), unit)
    assert found[0].tolist() == plain_ngrams.likelihoods(scores, root, unit)


@pytest.mark.parametrize("unit", [1e-6, 0.3, 7.0, 431.0, 8e5, 3e9])
def test_likelihoods_are_softmax(unit):
    """Within three ten-thousandths, down to the last that is told apart."""
    gaps = np.unique(np.geomspace(1, 16 * 999 * unit + 2, 300).astype(np.int64))
    scores = np.concatenate([[0], -gaps])[None]
    likely = likelihoods(scores, np.array([999]), unit)[0] / ONE
    assert likely == pytest.approx(np.exp(scores[0] / (999 * np.float64(np.float32(unit)))), rel=3e-4, abs=2 / ONE)


@pytest.mark.parametrize("threshold", [1e-6, 0.1, 0.25, 0.5, 0.7431, 0.99, 1.0])
def test_a_threshold_as_a_sum_decides_alike(threshold):
    most = most_total(threshold)
    assert np.float32(ONE / most) >= np.float32(threshold) > np.float32(ONE / (most + 1))
    assert most_total(1.01) == 0


@given(st.lists(st.integers(0, (1 << 62) - 1)))
@example([0, 1, 3, 4, (1 << 60) - 1, 1 << 60, (2147483647**2) - 1, 2147483647**2])
def test_roots_are_exact(squares):
    assert whole_roots(np.array(squares, np.int64)).tolist() == [math.isqrt(x) for x in squares]


@pytest.mark.parametrize("width", [None, 4])
def test_a_file_comes_back_as_it_was(tmp_path, width):
    file, path = random_file(2, width), tmp_path / "model.gguf"
    file.write(path)
    read = NgramFile.read(path)
    for name in ARRAYS:
        wrote, got = getattr(file, name), getattr(read, name)
        assert (wrote is None and got is None) or (wrote.dtype == got.dtype and (wrote == got).all())
    assert (read.labels, read.ngrams, read.unit) == (file.labels, file.ngrams, file.unit)
    again = tmp_path / "again.gguf"
    read.write(again)
    assert again.read_bytes() == path.read_bytes()
    fields = read_header(path).fields
    assert fields["general.architecture"] == "lightbulb-ngrams" and fields["lightbulb.kind"] == "choose"


BAD = (
    {"idf": np.int16(0)},
    {"scales": np.int16(-1)},
    {"weights": np.int8(-128)},
    {"counts": np.int16(-5)},
    {"head": np.int16(2048)},
    {"unit": 0.0},
    {"unit": float("nan")},
    {"unit": float("inf")},
    {"unit": -1.0},
    {"ngrams": Ngrams((1, 2), (0, 3))},
    {"ngrams": Ngrams((3, 2), (2, 3))},
    {"ngrams": Ngrams((1, 9), (2, 3))},
    {"ngrams": Ngrams((0, 0), (0, 0))},
    {"labels": ("one",)},
)


@pytest.mark.parametrize("change", BAD, ids=str)
def test_what_the_format_forbids_is_refused(tmp_path, change):
    file, ((name, value),) = random_file(3, 4), change.items()
    if isinstance(value, np.generic):
        array = getattr(file, name).copy()
        array.flat[1] = value
        value = array
    bad, path = replace(file, **{name: value}), tmp_path / "model.gguf"
    bad.write(path)
    with pytest.raises(ModelError) as refused:
        NgramFile.read(path)
    assert str(path) in str(refused.value) and refused.value.hint


def test_shapes_and_orders_that_do_not_fit_are_refused(tmp_path):
    file, path = random_file(4), tmp_path / "model.gguf"
    for changed in (
        replace(file, hashes=file.hashes[::-1]),
        replace(file, hashes=np.full_like(file.hashes, 7)),
        replace(file, idf=file.idf[1:]),
        replace(file, weights=file.weights[:, :2]),
        replace(file, bias=file.bias[:2]),
        replace(file, counts=np.ones(257, np.int16)),
        replace(file, head=np.zeros((2, 3), np.int16)),
    ):
        changed.write(path)
        with pytest.raises(ModelError, match="cannot be used"):
            NgramFile.read(path)


def test_scores_that_could_pass_63_bits_are_refused(tmp_path, monkeypatch):
    file, path = random_file(5, 4, extreme=True), tmp_path / "model.gguf"
    file.write(path)
    monkeypatch.setattr("lightbulb.models.kinds.ngrams.highest_score", lambda file: 2.0**63)
    with pytest.raises(ModelError, match="63 bits"):
        NgramFile.read(path)


@pytest.mark.parametrize("width", [None, 4])
def test_no_score_passes_the_bound(width):
    file = random_file(6, width, extreme=True)
    scores, _ = file.scores([" ".join(KNOWN * 50)])
    assert np.abs(scores).max() <= highest_score(file)


def test_a_damaged_file_gives_one_error_at_any_length(tmp_path):
    file, path = random_file(7, 4), tmp_path / "model.gguf"
    file.write(path)
    content = path.read_bytes()
    for length in range(0, len(content) - 32, 97):
        path.write_bytes(content[:length])
        with pytest.raises(ModelError):
            NgramFile.read(path)


def test_a_language_model_is_no_such_file(tmp_path, tiny_folder):
    from lightbulb.models.gguf import write_gguf

    write_gguf(tiny_folder, tmp_path / "model.gguf", "f16")
    with pytest.raises(ModelError, match="architecture 'llama'"):
        NgramFile.read(tmp_path / "model.gguf")
