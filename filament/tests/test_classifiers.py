"""Classifiers: C++ beside docs/format.md in plain Python, on texts of every kind and every instruction set."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from random_classifiers import HOSTILE, features, random_model, sentence, write_cascade, write_file

lightbulb_filament = pytest.importorskip("lightbulb_filament", reason="filament is not built: `make filament`")

FORMS = {
    "plain": {},
    "a head": {"width": 24, "answers": 21, "bias": 100_000, "unit": 2e6},
    "a head of odd width": {"width": 7, "answers": 3, "bias": 100_000, "unit": 2e6},
    "words alone": {"chars": (0, 0), "words": (1, 3)},
    "characters alone": {"words": (0, 0), "chars": (1, 8)},
    "many answers": {"answers": 150, "rows": 300},
    "two answers, one count": {"answers": 2, "counts": 1},
    "one row": {"rows": 1},
    "the largest biases": {"bias": 2**31},
    "all counts": {"counts": 256},
    "large numbers": {"largest": True, "rows": 1500, "bias": 300, "unit": 700.0},
    "large numbers and a head": {"largest": True, "rows": 1500, "width": 70, "answers": 33, "bias": 2**20, "unit": 1e6},
}
SHARED = Path(__file__).parents[3] / "shared" / "data"


def texts_of(seed: int) -> list[str]:
    rng = random.Random(seed)
    found = [sentence(rng, rng.randrange(1, 30)) for _ in range(25)]
    found += [
        "",
        " ",
        "a",
        "card",
        "card " * 700,
        "x" * 3000,
        *(text for data in HOSTILE[:1] for text in [data.decode()]),
    ]
    return found + [data.decode("utf-8", "replace") for data in HOSTILE]


@pytest.mark.parametrize("words, chars", [((1, 2), (2, 5)), ((1, 1), (0, 0)), ((2, 8), (1, 8)), ((0, 0), (3, 3))])
def test_ngrams_are_those_of_the_format(words, chars):
    for text in [*texts_of(0), "\ud800 card \udfff\udc00x"]:
        data = text.encode("utf-8", "surrogatepass")
        assert dict(lightbulb_filament.ngram_hashes(text, words, chars)) == features(data, words, chars), repr(text)


def test_every_code_point_is_folded_and_sorted_as_the_format_says():
    """Each between two letters: what it becomes, and whether it ends a word or a token, shows in the hashes."""
    for first in range(0, 0x11000, 64):
        text = " ".join(f"a{chr(p)}b" for p in range(first, first + 64) if not 0xD800 <= p < 0xE000)
        found = dict(lightbulb_filament.ngram_hashes(text, (1, 1), (3, 3)))
        assert found == features(text.encode(), (1, 1), (3, 3)), hex(first)


@pytest.mark.parametrize("kernels", lightbulb_filament.available())
@pytest.mark.parametrize("form", FORMS)
def test_answers_are_those_of_the_format(tmp_path, form, kernels):
    model = random_model(len(form), **FORMS[form])
    classifier = lightbulb_filament.Classifier(model.write(tmp_path / "m.gguf"), kernels=kernels)
    assert classifier.answers == tuple(model.answers) and classifier.kinds == ("lightbulb-ngrams",)
    texts = texts_of(1)
    expected = [model.choice(text.encode()) for text in texts]
    numbers, probabilities = classifier.classify(texts)
    assert numbers == [number for number, _ in expected]
    assert probabilities == [p for _, p in expected], "whole numbers, and one division: the same to the last bit"
    alike = form in ("one row", "the largest biases")
    assert alike or len(set(numbers)) > 1, "a test in which all texts get one answer shows little"
    assert classifier.stages_used(texts) == [0] * len(texts)


def test_of_equal_scores_the_first_wins(tmp_path):
    model = random_model(3, answers=20)
    model.weights[:, 10:] = model.weights[:, :10]
    model.bias[10:] = model.bias[:10]
    numbers, probabilities = lightbulb_filament.Classifier(model.write(tmp_path / "m.gguf")).classify(texts_of(2))
    assert max(numbers) < 10 and max(probabilities) <= 0.5
    assert numbers == [model.choice(text.encode())[0] for text in texts_of(2)]


def test_neighbours_history_and_threads_change_nothing(tmp_path):
    path = random_model(4).write(tmp_path / "m.gguf")
    one, three = (lightbulb_filament.Classifier(path, threads=n) for n in (1, 3))
    texts = texts_of(3) * 20
    whole = one.classify(texts)
    assert three.classify(texts) == whole == one.classify(tuple(texts))
    assert [one.classify([text]) for text in texts[:40]] == [([n], [p]) for n, p in zip(*whole, strict=True)][:40]
    assert one.classify([]) == ([], [])


def test_several_threads_may_call_it_at_once(tmp_path):
    classifier = lightbulb_filament.Classifier(random_model(5).write(tmp_path / "m.gguf"), threads=2)
    texts = texts_of(4) * 10
    parts = [texts[n:] for n in range(8)]
    alone = [classifier.classify(part) for part in parts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(classifier.classify, parts)) == alone


def test_what_is_no_list_of_texts_is_refused(tmp_path):
    classifier = lightbulb_filament.Classifier(random_model(6).write(tmp_path / "m.gguf"))
    for wrong in ("one text", [b"bytes"], [1], None, 7):
        with pytest.raises(TypeError):
            classifier.classify(wrong)
    for words in ((0, 1), (2, 1), (1, 9)):
        with pytest.raises(ValueError, match="no range of lengths"):
            lightbulb_filament.ngram_hashes("a", words, (0, 0))


def test_when_none_of_the_answers_is_given_stands_in_the_file(tmp_path):
    model = random_model(11)
    for n, (more, expected) in enumerate(
        (
            ({}, (0.0, "none of these")),
            ({"lightbulb.threshold": 0.7}, (float(np.float32(0.7)), "none of these")),
            ({"lightbulb.threshold": 1.0, "lightbulb.none": "oos"}, (1.0, "oos")),
        )
    ):
        path = write_file(tmp_path / f"{n}.gguf", "lightbulb-ngrams", model.fields() | more, model.tensors())
        classifier = lightbulb_filament.Classifier(path)
        assert (classifier.threshold, classifier.none) == expected
        assert classifier.classify(texts_of(6))[0] == [model.choice(text.encode())[0] for text in texts_of(6)]
    cascade = write_cascade(tmp_path / "c.gguf", [path, path], [0.5], model.answers)
    assert lightbulb_filament.Classifier(cascade).threshold == 0, "a stage's own is not the cascade's"


def test_a_cascade_hands_on_what_it_is_not_sure_of(tmp_path):
    models = [random_model(seed, unit=unit) for seed, unit in ((7, 50.0), (8, 50.0), (9, 50.0))]
    files = [model.write(tmp_path / f"{n}.gguf") for n, model in enumerate(models)]
    texts = texts_of(5)
    choices = [[model.choice(text.encode()) for model in models] for text in texts]
    for thresholds in ((0.5, 0.6), (0.0, 0.0), (2.0, 2.0), (0.4,)):
        stages = len(thresholds) + 1
        path = write_cascade(tmp_path / "c.gguf", files[:stages], thresholds, models[0].answers)
        cascade = lightbulb_filament.Classifier(path)
        used = [
            next((n for n, least in enumerate(thresholds) if of_text[n][1] >= least), stages - 1) for of_text in choices
        ]
        assert cascade.stages_used(texts) == used
        numbers, probabilities = cascade.classify(texts)
        assert numbers == [of_text[n][0] for of_text, n in zip(choices, used, strict=True)]
        assert probabilities == [of_text[n][1] for of_text, n in zip(choices, used, strict=True)]
        assert cascade.kinds == ("lightbulb-ngrams",) * stages and cascade.answers == tuple(models[0].answers)
        assert thresholds != (0.5, 0.6) or set(used) == {0, 1, 2}, "each stage must be needed somewhere"


def test_real_texts_have_the_same_ngrams():
    path = SHARED / "banking77" / "test.jsonl"
    if not path.is_file():
        pytest.skip("../shared/data/banking77 is not beside this repository")
    lines = path.read_text(encoding="utf-8").splitlines()
    for line in lines[::31]:
        text = json.loads(line)["prompt"]
        found = lightbulb_filament.ngram_hashes(text, (1, 2), (2, 5))
        assert dict(found) == features(text.encode(), (1, 2), (2, 5))
        assert [h for h, _ in found] == sorted(np.unique([h for h, _ in found]).tolist())
