"""The steps that a shrinking is made of, by label: what a search performs and a recipe lists."""

from __future__ import annotations

from collections.abc import Sequence

from lightbulb.formats.gguf.quant_types import QUANT_TYPES, QuantTypeName
from lightbulb.passes.adapt import Adapt
from lightbulb.passes.adapt_elastic import AdaptElastic
from lightbulb.passes.calibrate import Calibrate
from lightbulb.passes.check_import import CheckImport
from lightbulb.passes.distill import Distill
from lightbulb.passes.evaluate import Evaluate
from lightbulb.passes.export import Export
from lightbulb.passes.export_encoder import ExportEncoder
from lightbulb.passes.format_task import FormatTask
from lightbulb.passes.measure import SOURCE, Measure
from lightbulb.passes.prune_depth import PruneDepth
from lightbulb.passes.prune_width import PruneWidth
from lightbulb.passes.quantize import Quantize
from lightbulb.passes.replace_mixer import ReplaceMixer
from lightbulb.passes.teacher_logits import CacheLogits
from lightbulb.passes.trim_vocab import TrimVocab
from lightbulb.passes.verify import Verify
from lightbulb.pipeline.recipe import Step, step
from lightbulb.runtimes import runtime_class
from lightbulb.shrinking.abstain import Abstain
from lightbulb.shrinking.candidate import DECODER, Candidate
from lightbulb.shrinking.plan import Plan
from lightbulb.shrinking.space import BLOCK_TYPES
from lightbulb.tasks.task import TaskKind
from lightbulb.train.loop import Schedule

FORMATTED, FORMATTED_FILE, CHECK, TEACHER = "formatted", "formatted-gguf", "import-check", "teacher"
TEACHER_RATE = 3e-4
ELASTIC_RATE = 4e-4  # of a teacher that learns together with students: between theirs and its own
STUDENT_RATE = 6e-4
STOCK_LIMIT = 256  # validation items by which a stock file's threshold is chosen: it answers slowly
COSTS, TEACHER_VALIDATION = "costs", "teacher-validation"
EMBEDDING: QuantTypeName = "q8_0"  # of quantized files: llama.cpp, too, keeps a tied embedding wider than the layers


def format_steps(runtime: str = "llamacpp") -> list[Step]:
    """The model in the task's form, its file, and whether the runtime that ships reads and computes both alike."""
    return [
        step(FORMATTED, FormatTask(), "model"),
        step(FORMATTED_FILE, Export(quant_type="f16"), FORMATTED),
        step(CHECK, CheckImport(runtime=runtime), FORMATTED, gguf=FORMATTED_FILE),
    ]


def teacher_steps(plan: Plan) -> list[Step]:
    """The adapted teacher, its score on validation, its trimmed twin and, where students may learn from them, its
    logits."""
    rate = TEACHER_RATE if plan.elastic is None else ELASTIC_RATE
    schedule = Schedule(epochs=plan.teacher_epochs, learning_rate=rate, batch_size=plan.batch_size)
    adapt = Adapt(schedule=schedule, freeze_layers=plan.freeze_layers)
    elastic = AdaptElastic(schedule=schedule, layers=plan.elastic) if plan.elastic else None
    return [
        step(TEACHER, elastic or adapt, FORMATTED),
        step(TEACHER_VALIDATION, on_validation(plan), TEACHER),
        step("trimmed", TrimVocab(), TEACHER),
        *([step("logits", CacheLogits(), "trimmed")] if "distill" in plan.space.methods else []),
    ]


def on_validation(plan: Plan, runtime: str = "llamacpp") -> Evaluate:
    """The score on the validation items that the plan allows.

    Args:
        runtime: of an exported file; a model folder is read in torch
    """
    return Evaluate(split="validation", limit=plan.validation_limit, runtime=runtime)


def training_steps(candidate: Candidate, plan: Plan, *, probe: bool = False) -> list[Step]:
    """A student cut, trained (or probed), and scored on validation in torch. One with less of its feed-forward goes on
    from the wider one as it was trained. Of an elastic teacher a probe is the student as it was cut: it needs no
    training."""
    epochs = plan.probe_epochs if probe else plan.distill_epochs
    schedule = Schedule(epochs=epochs, learning_rate=STUDENT_RATE, batch_size=plan.batch_size)
    limit = plan.probe_limit if probe else plan.validation_limit
    prune = PruneDepth(layers=candidate.layers, by="influence" if plan.elastic is None else "order")
    steps = [step(f"pruned-{candidate.layers}", prune, "trimmed")]
    if candidate.mixer != "attention":
        steps.append(step(f"{steps[0].label}{candidate.mixer_label}", ReplaceMixer(), steps[0].label))
    if candidate.feed_forward < 1:
        narrow = PruneWidth(feed_forward=candidate.feed_forward)
        steps = [step(f"{candidate.label}-cut", narrow, candidate.wider.label)]
    label = f"probe-{candidate.layers}{candidate.mixer_label}-{candidate.method}" if probe else candidate.label
    cut = steps[-1].label
    if probe and plan.elastic is not None:
        return [*steps, step(f"{label}-validation", Evaluate(split="validation", limit=limit), cut)]
    train = (
        step(label, Distill(schedule=schedule), cut, logits="logits")
        if candidate.method == "distill"
        else step(label, Adapt(schedule=schedule), cut)
    )
    return [*steps, train, step(f"{label}-validation", Evaluate(split="validation", limit=limit), label)]


def file_steps(candidate: Candidate, plan: Plan, runtime: str, calibrate: Calibrate | None = None) -> list[Step]:
    """A trained student in the type of its file, exported, and its score on validation in `runtime`. f16 needs no
    recovery: the trained student is exported as it is. calibrate: what the file's probabilities say."""
    recover = Schedule(epochs=plan.recover_epochs, learning_rate=STUDENT_RATE / 4, batch_size=plan.batch_size)
    inputs = {"logits": "logits"} if candidate.method == "distill" else {}
    steps = []
    if candidate.quant_type is not None and candidate.quant_type != "f16":
        trained = candidate.model_copy(update={"quant_type": None}).label
        quantize = Quantize(quant_type=candidate.quant_type, embedding=EMBEDDING, recover=recover)
        steps = [step(candidate.label, quantize, trained, **inputs)]
    file = candidate.file_label
    return [
        *steps,
        *exported(candidate, candidate.label, calibrate),
        step(f"{file}-validation", on_validation(plan, runtime), file),
    ]


def exported(candidate: Candidate, source: str, calibrate: Calibrate | None) -> list[Step]:
    """A decoder's file, and how it is calibrated."""
    if calibrate is None:
        return [step(candidate.file_label, export(candidate), source)]
    whole = f"{candidate.file_label}-whole"
    return [step(whole, export(candidate), source), step(candidate.file_label, calibrate, whole)]


def student_calibration(kind: TaskKind, runtime: str, abstain: Abstain | None, plan: Plan) -> Calibrate | None:
    """Of a decoder that chooses, where the runtime can tell: how sure it is, and which answers it leaves out."""
    if kind != "choose" or not runtime_class(runtime).capabilities.scores_answers:
        return None
    limit = plan.validation_limit
    return abstain.calibration(runtime, limit) if abstain else Calibrate(runtime=runtime, limit=limit)


def export(candidate: Candidate) -> Export | ExportEncoder:
    """The step that makes a candidate's file.

    Raises:
        ValueError: the candidate has no type
    """
    if candidate.quant_type is None:
        raise ValueError(f"{candidate} has no type to be exported in")
    embedding = EMBEDDING if QUANT_TYPES[candidate.quant_type].block > 1 else None
    if candidate.kind == "encoder":
        return ExportEncoder(quant_type=candidate.quant_type, embedding=embedding)
    return Export(quant_type=candidate.quant_type, embedding=embedding)


def stock_candidates(layers: int, kind: str = DECODER) -> list[Candidate]:
    """What a user would try first: the adapted teacher of so many layers, finest first."""
    types: tuple[QuantTypeName, ...] = ("f16", *reversed(BLOCK_TYPES))
    return [Candidate(kind=kind, layers=layers, method="teacher", quant_type=q) for q in types]


def cost_steps(
    files: Sequence[Candidate], windows: tuple[int, float], runtime: str, abstain: Abstain | None = None
) -> list[Step]:
    """Stock exports, verification of a decoder (the students where there are some; other kinds were verified when they
    were made) and costs.

    Args:
        files: what is measured
        windows: trials of each file, and seconds of one
    """
    (first, *others), (trials, seconds) = files, windows
    calibrate = abstain.calibration(runtime, STOCK_LIMIT) if abstain else None
    exports = [s for c in files if c.is_stock for s in exported(c, TEACHER, calibrate)]
    measure = Measure(trials=trials, window_seconds=seconds, runtime=runtime)
    decoders = [c for c in files if c.kind == DECODER]
    decoders = [c for c in decoders if not c.is_stock] or decoders[:1]
    return [
        *exports,
        *(step(c.verify_label, Verify(runtime=runtime), c.file_label, model=c.label) for c in decoders),
        step(COSTS, measure, first.file_label, **{c.file_label: c.file_label for c in others}),
    ]


def test_step(candidate: Candidate, limit: int | None, runtime: str) -> Step:
    """The score of a file on test, or on `limit` of its items."""
    return step(candidate.test_label, Evaluate(split="test", limit=limit, runtime=runtime), candidate.file_label)


def roles(files: Sequence[Candidate]) -> dict[Candidate, str]:
    """What the facts of `cost_steps`'s measurement call each file."""
    first, *others = files
    return {first: SOURCE, **{c: c.file_label for c in others}}
