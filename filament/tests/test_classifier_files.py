"""Files of classifiers that are cut short, damaged or hostile: one clear error each, never a crash."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from random_classifiers import NgramModel, random_model, write_cascade, write_file

lightbulb_filament = pytest.importorskip("lightbulb_filament", reason="filament is not built: `make filament`")

SMALL = {"rows": 20, "answers": 3, "width": 5}


def tried(path) -> str | None:
    """The error of opening and using the file, None if it works."""
    try:
        lightbulb_filament.Classifier(path).classify(["why is my card not_yet 3,50", ""])
    except lightbulb_filament.FilamentError as e:
        return str(e)
    return None


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file of n-grams and a cascade."""
    folder = tmp_path_factory.mktemp("files")
    models = [random_model(seed, **SMALL) for seed in (1, 2)]
    stages = [model.write(folder / f"{n}.gguf") for n, model in enumerate(models)]
    assert tried(stages[0]) is None
    cascade = write_cascade(folder / "cascade.gguf", stages, [0.5], models[0].answers)
    assert tried(cascade) is None
    return [stages[0], cascade]


def test_a_file_cut_anywhere_is_refused(files, tmp_path):
    cut = tmp_path / "cut.gguf"
    for whole in (file.read_bytes() for file in files):
        for length in range(0, len(whole) - 32, 7):
            cut.write_bytes(whole[:length])
            assert (said := tried(cut)) and str(cut) in said


def test_damaged_bytes_do_no_harm(files, tmp_path):
    """Any bytes turned into others, those of the files within a file, too: most are refused, some still work."""
    damaged, rng = tmp_path / "damaged.gguf", random.Random(0)
    for whole in (file.read_bytes() for file in files):
        refused = 0
        for _ in range(1500):
            copy = bytearray(whole)
            for _ in range(rng.choice((1, 1, 2, 8))):
                copy[rng.randrange(len(copy))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
            damaged.write_bytes(copy)
            said = tried(damaged)
            assert said is None or said.startswith(f"{damaged}: ")
            refused += said is not None
        assert refused > 300


def int16(*values: int) -> np.ndarray:
    return np.array(values, np.int16)


BROKEN = {
    "ngrams.version 2 is not known": lambda f, t: f.update({"ngrams.version": 2}),
    "lightbulb.kind is text": lambda f, t: f.update({"lightbulb.kind": "text"}),
    "lightbulb.answers is missing": lambda f, t: f.pop("lightbulb.answers"),
    "lightbulb.answers is no list of texts": lambda f, t: f.update({"lightbulb.answers": [1, 2]}),
    "lightbulb.answers names 1 answers": lambda f, t: f.update({"lightbulb.answers": ["a"]}),
    "names an answer twice": lambda f, t: f.update({"lightbulb.answers": ["a", "b", "a"]}),
    "lightbulb.threshold is no probability": lambda f, t: f.update({"lightbulb.threshold": 1.5}),
    "threshold is no probability": lambda f, t: f.update({"lightbulb.threshold": float("nan")}),
    "lightbulb.none is one of the answers": lambda f, t: f.update({"lightbulb.none": "answer 1"}),
    "ngrams.bias has another shape": lambda f, t: f.update({"lightbulb.answers": ["a", "b", "c", "d"]}),
    "ngrams.words is no range": lambda f, t: f.update({"ngrams.words": [2, 1]}),
    "ngrams.words is no list of integers": lambda f, t: f.update({"ngrams.words": 2}),
    "ngrams.chars is no range": lambda f, t: f.update({"ngrams.chars": [1, 9]}),
    "ngrams.chars is no range of lengths": lambda f, t: f.update({"ngrams.chars": [1]}),
    "name no n-grams": lambda f, t: f.update({"ngrams.words": [0, 0], "ngrams.chars": [0, 0]}),
    "ngrams.unit is no number above 0": lambda f, t: f.update({"ngrams.unit": float("nan")}),
    "ngrams.unit is no number above": lambda f, t: f.update({"ngrams.unit": 0.0}),
    "ngrams.hashes do not ascend": lambda f, t: t.update({"ngrams.hashes": t["ngrams.hashes"][::-1].copy()}),
    "hashes do not ascend": lambda f, t: t["ngrams.hashes"].__setitem__(1, t["ngrams.hashes"][0]),
    "the tensor ngrams.hashes is missing": lambda f, t: t.pop("ngrams.hashes"),
    "ngrams.idf is of another type": lambda f, t: t.update({"ngrams.idf": t["ngrams.idf"].astype(np.int32)}),
    "ngrams.idf has another shape": lambda f, t: t.update({"ngrams.idf": t["ngrams.idf"][1:]}),
    "ngrams.idf holds 0": lambda f, t: t["ngrams.idf"].__setitem__(3, 0),
    "ngrams.scales holds -1": lambda f, t: t["ngrams.scales"].__setitem__(3, -1),
    "ngrams.weights holds -128": lambda f, t: t["ngrams.weights"].__setitem__((3, 1), -128),
    "ngrams.weights has another shape": lambda f, t: t.update({"ngrams.weights": t["ngrams.weights"].T.copy()}),
    "ngrams.counts holds -5": lambda f, t: t.update({"ngrams.counts": int16(256, -5)}),
    "ngrams.counts has an impossible shape": lambda f, t: t.update({"ngrams.counts": int16(*[256] * 257)}),
    "ngrams.head holds 2048": lambda f, t: t["ngrams.head"].__setitem__((1, 1), 2048),
    "ngrams.head has another shape": lambda f, t: t.update({"ngrams.head": t["ngrams.head"][:2]}),
    "or there is an ngrams.head": lambda f, t: t.pop("ngrams.head"),
}


@pytest.mark.parametrize("said", BROKEN)
def test_what_does_not_fit_is_named(tmp_path, said):
    model = random_model(1, **SMALL)
    fields, tensors = model.fields(), {name: array.copy() for name, array in model.tensors().items()}
    BROKEN[said](fields, tensors)
    path = write_file(tmp_path / "m.gguf", "lightbulb-ngrams", fields, tensors)
    assert said in (tried(path) or "") and str(path) in (tried(path) or "")


def test_scores_that_could_overflow_are_refused(tmp_path):
    """2^63 is passed by 20 columns of the largest sums that 4 million rows could make; fewer cannot."""
    rows = 1 << 22
    model = NgramModel(
        answers=["a", "b"], words=(1, 1), chars=(0, 0), unit=1.0,
        hashes=np.arange(rows, dtype=np.uint32), idf=np.full(rows, 1, np.int16), scales=np.full(rows, 32767, np.int16),
        weights=np.full((rows, 2), 127, np.int8), counts=int16(256), bias=np.zeros(2, np.int32),
        head=np.full((2, 2), 2047, np.int16),
    )  # fmt: skip
    assert tried(model.write(tmp_path / "m.gguf")) is None
    wide = replace(model, weights=np.full((rows, 300), 127, np.int8), head=np.full((2, 300), 2047, np.int16))
    assert "could pass 63 bits" in (tried(wide.write(tmp_path / "w.gguf")) or "")


def test_crowded_hashes_are_found_too(tmp_path):
    """All begin with the same bits, so that one place of the table names them all."""
    model = random_model(1, rows=3000, answers=2)
    hashes = (model.hashes[len(model.hashes) // 2] + np.arange(-1500, 1500, dtype=np.int64)).astype(np.uint32)
    alike = {name: np.resize(getattr(model, name), 3000) for name in ("idf", "scales")}
    crowded = replace(model, hashes=np.sort(hashes), weights=np.resize(model.weights, (3000, 2)), **alike)
    texts = ["why is my card", "top-up don't pay"] * 10
    numbers, _ = lightbulb_filament.Classifier(crowded.write(tmp_path / "m.gguf")).classify(texts)
    assert numbers == [crowded.choice(text.encode())[0] for text in texts]


CASCADES = {
    "cascade.thresholds has 2 numbers for 2 stages": lambda f, t: f.update({"cascade.thresholds": [0.5, 0.5]}),
    "cascade.thresholds holds what is no number": lambda f, t: f.update({"cascade.thresholds": [float("inf")]}),
    "cascade.thresholds is missing": lambda f, t: f.pop("cascade.thresholds"),
    "a cascade needs the tensor stage.1": lambda f, t: t.pop("stage.1"),
    "stage.1: not a GGUF file": lambda f, t: t.update({"stage.1": np.zeros(400, np.int8)}),
    "stage.0 does not hold a file": lambda f, t: t.update({"stage.0": t["stage.0"].reshape(2, -1)}),
    "stage.0 has other answers": lambda f, t: f.update({"lightbulb.answers": ["x", "y", "z"]}),
    "a cascade of more than 3 stages": lambda f, t: t.update({"stage.2": t["stage.0"], "stage.3": t["stage.0"]}),
    "the architecture lightbulb-cascade cannot be run here": lambda f, t: t.update({"stage.1": t["itself"]}),
}


@pytest.mark.parametrize("said", CASCADES)
def test_what_is_wrong_with_a_cascade_is_named(files, tmp_path, said):
    small, cascade = (np.frombuffer(file.read_bytes(), np.int8) for file in files)
    answers = random_model(1, **SMALL).answers
    fields = {"lightbulb.answers": answers, "cascade.thresholds": [0.5]}
    tensors = {"stage.0": small, "stage.1": small, "itself": cascade}
    CASCADES[said](fields, tensors)
    path = write_file(tmp_path / "m.gguf", "lightbulb-cascade", fields, tensors)
    assert said in (tried(path) or "") and str(path) in (tried(path) or "")


def test_a_language_model_is_no_classifier_and_a_classifier_none(files, tmp_path):
    path = write_file(tmp_path / "m.gguf", "llama", {}, {"token_embd.weight": np.zeros((4, 32), np.float32)})
    assert "these can: lightbulb-ngrams" in (tried(path) or "")
    with pytest.raises(lightbulb_filament.FilamentError, match="lightbulb-ngrams cannot be run"):
        lightbulb_filament.Model(files[0])
