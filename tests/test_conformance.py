"""Every pass that works on decoders through the published suite of lightbulb.testing. Those of other kinds of model:
test_kind_conformance.py; runtimes: runtimes/test_every_runtime.py."""

from __future__ import annotations

import pytest
from conftest import bare_run, tiny_task
from matmulfree_files import MIXERS, tiny_matmulfree
from test_kind_conformance import OF_KINDS
from tiny import tiny_model

from lightbulb.core.artifact import Artifact
from lightbulb.passes import PASSES, pass_class
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
OTHERS = (*OF_KINDS, "pretrain", "ternarize")  # of these, what differs stands below
CASES = [(name, "choose") for name in PASSES if name not in OTHERS]
CASES += [(name, kind) for kind, names in KINDS.items() for name in names]


@pytest.fixture(scope="session")
def made(imported, tmp_path_factory):
    """Artifacts of each kind of task: made[kind][label]."""

    def all_of(kind: str) -> dict[str, Artifact]:
        with bare_run(tmp_path_factory.mktemp(kind), tiny_task(kind)) as run:
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
    with bare_run(tmp_path_factory.mktemp("elastic"), tiny_task("choose")) as run:
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
        with bare_run(tmp_path_factory.mktemp("recurrent"), tiny_task("choose")) as run:
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
    with bare_run(tmp_path_factory.mktemp("wide-run"), tiny_task("choose")) as run:
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
