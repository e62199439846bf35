"""Files of classifiers as a runtime of lightbulb: opened whatever runtime was asked for, held to their answers."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")

from random_classifiers import random_model, sentence, write_cascade, write_file

from lightbulb.core.errors import ModelError, UserError
from lightbulb.formats.gguf.header import read_architecture
from lightbulb.runtimes import check_installed, open_gguf
from lightbulb.runtimes.classifier import Classifier
from lightbulb.testing import RuntimeConformance
from lightbulb.testing.runtimes import RuntimeCase

MODEL = random_model(1, answers=6, unit=50.0)
TEXTS = [sentence(random.Random(n), 9).strip() for n in range(12)]


def turns_of(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return MODEL.write(tmp_path_factory.mktemp("classifier") / "m.gguf")


class TestConformance(RuntimeConformance):
    @pytest.fixture(scope="class")
    def case(self, path):
        memorised = [(turns_of(text), MODEL.answers[MODEL.choice(text.encode())[0]]) for text in TEXTS]
        return RuntimeCase(Classifier.open(path), memorised, MODEL.answers, TEXTS, opened=lambda: Classifier.open(path))


def test_answers_and_probabilities_are_the_model_s(path):
    said = Classifier(path).answer(TEXTS, MODEL.answers)
    chosen = [MODEL.choice(text.encode()) for text in TEXTS]
    assert said.texts == [MODEL.answers[n] for n, _ in chosen] and len(set(said.texts)) > 1
    assert said.probabilities == pytest.approx(tuple(p for _, p in chosen), rel=1e-5)
    assert (said.prompt_tokens, said.output_tokens) == (sum(len(text.split()) for text in TEXTS), len(TEXTS))


def test_other_answers_are_refused_and_another_order_is_not(path):
    runtime = Classifier(path)
    assert runtime.answer(TEXTS, MODEL.answers[::-1]).texts == runtime.answer(TEXTS, MODEL.answers).texts
    for others in (MODEL.answers[:2], [*MODEL.answers, "more"], ["a", "b"]):
        with pytest.raises(ModelError, match="made for 6 answers") as e:
            runtime.answer(TEXTS, others)
        assert e.value.where == str(path) and e.value.hint


def test_a_prompt_is_what_the_turns_say(path):
    turns = [{"role": "system", "content": "a\n b"}, *turns_of(" c ")]
    assert Classifier(path).render(turns) == "a\n b\n c "


@pytest.mark.parametrize("asked", ["llamacpp", "filament", "classifier"])
def test_nothing_else_opens_it(path, asked):
    runtime = open_gguf(path, asked, threads=1)
    assert isinstance(runtime, Classifier)
    info = runtime.info
    assert (info.name, info.architecture, info.answers) == (str(path), "lightbulb-ngrams", tuple(MODEL.answers))
    assert info.bytes == path.stat().st_size and info.vocabulary is None and info.context_length is None


def test_a_cascade_tells_its_stages(path, tmp_path):
    cascade = write_cascade(tmp_path / "c.gguf", [path, path], [2.0], MODEL.answers)
    runtime = open_gguf(cascade)
    assert isinstance(runtime, Classifier) and runtime.kinds == ("lightbulb-ngrams",) * 2
    assert runtime.stages_used(TEXTS) == [1] * len(TEXTS)
    assert runtime.answer(TEXTS, MODEL.answers).texts == Classifier(path).answer(TEXTS, MODEL.answers).texts


def test_a_damaged_file_is_one_clear_error(path, tmp_path):
    broken = tmp_path / "m.gguf"
    fields = MODEL.fields() | {"ngrams.unit": 0.0}
    write_file(broken, "lightbulb-ngrams", fields, MODEL.tensors())
    with pytest.raises(ModelError, match=r"filament cannot run this file: .*ngrams\.unit") as e:
        open_gguf(broken)
    assert e.value.where == str(broken)
    broken.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ModelError, match=r"m\.gguf"):
        open_gguf(broken)


def test_without_filament_it_says_what_to_type(path, monkeypatch):
    monkeypatch.setattr(Classifier, "installed", classmethod(lambda cls: False))
    for opens in (lambda: open_gguf(path), lambda: Classifier(path), lambda: check_installed("classifier")):
        with pytest.raises(UserError, match="filament is not installed") as e:
            opens()
        assert e.value.hint == "make filament"


def test_the_architecture_is_read_without_the_rest(path, tmp_path):
    assert read_architecture(path) == "lightbulb-ngrams"
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(path.read_bytes()[:300])  # the first key is whole
    assert read_architecture(cut) == "lightbulb-ngrams"
    cut.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ModelError, match="not a readable GGUF"):
        read_architecture(cut)
