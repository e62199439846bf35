"""Files of slots as a runtime of lightbulb: natively they answer as the reference does."""

from __future__ import annotations

import random

import pytest
from random_classifiers import HOSTILE
from random_slots import BAD, KNOWN, bad, random_file

from lightbulb.core.errors import ModelError, UserError
from lightbulb.measuring.workload import Workload, check_capable, subjects
from lightbulb.models.kinds.slot_file import write_slots
from lightbulb.runtimes import is_language_model, open_gguf
from lightbulb.runtimes.slots import Slots
from lightbulb.serving.service import Question, Service
from lightbulb.tasks.demo import home_task
from lightbulb.testing import RuntimeConformance
from lightbulb.testing.runtimes import RuntimeCase
from lightbulb.train.slots import Learner

filament = pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
if not hasattr(filament, "SlotFiller"):
    pytest.skip("this filament fills in no answers: make filament", allow_module_level=True)
FORMS = [{}, {"copied": False}, {"closed": False}]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A task, the file that was fitted on it, and where that lies."""
    task, path = home_task(train=400), tmp_path_factory.mktemp("home") / "model.gguf"
    file = Learner(task.train, 2, 100_000, 0).fit(1.0)
    write_slots(file, path)
    return task, file, path


class TestConformance(RuntimeConformance):
    @pytest.fixture(scope="class")
    def case(self, home):
        task, file, path = home
        texts = [e.prompt for e in task.test[:8]]
        said = file.fill(texts)
        memorised = [([{"role": "user", "content": t}], f.text) for t, f in zip(texts, said, strict=True)]
        answers = sorted({f.text for f in said})
        return RuntimeCase(Slots.open(path), memorised, answers, texts, opened=lambda: Slots.open(path))


def test_it_answers_as_the_reference_does(home):
    task, file, path = home
    texts = [e.prompt for e in (*task.test, *task.validation)]
    said, given = file.fill(texts), Slots(path, threads=2).generate(texts, 64)
    assert given.texts == [f.text for f in said]
    assert given.probabilities == pytest.approx(tuple(file.probabilities(said)), rel=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_any_text_is_answered_as_the_reference_does(tmp_path, form):
    rng, path = random.Random(0), tmp_path / "model.gguf"
    texts = [
        *KNOWN,
        "",
        " ",
        "a" * 5000,
        "18:05 " * 300,
        "\ud800 7 \udfffAnna",
        *(b.decode("utf-8", "replace") for b in HOSTILE),
    ]
    texts += [" ".join(rng.choice([*KNOWN, "\u00a0", "İ", '\x00\x1f\\"']) for _ in range(6)) for _ in range(20)]
    for seed in range(8):
        file = random_file(seed, **form)
        write_slots(file, path)
        said, given = file.fill(texts), filament.SlotFiller(path, threads=2).fill(texts)
        assert given[0] == [f.text for f in said]
        assert given[1] == pytest.approx(file.probabilities(said).tolist(), rel=1e-4, abs=1e-30)


@pytest.mark.parametrize("asked", ["llamacpp", "filament", "classifier", "slots"])
def test_nothing_else_opens_it(home, asked):
    path = home[2]
    runtime = open_gguf(path, asked, threads=1)
    assert isinstance(runtime, Slots) and not is_language_model(path)
    assert (runtime.info.architecture, runtime.info.answers) == ("lightbulb-slots", ())


def test_a_file_cut_anywhere_is_refused(tmp_path):
    path = tmp_path / "cut.gguf"
    write_slots(random_file(1), path)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 32, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(filament.FilamentError, match="cut.gguf"):
            filament.SlotFiller(path).fill(["wake me"])


def test_damaged_bytes_do_no_harm(tmp_path):
    """Any bytes turned into others: most are refused, some still work."""
    path, rng, refused = tmp_path / "damaged.gguf", random.Random(0), 0
    write_slots(random_file(2), path)
    whole = path.read_bytes()
    for _ in range(1500):
        copy = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 8))):
            copy[rng.randrange(len(copy))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        path.write_bytes(copy)
        try:
            filament.SlotFiller(path).fill(["wake ANNA at 18:05!", ""])
        except filament.FilamentError as e:
            assert str(e).startswith(f"{path}: ")
            refused += 1
    assert refused > 300


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_clear_error(tmp_path, name):
    path = tmp_path / "model.gguf"
    write_slots(bad(name), path)
    with pytest.raises(ModelError, match="filament cannot run this file: ") as e:
        open_gguf(path)
    assert e.value.where == str(path)


def test_a_service_tells_how_sure_it_is(home):
    """Which is what a user holds against a bound, because nothing of these files abstains."""
    task, file, path = home
    service, text = Service(path, threads=1), task.test[0].prompt
    (answer,) = service.answer([service.prepare(Question(({"role": "user", "content": text},)))])
    service.close()
    (filled,) = said = file.fill([text + "\n"])
    assert answer.text == filled.text and answer.likeliest is None
    assert answer.probability == pytest.approx(file.probabilities(said)[0], rel=1e-5)


@pytest.mark.parametrize("batch", [1, 4])
def test_it_is_measured_without_tokens_of_its_own(home, batch):
    task, _, path = home
    check_capable(Slots, task)
    workload = Workload(task, batch, context=64, output_tokens=16, threads=1, seed=0)
    (read,) = subjects(Slots(path), workload)
    prompt_tokens, output_tokens = read.answer(read.prompts[0])
    assert read.name == "read" and len(read.prompts[0]) == read.batch and (read.batch == batch or batch == 1)
    assert prompt_tokens == sum(len(p.split()) for p in read.prompts[0]) and output_tokens >= read.batch
    with pytest.raises(UserError, match="say which tokens"):
        check_capable(Slots, None)
