"""A model that is handed on in memory gives the bytes of one that was read from the disk."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from conftest import bare_run, tiny_task
from tiny import FAMILIES, tiny_model

from lightbulb.core.artifact import Artifact
from lightbulb.core.files import sha256_of_file
from lightbulb.models import importing, loading
from lightbulb.models.gguf import write_gguf
from lightbulb.models.live import LiveModel
from lightbulb.models.resolve import resolve
from lightbulb.passes.adapt import Adapt
from lightbulb.passes.distill import Distill
from lightbulb.passes.evaluate import Evaluate
from lightbulb.passes.export import Export
from lightbulb.passes.format_task import FormatTask
from lightbulb.passes.prune_depth import PruneDepth
from lightbulb.passes.quantize import Quantize
from lightbulb.passes.teacher_logits import CacheLogits
from lightbulb.passes.trim_vocab import TrimVocab
from lightbulb.pipeline.recipe import Execution, Step, step
from lightbulb.train import engine, forward
from lightbulb.train.loop import Schedule

SCHEDULE = Schedule(epochs=1, learning_rate=1e-3, batch_size=8)


def steps(method: str = "full") -> list[Step]:
    """Every pass that makes a model of a model, and those that only read one between them."""
    return [
        step("formatted", FormatTask(), "model"),
        step("teacher", Adapt(schedule=SCHEDULE, freeze_layers=1, method=method), "formatted"),
        step("teacher-validation", Evaluate(split="validation"), "teacher"),
        step("trimmed", TrimVocab(size=300), "teacher"),
        step("logits", CacheLogits(), "trimmed"),
        step("pruned", PruneDepth(layers=2), "trimmed"),
        step("student", Distill(schedule=SCHEDULE), "pruned", logits="logits"),
        step("student-validation", Evaluate(split="validation"), "student"),
        step("again", Adapt(schedule=SCHEDULE), "student"),
        step("student-q4_0", Quantize(recover=SCHEDULE), "again", logits="logits"),
        step("gguf", Export(quant_type="q4_0"), "student-q4_0"),
    ]


@contextmanager
def run_in(folder: Path, kind: str):
    with bare_run(folder, tiny_task(kind, 40)) as run:
        yield run


def bytes_of(folder: Path) -> dict[str, str]:
    """All files of all steps but the records of what they cost."""
    files = [f for f in folder.glob("steps/*/*") if f.name != "cost.json"]
    return {str(f.relative_to(folder)): sha256_of_file(f) for f in files}


def performed(folder: Path, source: Path, kind: str, recipe: list[Step]) -> dict[str, str]:
    with run_in(folder, kind) as run:
        start = run.begin(
            "model",
            "key",
            lambda out, _, progress: importing.import_model(resolve(str(source)), out, progress, run.live),
        )
        Execution(run, start).perform(*recipe)
    return bytes_of(folder)


@pytest.fixture
def reads(monkeypatch):
    """Names of the folders whose weights were read from the disk."""
    real, found = loading.load_model, []

    def load_model(folder, *args, weights=None, **more):
        if weights is None:
            found.append(folder.name)
        return real(folder, *args, weights=weights, **more)

    for module in (importing, loading):
        monkeypatch.setattr(module, "load_model", load_model)
    return found


@pytest.mark.parametrize("native", [True, False], ids=["bf16", "float32"])
@pytest.mark.parametrize(
    ("family", "kind", "method"),
    [("llama", "choose", "full"), ("gemma3_text", "generate", "full"), ("qwen2", "text", "lora")],
)
def test_a_whole_recipe_with_and_without(tmp_path, monkeypatch, reads, family, kind, method, native):
    if not native:
        for module in (engine, forward):
            monkeypatch.setattr(module, "native_bf16", lambda device: False)
    model = tiny_model(tmp_path / "model", family, layers=3)
    handed_on = performed(tmp_path / "with", model, kind, steps(method))
    assert reads == ["model"], "the folder that the user named, and nothing that a step before had made"
    monkeypatch.setattr(LiveModel, "keep", lambda self, weights: None)
    assert performed(tmp_path / "without", model, kind, steps(method)) == handed_on
    assert len(reads) == 1 + 1 + 10


@pytest.mark.parametrize("family", FAMILIES)
def test_an_import_of_a_gguf_writes_once_what_it_wrote_twice(tmp_path, monkeypatch, family):
    """As it was: the weights of the file in a folder, read from there and written again."""
    model, real = tiny_model(tmp_path / "model", family), loading.load_model
    write_gguf(model, tmp_path / "m.gguf", "q8_0")
    source = resolve(str(tmp_path / "m.gguf"))
    importing.import_model(source, tmp_path / "once")

    def twice(folder, *args, weights=None, **more):
        loading.write_weights(weights, folder)
        return real(folder, *args, **more)

    monkeypatch.setattr(importing, "load_model", twice)
    importing.import_model(source, tmp_path / "twice")
    once, again = ({f.name: f.read_bytes() for f in (tmp_path / n).iterdir()} for n in ("once", "twice"))
    assert once == again


def test_an_import_parses_its_header_once_and_hashes_its_file_once(tmp_path, monkeypatch):
    from lightbulb.formats.gguf import header
    from lightbulb.models import resolve as resolving
    from lightbulb.models.origin import origin_of

    write_gguf(tiny_model(tmp_path / "model"), tmp_path / "m.gguf", "q8_0")
    read, hashed = [], []
    real_read, real_hash = header._read_one, resolving.sha256_of_file
    monkeypatch.setattr(header, "_read_one", lambda file: read.append(file) or real_read(file))
    monkeypatch.setattr(resolving, "sha256_of_file", lambda file: hashed.append(file) or real_hash(file))
    source = resolve(str(tmp_path / "m.gguf"))
    resolving.check_family(source)
    resolving.check_contents(source)
    assert resolving.fingerprint(source) == resolving.fingerprint(source)
    importing.import_model(source, tmp_path / "imported")
    origin_of(source)
    assert len(read) == len(hashed) == 1


@pytest.fixture
def model(tmp_path) -> Artifact:
    return Artifact(path=tiny_model(tmp_path / "m"), kind="model", key="m", made_by="test")


def test_one_model_at_most_and_never_another_s(model, tmp_path, reads):
    other = Artifact(path=tiny_model(tmp_path / "other", seed=1), kind="model", key="other", made_by="test")
    live = LiveModel()
    live.keep(loading.save_model(loading.load_model(model.path), tmp_path / "copy"))
    reads.clear()
    live.read(model)
    assert len(reads) == 1, "what is not bound to a key is nobody's"
    live.keep(loading.save_model(loading.load_model(model.path), tmp_path / "copy"))
    live.bind("m")
    live.bind("other")
    reads.clear()
    one, two = live.read(model), live.read(model)
    weights = [m.get_input_embeddings().weight for m in (one, two)]
    assert reads == [] and weights[0].data_ptr() == weights[1].data_ptr()
    live.read(other)
    assert len(reads) == 1 and live._weights == {}


def test_what_is_taken_is_changed_by_its_taker_alone(model, tmp_path, reads):
    live = LiveModel()
    live.keep(loading.save_model(loading.load_model(model.path), tmp_path / "copy"))
    live.bind("m")
    reads.clear()
    taken = live.take(model)
    assert reads == [] and not taken.training and all(p.requires_grad for p in taken.parameters())
    before = taken.get_input_embeddings().weight.detach().clone()
    with torch.no_grad():
        taken.get_input_embeddings().weight.add_(1.0)
    again = live.take(model)
    assert len(reads) == 1 and torch.equal(again.get_input_embeddings().weight, before)


def test_a_step_that_fails_hands_on_nothing(imported, tmp_path, monkeypatch):
    from lightbulb.passes import model_pass

    class Failing(FormatTask):
        def change(self, model, source, out, context):
            super().change(model, source, out, context)
            raise RuntimeError("as asked")

    with run_in(tmp_path / "run", "choose") as run:
        run.step("formatted", FormatTask(), imported)
        assert run.live._key is not None
        with pytest.raises(RuntimeError):
            run.step("failing", Failing(), imported)
        assert run.live._key is None and run.live._weights == {}
    assert issubclass(Failing, model_pass.ModelPass)
