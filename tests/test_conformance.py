"""Every pass through the published suite of lightbulb.testing; runtimes: tests/runtimes/test_every_runtime.py."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from conftest import tiny_task
from llama_encoder import LlamaEncoder
from matmulfree_files import MIXERS, tiny_matmulfree
from tiny import tiny_model
from tiny_encoder import tiny_encoder

from lightbulb.core.artifact import Artifact
from lightbulb.core.progress import Silent
from lightbulb.energy.meter import Meter
from lightbulb.models.kinds.base import open_classifier
from lightbulb.models.kinds.encoder import Encoder
from lightbulb.models.kinds.ngrams import NgramFile
from lightbulb.models.kinds.slot_file import read_slots
from lightbulb.passes import PASSES, pass_class
from lightbulb.pipeline.run import Run
from lightbulb.runtimes import open_gguf
from lightbulb.testing import PassCase, PassConformance
from lightbulb.train.block_scores import read_orders
from lightbulb.train.calibration import read_mean_squares
from lightbulb.train.loop import Schedule
from lightbulb.train.pretraining import Pretraining

SHORT = Schedule(epochs=1, learning_rate=1e-3, batch_size=8)
PACKED = Pretraining(epochs=1, learning_rate=1e-3, batch_size=4)
MORE = {
    "pretrain": {"context": 16},
    "format-task": {"phrases": 8},
    "adapt": {"freeze_layers": 1},
    "adapt-elastic": {"layers": 2},
    "trim-vocab": {"size": 300},
    "teacher-logits": {"top_k": 4},
    "prune-depth": {"layers": 1},
    "prune-width": {"feed_forward": 0.25},
    "replace-mixer": {"layers": (1,)},
    "score-blocks": {"importance": "activation"},
    "prune-layers": {"feed_forward": (0.5, 1.0)},
    "prune-weights": {"share": 0.25},
    "importance-matrix": {"tokens": 100},
    "distill": {"temperature": 1.0},
    "quantize": {"quant_type": "q8_0"},
    "export": {"embedding": "q8_0"},
    "verify": {"prompts": 4},
    "check-import": {"answered": 4},
    "calibrate": {"precision": 0.5},
    "evaluate": {"limit": 3},
    "measure": {"trials": 10, "window_seconds": 0.02},
}
PARAMETERS = {
    "pretrain": {"schedule": PACKED, "context": 24},
    "adapt": {"schedule": SHORT},
    "adapt-elastic": {"schedule": SHORT, "layers": 1},
    "prune-depth": {"layers": 2},
    "prune-width": {"feed_forward": 0.5},
    "score-blocks": {"feed_forward": (0.5,), "groups": (0.5,), "tokens": 200},
    "prune-layers": {"layers": (0, 2)},
    "prune-weights": {"recover": SHORT},
    "importance-matrix": {"tokens": 200, "probe_tokens": 30},
    "distill": {"schedule": SHORT},
    "quantize": {"recover": SHORT},
    "export": {"quant_type": "q4_0"},
    "evaluate": {"split": "validation"},
    "measure": {"trials": 8, "window_seconds": 0.02},
}
SOURCES = {
    "format-task": ("imported", {}),
    "check-import": ("formatted", {}),
    "pretrain": ("imported", {}),
    "adapt": ("formatted", {}),
    "adapt-elastic": ("formatted", {}),
    "trim-vocab": ("formatted", {}),
    "teacher-logits": ("formatted", {}),
    "prune-depth": ("formatted", {}),
    "prune-width": ("formatted", {}),
    "replace-mixer": ("formatted", {}),
    "score-blocks": ("formatted", {}),
    "prune-layers": ("formatted", {"scores": "scores"}),
    "prune-weights": ("pruned", {"logits": "logits"}),
    "importance-matrix": ("pruned", {}),
    "distill": ("pruned", {"logits": "logits"}),
    "quantize": ("pruned", {"logits": "logits"}),
    "export": ("formatted", {}),
    "verify": ("gguf", {"model": "formatted"}),
    "calibrate": ("gguf", {}),
    "evaluate": ("gguf", {}),
    "measure": ("gguf", {"teacher": "gguf"}),
}
KINDS = {
    "generate": ("format-task", "check-import", "adapt", "trim-vocab", "distill", "export", "verify", "evaluate"),
    "text": ("pretrain", "check-import", "adapt", "teacher-logits", "verify", "evaluate", "measure"),
}
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
OTHERS = (*OF_ENCODERS, *OF_NGRAMS, *OF_SLOTS, "pretrain", "ternarize")
CASES = [(name, "choose") for name in PASSES if name not in OTHERS]
CASES += [(name, kind) for kind, names in KINDS.items() for name in names]


@pytest.fixture(scope="session")
def made(imported, tmp_path_factory):
    """Artifacts of each kind of task: made[kind][label]."""

    def all_of(kind: str) -> dict[str, Artifact]:
        with Run(
            tmp_path_factory.mktemp(kind),
            tiny_task(kind),
            seed=0,
            progress=Silent(),
            meter=Meter((), threads=1),
            threads=1,
        ) as run:
            formatted = run.step("formatted", pass_class("format-task")(), imported)
            return {
                "imported": imported,
                "formatted": formatted,
                "pruned": run.step("pruned", pass_class("prune-depth")(layers=2), formatted),
                "logits": run.step("logits", pass_class("teacher-logits")(), formatted),
                "scores": run.step("scores", pass_class("score-blocks")(types=()), formatted),
                "gguf": run.step("gguf", pass_class("export")(quant_type="f16"), formatted),
            }

    return {kind: all_of(kind) for kind in ("choose", "generate", "text")}


class TestPasses(PassConformance):
    @pytest.fixture(params=CASES, ids=lambda c: "-".join(c))
    def case(self, request, made):
        name, kind = request.param
        source, inputs = SOURCES[name]
        parameters, cls = PARAMETERS.get(name, {}), pass_class(name)
        return PassCase(
            cls(**parameters),
            made[kind][source],
            tiny_task(kind),
            {role: made[kind][label] for role, label in inputs.items()},
            changed=cls(**parameters | MORE[name]) if name in MORE else None,
            trains=name in ("pretrain", "adapt", "adapt-elastic", "distill", "prune-weights", "quantize"),
            timed=name == "measure",
            reload={"importance-matrix": reload_calibration, "score-blocks": reload_scores}.get(name),
        )


def reload_calibration(made: Artifact) -> None:
    mean_squares = read_mean_squares(made.path)
    assert mean_squares.keys() == made.facts["sensitivities"].keys()
    assert all((values >= 0).all() and values.any() for values in mean_squares.values())


def reload_scores(made: Artifact) -> None:
    orders, facts = read_orders(made.path), made.facts
    assert len(orders) == 2 * len(facts["without"])
    assert all(sorted(order.tolist()) == list(range(len(order))) for order in orders.values())


class TestGptq(PassConformance):
    @pytest.fixture
    def case(self, made):
        cls = pass_class("quantize")
        return PassCase(
            cls(method="gptq", tokens=200),
            made["choose"]["formatted"],
            tiny_task("choose"),
            changed=cls(method="gptq", tokens=100),
        )


@pytest.fixture(scope="module")
def elastic(made, tmp_path_factory) -> Artifact:
    with _run(tmp_path_factory.mktemp("elastic")) as run:
        return run.step("elastic", pass_class("adapt-elastic")(schedule=SHORT, layers=1), made["choose"]["formatted"])


class TestByOrder(PassConformance):
    @pytest.fixture(params=["prune-depth", "prune-width"])
    def case(self, request, elastic):
        cls = pass_class(request.param)
        depth = request.param == "prune-depth"
        given = {"layers": 2, "by": "order"} if depth else {"feed_forward": 0.5, "importance": "order"}
        more = {"layers": 1} if depth else {"feed_forward": 0.25}
        return PassCase(cls(**given), elastic, tiny_task("choose"), changed=cls(**given | more))


class TestMatMulFree(PassConformance):
    @pytest.fixture
    def case(self, tmp_path_factory):
        folder = tiny_matmulfree(tmp_path_factory.mktemp("matmulfree"), MIXERS["hybrid"][1:], width=64)
        source = Artifact(path=folder, kind="model", key="hybrid", made_by="start")
        cls = pass_class("pretrain")
        return PassCase(
            cls(schedule=PACKED, context=24),
            source,
            tiny_task("text"),
            changed=cls(schedule=PACKED, context=16),
            trains=True,
        )


class TestRecurrent(PassConformance):
    """Passes that train, on a model with recurrent layers."""

    @pytest.fixture(params=["distill", "quantize"])
    def case(self, request, made, tmp_path_factory):
        with _run(tmp_path_factory.mktemp("recurrent")) as run:
            source = run.step("recurrent", pass_class("replace-mixer")(layers=(0,)), made["choose"]["formatted"])
        cls, inputs = pass_class(request.param), {"logits": made["choose"]["logits"]}
        parameters = PARAMETERS[request.param]
        changed = cls(**parameters | MORE[request.param])
        return PassCase(cls(**parameters), source, tiny_task("choose"), inputs, changed=changed, trains=True)


class TestTernarize(PassConformance):
    @pytest.fixture(params=["logits", "alone"])
    def case(self, request, wide):
        cls = pass_class("ternarize")
        return PassCase(
            cls(schedule=SHORT),
            wide["formatted"],
            tiny_task("choose"),
            {"logits": wide["logits"]} if request.param == "logits" else {},
            changed=cls(schedule=SHORT, ramp=0.0),
            trains=True,
        )


@pytest.fixture(scope="session")
def wide(tmp_path_factory) -> dict[str, Artifact]:
    """A model whose widths are whole ternary blocks, and its logits."""
    folder = tiny_model(tmp_path_factory.mktemp("wide") / "model", width=256, layers=1)
    start = Artifact(path=folder, kind="model", key="wide", made_by="start")
    with _run(tmp_path_factory.mktemp("wide-run")) as run:
        formatted = run.step("formatted", pass_class("format-task")(), start)
        return {"formatted": formatted, "logits": run.step("logits", pass_class("teacher-logits")(), formatted)}


class TestLora(PassConformance):
    @pytest.fixture
    def case(self, made):
        cls = pass_class("adapt")
        return PassCase(
            cls(schedule=SHORT, method="lora"),
            made["choose"]["formatted"],
            tiny_task("choose"),
            changed=cls(schedule=SHORT, method="lora", lora_rank=4),
            trains=True,
        )


@pytest.fixture(scope="session")
def encoders(imported, tmp_path_factory) -> dict[str, Any]:
    """An encoder as it was imported, and with a head."""
    with _run(tmp_path_factory.mktemp("encoders")) as run:
        folder = tiny_encoder(tmp_path_factory.mktemp("bert") / "tiny")
        bare = run.step("bare", pass_class("import-encoder")(encoder=str(folder)), imported)
        other = run.step("other", pass_class("adapt-encoder")(schedule=SHORT), bare)
        headed = run.step("headed", pass_class("fit-head")(), bare)
    return {"imported": imported, "bare": bare, "headed": headed, "adapted": other, "folder": folder}


def _run(folder) -> Run:
    meter = Meter((), threads=1)
    return Run(folder, tiny_task("choose"), seed=0, progress=Silent(), meter=meter, threads=1)


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
def ngrams(imported, made, tmp_path_factory) -> dict[str, Artifact]:
    """A classifier by n-grams, and its file; a language model's file, and what that scores."""
    folder, meter = tmp_path_factory.mktemp("ngrams"), Meter((), threads=1)
    with Run(folder, tiny_task("choose"), seed=0, progress=Silent(), meter=meter, threads=1) as run:
        fitted = run.step("fitted", pass_class("fit-ngrams")(), imported)
        other = run.step("other", pass_class("fit-ngrams")(words=(1, 1), chars=(0, 0)), imported)
        files = {
            name: run.step(f"{name}-file", pass_class("export-ngrams")(), a)
            for name, a in (("file", fitted), ("other", other))
        }
        score = run.step("score", pass_class("evaluate")(split="validation"), made["choose"]["gguf"])
        return {"imported": imported, "fitted": fitted, "then": made["choose"]["gguf"], "score": score, **files}


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
    folder, meter = tmp_path_factory.mktemp("slots"), Meter((), threads=1)
    with Run(folder, tiny_task("generate"), seed=0, progress=Silent(), meter=meter, threads=1) as run:
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
