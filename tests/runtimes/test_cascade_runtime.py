"""Files that hand on to a language model beside them: what is sure is answered cheaply, the rest as it would alone."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace

import pytest
from conftest import tiny_task
from random_classifiers import random_model
from random_slots import KNOWN, random_file

from lightbulb.core.errors import ModelError, UserError
from lightbulb.formats.gguf.keys import with_keys
from lightbulb.measuring.workload import Workload, check_capable, subjects
from lightbulb.models.kinds.fallback import BESIDE, BYTES_KEY, FILE_KEY, THRESHOLD_KEY, write_with_fallback
from lightbulb.models.kinds.slot_file import write_slots
from lightbulb.runtimes import is_language_model, open_gguf
from lightbulb.runtimes.cascade import ClassifierCascade, SlotsCascade
from lightbulb.runtimes.exchange import Options
from lightbulb.serving.service import Question, Service
from lightbulb.testing import RuntimeConformance
from lightbulb.testing.runtimes import RuntimeCase

filament = pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
if not hasattr(filament, "SlotFiller"):
    pytest.skip("this filament fills in no answers: make filament", allow_module_level=True)
ANSWERS = tiny_task("choose").answers


def turns_of(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def asked(by_heart) -> list[str]:
    """Questions that the language model knows by heart, and others."""
    return [e.prompt for e in by_heart.task.train] + [e.prompt for e in tiny_task("choose").test]


def middle(path, asked: list[str]) -> float:
    """A threshold that about half of the questions reach."""
    runtime = open_gguf(path, threads=1)
    prompts = [runtime.render(turns_of(text)) for text in asked]
    answers = runtime.info.answers
    made = runtime.answer(prompts, answers) if answers else runtime.generate(prompts, 64)
    runtime.close()
    return sorted(made.probabilities)[len(asked) // 2]


@pytest.fixture(scope="module")
def choosing(by_heart, asked, tmp_path_factory):
    """A pair that chooses, and the first of it alone."""
    folder = tmp_path_factory.mktemp("choosing")
    (folder / "pair").mkdir()
    alone = replace(random_model(1, answers=len(ANSWERS), unit=50.0), answers=list(ANSWERS)).write(
        folder / "alone.gguf"
    )
    write_with_fallback(alone, by_heart.file, middle(alone, asked), folder / "pair" / "model.gguf")
    return folder / "pair" / "model.gguf", alone


@pytest.fixture(scope="module")
def filling(by_heart, asked, tmp_path_factory):
    """Likewise, of one that writes."""
    folder = tmp_path_factory.mktemp("filling")
    (folder / "pair").mkdir()
    write_slots(random_file(3), folder / "alone.gguf")
    threshold = middle(folder / "alone.gguf", asked + KNOWN)
    write_with_fallback(folder / "alone.gguf", by_heart.file, threshold, folder / "pair" / "model.gguf")
    return folder / "pair" / "model.gguf", folder / "alone.gguf"


class TestChoosing(RuntimeConformance):
    @pytest.fixture(scope="class")
    def case(self, choosing, asked):
        opened = ClassifierCascade.open(choosing[0], threads=1)
        said = opened.answer([opened.render(turns_of(t)) for t in asked], ANSWERS).texts
        memorised = [(turns_of(t), answer) for t, answer in zip(asked, said, strict=True)]
        return RuntimeCase(
            opened, memorised, ANSWERS, asked, opened=lambda: ClassifierCascade.open(choosing[0], threads=1)
        )


@pytest.mark.parametrize("then", ["llamacpp", "filament"])
def test_it_chooses_what_the_one_that_is_sure_chooses(choosing, by_heart, asked, then):
    pair, first, last = open_gguf(choosing[0], then, threads=1), open_gguf(choosing[1]), by_heart.runtime(then)
    assert isinstance(pair, ClassifierCascade) and not is_language_model(choosing[0])
    own, other = (r.answer([r.render(turns_of(t)) for t in asked], ANSWERS) for r in (first, last))
    made = pair.answer([pair.render(turns_of(t)) for t in asked], ANSWERS)
    sure = [p >= pair.threshold for p in own.probabilities]
    assert made.texts == [a if s else b for s, a, b in zip(sure, own.texts, other.texts, strict=True)]
    assert [t.read for t in made.each] == [
        (a if s else b).read for s, a, b in zip(sure, own.each, other.each, strict=True)
    ]
    assert 3 < sum(sure) < len(asked) - 3 and own.texts != other.texts and made.probabilities is None
    place = sure.index(True)
    alone = pair.answer([pair.render(turns_of(asked[place]))], ANSWERS)
    assert alone.probabilities == (own.probabilities[place],)
    pair.close()


def test_it_writes_what_the_one_that_is_sure_writes(filling, by_heart, asked):
    asked = asked[: len(by_heart.task.train)] + KNOWN
    pair, first, last = open_gguf(filling[0], threads=1), open_gguf(filling[1]), by_heart.runtime("llamacpp")
    assert isinstance(pair, SlotsCascade)
    own, other = (r.generate([r.render(turns_of(t)) for t in asked], 40) for r in (first, last))
    heard: Counter[int] = Counter()
    pieces: dict[int, str] = {}

    def hear(number: int, piece: str) -> None:
        heard[number] += 1
        pieces[number] = pieces.get(number, "") + piece

    prompts = [pair.render(turns_of(t)) for t in asked]
    made, streamed = pair.generate(prompts, 40), pair.generate(prompts, 40, Options(stream=hear))
    sure = [p >= pair.threshold for p in own.probabilities]
    assert made.texts == [a if s else b for s, a, b in zip(sure, own.texts, other.texts, strict=True)]
    assert streamed.texts == made.texts == [pieces.get(n, "") for n in range(len(asked))]
    assert 2 < sum(sure) < len(asked) - 2 and any(heard[n] > 1 for n, s in enumerate(sure) if not s)
    with pytest.raises(UserError, match="JSON Schema"):
        pair.generate(prompts, 40, Options(schema="{}"))
    pair.close()


def test_a_service_tells_the_probability_of_what_it_is_sure_of(choosing, by_heart, asked):
    service = Service(choosing[0], threads=1)
    told = [service.answer([service.prepare(Question(tuple(turns_of(text))))])[0] for text in asked]
    first = open_gguf(choosing[1])
    own = first.answer([first.render(turns_of(text)) for text in asked], ANSWERS)
    for answer, text, p in zip(told, own.texts, own.probabilities, strict=True):
        assert (answer.probability is None) == (p < service.runtime.threshold)
        assert answer.probability is None or (answer.text, answer.probability) == (text, p)
        assert answer.joules is not None and answer.cpu_seconds.value > 0
    service.close()


def test_it_is_measured_over_all_test_items(choosing):
    task, runtime = tiny_task("choose"), open_gguf(choosing[0], threads=1)
    check_capable(type(runtime), task)
    (read,) = subjects(runtime, Workload(task, 1, 0, 0, 1, 0))
    prompts = [runtime.render(turns_of(e.prompt)) for e in task.test]
    assert {p for batch in read.prompts for p in batch} == set(prompts)
    runtime.close()


def test_without_the_language_model_it_says_what_is_missing(choosing, tmp_path):
    shutil.copy(choosing[0], tmp_path / "model.gguf")
    with pytest.raises(ModelError, match="the file for that is not there") as e:
        open_gguf(tmp_path / "model.gguf")
    assert e.value.where == str(tmp_path / BESIDE) and BESIDE in e.value.hint
    (tmp_path / BESIDE).write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="has 4 bytes"):
        open_gguf(tmp_path / "model.gguf")
    size = choosing[1].stat().st_size
    with_keys(choosing[0], tmp_path / "m.gguf", {BYTES_KEY: size})
    shutil.copy(choosing[1], tmp_path / BESIDE)
    with pytest.raises(ModelError, match="no language model"):
        open_gguf(tmp_path / "m.gguf")


@pytest.mark.parametrize(
    "keys",
    [
        {FILE_KEY: "../language-model.gguf"},
        {FILE_KEY: "/etc/passwd"},
        {FILE_KEY: ""},
        {FILE_KEY: ".."},
        {FILE_KEY: "model.gguf"},
        {FILE_KEY: 7},
        {BYTES_KEY: "many"},
        {BYTES_KEY: 0},
        {THRESHOLD_KEY: -0.5},
        {THRESHOLD_KEY: float("nan")},
        {THRESHOLD_KEY: "high"},
    ],
)
def test_keys_that_make_no_sense_are_refused(choosing, tmp_path, keys):
    with_keys(choosing[0], tmp_path / "model.gguf", keys)
    with pytest.raises(ModelError, match="does not say which file"):
        open_gguf(tmp_path / "model.gguf")
