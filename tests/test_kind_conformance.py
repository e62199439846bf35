"""Every pass that makes or reads models of other kinds (encoders, n-grams, slots) through the published suite of
lightbulb.testing. Those of decoders: test_conformance.py."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from conftest import bare_run, tiny_task
from llama_encoder import LlamaEncoder
from tiny_encoder import tiny_encoder

from lightbulb.core.artifact import Artifact
from lightbulb.models.kinds.base import open_classifier
from lightbulb.models.kinds.encoder import Encoder
from lightbulb.models.kinds.ngrams import NgramFile
from lightbulb.models.kinds.slot_file import read_slots
from lightbulb.passes import pass_class
from lightbulb.runtimes import open_gguf
from lightbulb.testing import PassCase, PassConformance
from lightbulb.train.loop import Schedule

SHORT = Schedule(epochs=1, learning_rate=1e-3, batch_size=8)
OF_ENCODERS = ("import-encoder", "fit-head", "refit-head", "adapt-encoder", "trim-encoder", "export-encoder")
ENCODER_PARAMETERS = {
    "fit-head": {"cs": (1.0, 10.0)},
    "adapt-encoder": {"schedule": SHORT, "layers": 1},
    "trim-encoder": {"common": 10},
    "export-encoder": {"quant_type": "q8_0"},
}
MORE_OF_ENCODERS = {
    "import-encoder": {"fingerprint": "another"},
    "fit-head": {"normalize": False},
    "adapt-encoder": {"pooling": "cls"},
    "trim-encoder": {"positions": 32},
    "export-encoder": {"embedding": "f16"},
}
SOURCES_OF_NGRAMS = {
    "fit-ngrams": "imported",
    "refit-ngrams": "fitted",
    "export-ngrams": "fitted",
    "verify-classifier": "file",
    "cascade": "file",
    "fall-back": "file",
}
OF_NGRAMS = tuple(SOURCES_OF_NGRAMS)
OF_SLOTS = ("fit-slots", "refit-slots", "verify-slots")
OF_KINDS = (*OF_ENCODERS, *OF_NGRAMS, *OF_SLOTS)


@pytest.fixture(scope="session")
def encoders(imported, tmp_path_factory) -> dict[str, Any]:
    """An encoder as it was imported, and with a head."""
    with bare_run(tmp_path_factory.mktemp("encoders"), tiny_task("choose")) as run:
        folder = tiny_encoder(tmp_path_factory.mktemp("bert") / "tiny")
        bare = run.step("bare", pass_class("import-encoder")(encoder=str(folder)), imported)
        other = run.step("other", pass_class("adapt-encoder")(schedule=SHORT), bare)
        headed = run.step("headed", pass_class("fit-head")(), bare)
    return {"imported": imported, "bare": bare, "headed": headed, "adapted": other, "folder": folder}


def reload_encoder(made: Artifact) -> None:
    encoder, answers = Encoder.read(made.path), tiny_task("choose").answers
    if encoder.form.answers:
        log_probs = encoder.log_probs(["the card is lost", ""])
        assert encoder.form.answers == answers and log_probs.shape == (2, len(answers))
        assert abs(np.exp(log_probs).sum(1) - 1).max() < 1e-9
    else:
        assert np.isfinite(encoder.embed(["the card is lost", ""])).all()


def reload_encoder_file(made: Artifact) -> None:
    assert np.isfinite(LlamaEncoder(made.gguf).vector("the card is lost", 64)).all()


class TestEncoders(PassConformance):
    @pytest.fixture(params=[*OF_ENCODERS, "adapt-encoder with a teacher"])
    def case(self, request, encoders):
        name, _, teacher = request.param.partition(" with ")
        own = {"encoder": str(encoders["folder"])} if name == "import-encoder" else ENCODER_PARAMETERS.get(name, {})
        source = {"import-encoder": "imported", "export-encoder": "headed", "refit-head": "headed"}.get(name, "bare")
        more = MORE_OF_ENCODERS.get(name)
        return PassCase(
            pass_class(name)(**own),
            encoders[source],
            tiny_task("choose"),
            {"teacher": encoders["adapted"]} if teacher else {},
            changed=pass_class(name)(**own | more) if more else None,
            trains=request.param == "adapt-encoder",
            reload=reload_encoder_file if name == "export-encoder" else reload_encoder,
        )


@pytest.fixture(scope="module")
def ngrams(imported, tmp_path_factory) -> dict[str, Artifact]:
    """A classifier by n-grams, and its file; a language model's file, and what that scores."""
    with bare_run(tmp_path_factory.mktemp("ngrams"), tiny_task("choose")) as run:
        fitted = run.step("fitted", pass_class("fit-ngrams")(), imported)
        other = run.step("other", pass_class("fit-ngrams")(words=(1, 1), chars=(0, 0)), imported)
        files = {
            name: run.step(f"{name}-file", pass_class("export-ngrams")(), a)
            for name, a in (("file", fitted), ("other", other))
        }
        formatted = run.step("formatted", pass_class("format-task")(), imported)
        then = run.step("then", pass_class("export")(quant_type="f16"), formatted)
        score = run.step("score", pass_class("evaluate")(split="validation"), then)
        return {"imported": imported, "fitted": fitted, "then": then, "score": score, **files}


def reload_ngrams(made: Artifact) -> None:
    log_probs = open_classifier(made).log_probs(["the card is lost", ""])
    assert log_probs.shape == (2, len(tiny_task("choose").answers))
    assert abs(np.exp(log_probs).sum(axis=1) - 1).max() < 1e-9


def reload_ngram_file(made: Artifact) -> None:
    file = NgramFile.read(made.gguf)
    assert file.labels == tiny_task("choose").answers and set(file.answers(["the card is lost", ""])) <= {*file.labels}


def reload_cascade(made: Artifact) -> None:
    runtime, answers = open_gguf(made.gguf, threads=1), tiny_task("choose").answers
    prompts = [runtime.render([{"role": "user", "content": text}]) for text in ("the card is lost", "which colour")]
    assert set(runtime.answer(prompts, answers).texts) <= {*answers}
    runtime.close()


class TestNgrams(PassConformance):
    @pytest.fixture(params=OF_NGRAMS)
    def case(self, request, ngrams):
        if request.param in ("verify-classifier", "cascade", "fall-back"):
            filament = pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
            if not hasattr(filament, "Classifier"):
                pytest.skip("this filament runs no classifiers: make filament")
        source = SOURCES_OF_NGRAMS[request.param]
        more = {
            "fit-ngrams": {"within": 0.0},
            "verify-classifier": {"prompts": 4},
            "cascade": {"give_up": 0.5},
            "fall-back": {"give_up": 0.5},
        }.get(request.param)
        inputs = {
            "verify-classifier": {"model": ngrams["fitted"]},
            "cascade": {"then": ngrams["other"]},
            "fall-back": {"then": ngrams["then"], "scored": ngrams["score"]},
        }
        reload = {
            "fit-ngrams": reload_ngrams,
            "refit-ngrams": reload_ngrams,
            "export-ngrams": reload_ngram_file,
            "cascade": reload_cascade,
            "fall-back": reload_cascade,
        }
        cls = pass_class(request.param)
        return PassCase(
            cls(),
            ngrams[source],
            tiny_task("choose"),
            inputs.get(cls.name, {}),
            changed=cls(**more) if more else None,
            reload=reload.get(request.param),
        )


@pytest.fixture(scope="module")
def slots(imported, tmp_path_factory) -> dict[str, Artifact]:
    """A file of slots."""
    with bare_run(tmp_path_factory.mktemp("slots"), tiny_task("generate")) as run:
        return {"imported": imported, "file": run.step("file", pass_class("fit-slots")(), imported)}


def reload_slots(made: Artifact) -> None:
    (said,) = read_slots(made.gguf).fill([tiny_task("generate").test[0].prompt])
    assert isinstance(json.loads(said.text), dict)


class TestSlots(PassConformance):
    @pytest.fixture(params=OF_SLOTS)
    def case(self, request, slots):
        if request.param == "verify-slots":
            filament = pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
            if not hasattr(filament, "SlotFiller"):
                pytest.skip("this filament fills in no answers: make filament")
        cls, fits = pass_class(request.param), request.param != "verify-slots"
        changed = {"fit-slots": {"cs": (3.0,)}, "refit-slots": {"fewest": 9}, "verify-slots": {"prompts": 4}}
        return PassCase(
            cls(),
            slots["imported" if cls.name == "fit-slots" else "file"],
            tiny_task("generate"),
            changed=cls(**changed[cls.name]),
            reload=reload_slots if fits else None,
        )
