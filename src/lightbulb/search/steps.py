"""The steps that a shrinking is made of, by label: what the chooser performs and a recipe lists."""

from __future__ import annotations

from lightbulb.ops.grids import Grid
from lightbulb.passes.adapt import Adapt
from lightbulb.passes.check_import import CheckImport
from lightbulb.passes.distill import Distill
from lightbulb.passes.evaluate import Evaluate
from lightbulb.passes.export import Export
from lightbulb.passes.frame import Frame
from lightbulb.passes.measure import Measure
from lightbulb.passes.prune_depth import PruneDepth
from lightbulb.passes.quantize import Quantize
from lightbulb.passes.teacher_logits import CacheLogits
from lightbulb.passes.trim_vocab import TrimVocab
from lightbulb.passes.verify import Verify
from lightbulb.recipe import Step, step
from lightbulb.runtimes import GgufRuntime
from lightbulb.search.plan import Method, Plan, Precision
from lightbulb.train.loop import Schedule

TEACHER_RATE = 3e-4
STUDENT_RATE = 6e-4
STOCK: tuple[Precision, ...] = ("f16", "q8_0", "q4_0")  # what a user would try first
EMBEDDING: Grid = "q8_0"  # of quantized files: llama.cpp, too, keeps a tied embedding wider than the layers


def depth(layers: int) -> str:
    return "1 layer" if layers == 1 else f"{layers} layers"


def import_steps(runtime: GgufRuntime) -> list[Step]:
    """The model in the task's form, and whether the runtime that ships reads and computes it alike: performed before
    anything is planned or trained."""
    return [step("framed", Frame(), "model"), step("import-check", CheckImport(runtime=runtime), "framed")]


def teacher_steps(plan: Plan) -> list[Step]:
    """The adapted teacher, its score on validation, its trimmed twin and, where students may learn from them, its
    logits."""
    schedule = Schedule(epochs=plan.teacher_epochs, learning_rate=TEACHER_RATE, batch_size=plan.batch_size)
    return [
        step("framed", Frame(), "model"),
        step("teacher", Adapt(schedule=schedule, freeze_layers=plan.freeze_layers), "framed"),
        step("teacher-validation", on_validation(plan), "teacher"),
        step("trimmed", TrimVocab(), "teacher"),
        *([step("logits", CacheLogits(), "trimmed")] if "distill" in plan.methods else []),
    ]


def on_validation(plan: Plan, runtime: GgufRuntime = "llamacpp") -> Evaluate:
    """`runtime`: of an exported file; a model folder is read in torch."""
    return Evaluate(split="validation", limit=plan.validation_limit, runtime=runtime)


def trained(layers: int, method: Method, plan: Plan, label: str, *, probe: bool = False) -> list[Step]:
    """A student of `layers` layers, trained (or probed), and its score on validation in torch."""
    epochs = plan.probe_epochs if probe else plan.distill_epochs
    schedule = Schedule(epochs=epochs, learning_rate=STUDENT_RATE, batch_size=plan.batch_size)
    limit = plan.probe_limit if probe else plan.validation_limit
    pruned = f"pruned-{layers}"
    train = (
        step(label, Distill(schedule=schedule), pruned, logits="logits")
        if method == "distill"
        else step(label, Adapt(schedule=schedule), pruned)
    )
    return [
        step(pruned, PruneDepth(layers=layers), "trimmed"),
        train,
        step(f"{label}-validation", Evaluate(split="validation", limit=limit), label),
    ]


def quantized(source: str, method: Method, grid: Precision, plan: Plan, runtime: GgufRuntime) -> tuple[str, list[Step]]:
    """A trained student on the grid that ships, exported, and its score on validation in `runtime`; with the label of
    the model folder that the file holds. f16 needs no grid: the trained student is exported as it is."""
    recover = Schedule(epochs=plan.recover_epochs, learning_rate=STUDENT_RATE / 4, batch_size=plan.batch_size)
    inputs = {"logits": "logits"} if method == "distill" else {}
    label, steps, embedding = source, [], None
    if grid != "f16":
        label, embedding = f"{source}-{grid}", EMBEDDING
        steps = [step(label, Quantize(grid=grid, embedding=EMBEDDING, recover=recover), source, **inputs)]
    return label, [
        *steps,
        step(f"{label}-gguf", Export(quantization=grid, embedding=embedding), label),
        step(f"{label}-gguf-validation", on_validation(plan, runtime), f"{label}-gguf"),
    ]


def cost_steps(student: str, trials: int, runtime: GgufRuntime) -> list[Step]:
    """Verification, stock exports and costs. `student` labels the quantized model folder."""
    gguf = f"{student}-gguf"
    steps = [step("verify", Verify(runtime=runtime), gguf, model=student)]
    steps += [
        step(f"teacher-{q}", Export(quantization=q, embedding=None if q == "f16" else EMBEDDING), "teacher")
        for q in STOCK
    ]
    stock = {f"teacher-{q}": f"teacher-{q}" for q in STOCK}
    return [*steps, step("costs", Measure(trials=trials, runtime=runtime), gguf, **stock)]


def test_steps(student: str, limit: int | None, runtime: GgufRuntime) -> list[Step]:
    """Scores of the student and of the stock files on test, or on `limit` of its items."""
    labels = (f"{student}-gguf", *(f"teacher-{q}" for q in STOCK))
    return [step(f"{label}-test", Evaluate(split="test", limit=limit, runtime=runtime), label) for label in labels]
