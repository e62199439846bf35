"""Every pass and both runtimes through the published suite of lightbulb.testing."""

from __future__ import annotations

from functools import cache

import pytest
from conftest import tiny_task

from lightbulb.core.artifact import Artifact
from lightbulb.core.progress import Silent
from lightbulb.energy.meter import Meter
from lightbulb.passes import PASSES, pass_class
from lightbulb.pipeline.run import Run
from lightbulb.testing import PassCase, PassConformance, RuntimeCase, RuntimeConformance
from lightbulb.train.loop import Schedule

SHORT = Schedule(epochs=1, learning_rate=1e-3, batch_size=8)
MORE = {
    "adapt": {"freeze_layers": 1},
    "trim-vocab": {"size": 300},
    "teacher-logits": {"top_k": 4},
    "prune-depth": {"layers": 1},
    "distill": {"temperature": 1.0},
    "quantize": {"quant_type": "q8_0"},
    "export": {"embedding": "q8_0"},
    "verify": {"prompts": 4},
    "check-import": {"answered": 4},
    "evaluate": {"limit": 3},
    "measure": {"trials": 10, "window_seconds": 0.02},
}
PARAMETERS = {
    "adapt": {"schedule": SHORT},
    "prune-depth": {"layers": 2},
    "distill": {"schedule": SHORT},
    "quantize": {"recover": SHORT},
    "export": {"quant_type": "q4_0"},
    "evaluate": {"split": "validation"},
    "measure": {"trials": 8, "window_seconds": 0.02},
}
SOURCES = {
    "format-task": ("imported", {}),
    "check-import": ("formatted", {}),
    "adapt": ("formatted", {}),
    "trim-vocab": ("formatted", {}),
    "teacher-logits": ("formatted", {}),
    "prune-depth": ("formatted", {}),
    "distill": ("pruned", {"logits": "logits"}),
    "quantize": ("pruned", {"logits": "logits"}),
    "export": ("formatted", {}),
    "verify": ("gguf", {"model": "formatted"}),
    "evaluate": ("gguf", {}),
    "measure": ("gguf", {"teacher": "gguf"}),
}
KINDS = {
    "generate": ("format-task", "check-import", "adapt", "trim-vocab", "distill", "export", "verify", "evaluate"),
    "text": ("check-import", "adapt", "teacher-logits", "verify", "evaluate", "measure"),
}
CASES = [(name, "choose") for name in PASSES] + [(name, kind) for kind, names in KINDS.items() for name in names]


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
            trains=name in ("adapt", "distill", "quantize"),
            timed=name == "measure",
        )


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
def by_heart(imported, tmp_path_factory):
    """A model that has learnt a generate task by heart, with tokens for the answers of a choose task, and its file."""
    task = tiny_task("generate", 12)
    with Run(
        tmp_path_factory.mktemp("by_heart"), task, seed=0, progress=Silent(), meter=Meter((), threads=1), threads=1
    ) as run:
        formatted = run.step("formatted", pass_class("format-task")(), imported)
        schedule = Schedule(epochs=120, learning_rate=3e-3, batch_size=8)
        learnt = run.step("learnt", pass_class("adapt")(schedule=schedule), formatted)
    return task, learnt


@pytest.fixture(scope="session")
def runtimes(by_heart, tmp_path_factory):
    from lightbulb.models.gguf import write_gguf
    from lightbulb.models.loading import load_model, save_model
    from lightbulb.models.vocabulary import add_answers
    from lightbulb.runtimes.filament import Filament
    from lightbulb.runtimes.llamacpp import LlamaCpp
    from lightbulb.runtimes.torch import Torch

    task, learnt = by_heart
    answers = tiny_task("choose").answers
    folder = tmp_path_factory.mktemp("runtimes")
    model = load_model(learnt.path)
    ids = add_answers(learnt.path, folder, model, answers)
    save_model(model, folder)
    write_gguf(
        folder, folder / "model.gguf", "f32", metadata={"lightbulb.answers": list(answers), "lightbulb.answer_ids": ids}
    )
    artifact = Artifact(path=folder, kind="model", key="by-heart", made_by="test", facts={"answer_ids": ids})
    return {
        "torch": cache(lambda: Torch(artifact)),
        "llamacpp": cache(lambda: LlamaCpp(folder / "model.gguf", threads=1)),
        "filament": cache(lambda: Filament(folder / "model.gguf", threads=1)),
    }


class TestRuntimes(RuntimeConformance):
    @pytest.fixture(params=["torch", "llamacpp", "filament"])
    def case(self, request, runtimes, by_heart):
        if request.param == "filament":
            pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
        task, _ = by_heart
        memorised = [([{"role": "user", "content": e.prompt}], e.completion) for e in task.train[:5]]
        other = {"torch": "llamacpp", "llamacpp": "torch", "filament": "llamacpp"}[request.param]
        texts = [e.completion for e in tiny_task("text").test[:3]]
        return RuntimeCase(runtimes[request.param](), memorised, tiny_task("choose").answers, texts, runtimes[other]())
