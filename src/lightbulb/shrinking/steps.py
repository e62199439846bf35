"""The steps that a shrinking is made of, by label: what the chooser performs and a recipe lists."""

from __future__ import annotations

from lightbulb.ops.grids import Grid
from lightbulb.passes.adapt import Adapt
from lightbulb.passes.check_import import CheckImport
from lightbulb.passes.distill import Distill
from lightbulb.passes.evaluate import Evaluate
from lightbulb.passes.export import Export
from lightbulb.passes.format_task import FormatTask
from lightbulb.passes.measure import SOURCE, Measure
from lightbulb.passes.prune_depth import PruneDepth
from lightbulb.passes.quantize import Quantize
from lightbulb.passes.teacher_logits import CacheLogits
from lightbulb.passes.trim_vocab import TrimVocab
from lightbulb.passes.verify import Verify
from lightbulb.pipeline.recipe import Step, step
from lightbulb.shrinking.plan import Method, Plan, Precision
from lightbulb.train.loop import Schedule

FORMATTED, FORMATTED_FILE, CHECK, TEACHER = "formatted", "formatted-gguf", "import-check", "teacher"
TEACHER_RATE = 3e-4
STUDENT_RATE = 6e-4
STOCK: tuple[Precision, ...] = ("f16", "q8_0", "q4_0")  # what a user would try first
STOCK_LABELS = tuple(f"teacher-{q}" for q in STOCK)
COSTS = "costs"
EMBEDDING: Grid = "q8_0"  # of quantized files: llama.cpp, too, keeps a tied embedding wider than the layers


def depth(layers: int) -> str:
    return "1 layer" if layers == 1 else f"{layers} layers"


def format_steps(runtime: str = "llamacpp") -> list[Step]:
    """The model in the task's form, its file, and whether the runtime that ships reads and computes both alike."""
    return [
        step(FORMATTED, FormatTask(), "model"),
        step(FORMATTED_FILE, Export(quantization="f16"), FORMATTED),
        step(CHECK, CheckImport(runtime=runtime), FORMATTED, gguf=FORMATTED_FILE),
    ]


def teacher_steps(plan: Plan) -> list[Step]:
    """The adapted teacher, its score on validation, its trimmed twin and, where students may learn from them, its
    logits."""
    schedule = Schedule(epochs=plan.teacher_epochs, learning_rate=TEACHER_RATE, batch_size=plan.batch_size)
    return [
        step(TEACHER, Adapt(schedule=schedule, freeze_layers=plan.freeze_layers), FORMATTED),
        step("teacher-validation", on_validation(plan), TEACHER),
        step("trimmed", TrimVocab(), TEACHER),
        *([step("logits", CacheLogits(), "trimmed")] if "distill" in plan.methods else []),
    ]


def on_validation(plan: Plan, runtime: str = "llamacpp") -> Evaluate:
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


def quantized(source: str, method: Method, grid: Precision, plan: Plan, runtime: str) -> tuple[str, list[Step]]:
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


def cost_steps(student: str | None, windows: tuple[int, float], runtime: str) -> list[Step]:
    """Verification, stock exports and costs. `student` labels the quantized model folder; without one the teacher's own
    file is verified, and the stock files alone are measured. windows: trials of each file, and seconds of one."""
    files, (trials, seconds) = measured_files(student), windows
    steps = [
        step(f"teacher-{q}", Export(quantization=q, embedding=None if q == "f16" else EMBEDDING), TEACHER)
        for q in STOCK
    ]
    measure = Measure(trials=trials, window_seconds=seconds, runtime=runtime)
    return [
        *steps,
        step("verify", Verify(runtime=runtime), files[0], model=student or TEACHER),
        step(COSTS, measure, files[0], **{label: label for label in files[1:]}),
    ]


def measured_files(student: str | None) -> list[str]:
    """Labels of the files that are measured and tested: the student's, where there is one, and the stock files."""
    return [*([f"{student}-gguf"] if student else []), *STOCK_LABELS]


def test_steps(student: str | None, limit: int | None, runtime: str) -> list[Step]:
    """Scores of the student and of the stock files on test, or on `limit` of its items."""
    labels = measured_files(student)
    return [step(f"{label}-test", Evaluate(split="test", limit=limit, runtime=runtime), label) for label in labels]


def measured_roles(costs: Step) -> dict[str, str]:
    """Label of each file that the step measured -> its role in the facts, the source's first."""
    return {str(costs.source): SOURCE, **{label: role for role, label in costs.inputs.items()}}
