"""Weights of n-grams in floating point, and the file that they are rounded to."""

from __future__ import annotations

import math

import numpy as np
import plain_ngrams
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import RecipeError, RunFailure
from lightbulb.models.kinds.base import open_classifier
from lightbulb.models.kinds.features import Ngrams, features_of
from lightbulb.models.kinds.ngram_model import COUNTS, FORM, NgramModel
from lightbulb.models.kinds.ngrams import NgramFile

TEXTS = ["my card was lost", "where is my money", "a lamp, a lamp and a lamp", "the light is on", "", "zzz qqq"]
NGRAMS = Ngrams((1, 2), (2, 4))


def random_model(seed: int, answers: int = 4, scale: float = 1.0) -> NgramModel:
    rng = np.random.default_rng(seed)
    hashes = features_of(TEXTS[:4], NGRAMS).hashes

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(0, scale, shape).astype(np.float32)

    return NgramModel(
        labels=tuple("abcdefgh"[:answers]),
        ngrams=NGRAMS,
        hashes=hashes,
        idf=rng.uniform(1, 9, len(hashes)).astype(np.float32),
        rows=normal(len(hashes), answers) * rng.lognormal(0, 2, (len(hashes), 1)).astype(np.float32),
        bias=normal(answers) + np.float32(3),
    )


def test_logits_are_those_of_the_formula():
    model = random_model(0)
    rows = {int(h): i for i, h in enumerate(model.hashes)}
    for text, logits in zip(TEXTS, model.logits(TEXTS), strict=True):
        found = plain_ngrams.counted(text, NGRAMS.words, NGRAMS.chars)
        times = {rows[h]: COUNTS[min(n, len(COUNTS)) - 1] / 256 for h, n in found.items() if h in rows}
        root = math.sqrt(sum((t * float(model.idf[i])) ** 2 for i, t in times.items())) or 1.0
        sums = sum((t * model.rows[i].astype(float) for i, t in times.items()), np.zeros(model.rows.shape[1])) / root
        assert logits == pytest.approx(sums + model.bias, rel=1e-6, abs=1e-6)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([2, 4, 8]), st.sampled_from([1e-3, 1.0, 1e3]))
def test_the_file_answers_as_the_weights_but_for_rounding(seed, answers, scale):
    model = random_model(seed, answers, scale)
    expected, probabilities = model.log_probs(TEXTS), model.rounded().probabilities(TEXTS)
    spread = float(np.ptp(model.logits(TEXTS), axis=1).max()) + 1
    given_ = np.log(np.maximum(probabilities, 2.0**-24))  # what is less is 0
    likely = expected > -12  # of what is next to impossible no digits are left
    assert np.abs(given_ - expected)[likely].max() < 0.03 * spread


def test_what_all_answers_have_in_common_takes_nothing_of_the_range():
    model = random_model(1)
    shifted = NgramModel(
        model.labels, NGRAMS, model.hashes, model.idf, model.rows + np.float32(512), model.bias + np.float32(512)
    )
    assert model.rounded().answers(TEXTS) == shifted.rounded().answers(TEXTS)
    assert shifted.rounded().probabilities(TEXTS) == pytest.approx(model.rounded().probabilities(TEXTS), abs=1e-2)


def test_weights_of_nothing_and_biases_beyond_everything_fit(tmp_path):
    model = random_model(2)
    for rows, bias in ((0.0, 0.0), (0.0, 1e30), (1e-30, 1e6), (1e30, 1e30)):
        extreme = NgramModel(
            model.labels,
            NGRAMS,
            model.hashes,
            model.idf,
            np.full_like(model.rows, rows) * np.array([1, -1, 0, 0], np.float32),
            np.array([-bias, bias, 0, 0], np.float32),
        )
        extreme.rounded().write(tmp_path / "model.gguf")
        file = NgramFile.read(tmp_path / "model.gguf")
        assert np.isfinite(file.probabilities(TEXTS)).all()
        assert file.answers([""]) == [model.labels[int(extreme.bias.argmax())]]


def test_a_temperature_divides_logits():
    model = random_model(3)
    assert model.divided(2.5).logits(TEXTS) == pytest.approx(model.logits(TEXTS) / 2.5, rel=1e-5)


def test_a_saved_model_comes_back_by_its_kind(tmp_path):
    model = random_model(4)
    model.save(tmp_path)
    artifact = Artifact(path=tmp_path, kind="ngrams", key="", made_by="")
    assert (open_classifier(artifact).log_probs(TEXTS) == model.log_probs(TEXTS)).all()
    assert artifact.bytes > model.rows.nbytes


def test_what_is_no_classifier_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="'logits'"):
        open_classifier(Artifact(path=tmp_path, kind="logits", key="", made_by=""))
    with pytest.raises(RunFailure, match="cannot read the n-grams"):
        NgramModel.read(tmp_path)
    random_model(5).save(tmp_path)
    (tmp_path / FORM).write_text("{}")
    with pytest.raises(RunFailure, match="cannot read the n-grams"):
        NgramModel.read(tmp_path)
