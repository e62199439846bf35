"""Encoders: a model that reads the whole text at once, with a head for the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from lightbulb.core.errors import MissingExtra
from lightbulb.formats.gguf.quant_types import QUANT_TYPES
from lightbulb.models.kinds.base import text_of
from lightbulb.models.kinds.encoder_source import check_encoder, folder_of, resolve_encoder
from lightbulb.models.kinds.encoder_spec import EncoderSpec
from lightbulb.passes.adapt_encoder import AdaptEncoder
from lightbulb.passes.evaluate import Evaluate
from lightbulb.passes.fit_head import FitHead
from lightbulb.passes.import_encoder import ImportEncoder
from lightbulb.passes.refit_head import RefitHead
from lightbulb.passes.trim_encoder import TrimEncoder
from lightbulb.passes.verify_classifier import VerifyClassifier
from lightbulb.pipeline.recipe import START, Step, step
from lightbulb.runtimes import runtime_class
from lightbulb.shrinking.candidate import Candidate
from lightbulb.shrinking.cost_model import BATCH_SIZES
from lightbulb.shrinking.kinds.base import After, Setting, StudentKind, file_of, learns_from_validation
from lightbulb.shrinking.kinds.linear import checked, on_validation, verify
from lightbulb.shrinking.steps import EMBEDDING, TEACHER, TEACHER_VALIDATION, export, stock_candidates
from lightbulb.train.loop import Schedule

IMPORTED, TRIMMED = "encoder", "encoder-trimmed"
FROZEN, ADAPTED = "frozen", "adapted"
DEPTHS = (1 / 6, 1 / 3, 1 / 2)  # shares of the layers that students keep, bold first
WHOLE = Schedule(epochs=3, learning_rate=1e-4)
CUT = Schedule(epochs=6, learning_rate=5e-4)
# Seen with MiniLM-L6 on a core of a Zen 4: the head's fits and all that is not reading, and reading, for each character
# and each weight of the layers. Backwards takes as long as reading twice, and the optimizer as one reading more.
SECONDS, SECONDS_PER_CHARACTER_AND_WEIGHT = 20.0, 8e-12
TRAINING = 4.0


class Encoders(StudentKind):
    """An encoder, a packaged one or the one that was asked for: kept as it is, with a linear head on its vectors;
    fine-tuned; and its first layers alone, fine-tuned. All but the first read with the pieces that the task needs.

    Where the encoder is the run's model itself, the fine-tuned one is the teacher: its files are what a user would have
    without lightbulb, and its first layers learn from it.
    """

    name: ClassVar[str] = "encoder"
    after: ClassVar[After] = "model"

    def candidates(self, setting: Setting) -> Sequence[Candidate]:
        """Those that take a minute first, then those that are trained, the cheapest to use first. Of the run's own
        model the whole one comes before those that learn from it."""
        if setting.task.kind != "choose" or not runtime_class("classifier").installed() or not _there(setting.encoder):
            return []
        spec = spec_of(setting)
        cuts = [self._candidate(ADAPTED, layers=n) for n in depths(spec.layers)]
        rounded = [self._candidate(FROZEN, quant_type="q4_0")] if QUANT_TYPES["q4_0"].fits(spec.width) else []
        frozen = [self._candidate(FROZEN), *rounded]
        if setting.is_encoder:
            return [*frozen, stock_candidates(spec.layers, self.name)[0], *cuts]
        return [*frozen, *cuts, self._candidate(ADAPTED)]

    def _candidate(self, variant: str, quant_type: str = "q8_0", layers: int = 0) -> Candidate:
        return Candidate.model_validate(
            {"kind": self.name, "method": "plain", "quant_type": quant_type, "variant": variant, "layers": layers}
        )

    def steps(self, candidate: Candidate, setting: Setting) -> list[Step]:
        imported = START if setting.is_encoder else IMPORTED
        begin = [] if setting.is_encoder else [step(IMPORTED, ImportEncoder(encoder=setting.encoder), START)]
        heads = (held_out(self._candidate(FROZEN)), self._candidate(FROZEN).label)  # fine-tuning begins with one
        whole = next((label for label in heads if label in setting.made), imported)
        if candidate.is_stock:
            return [step(TEACHER, adapt(candidate, setting), whole), *teacher_checked(candidate)]
        if candidate.variant == FROZEN:
            return [*begin, *self._frozen(candidate, setting, imported)]
        if candidate.layers:
            follows = {"teacher": TEACHER} if setting.is_encoder and TEACHER in setting.made else {}
            make = [step(TRIMMED, TrimEncoder(), imported)]
            make.append(step(candidate.label, adapt(candidate, setting), TRIMMED, **follows))
        else:
            make = [step(f"{whole}-trimmed", TrimEncoder(), whole)]
            make.append(step(candidate.label, adapt(candidate, setting), f"{whole}-trimmed"))
        file = file_of(candidate, export(candidate), candidate.label, setting)
        return [*begin, *make, *file, *checked(candidate)]

    def refits(self, candidate: Candidate, setting: Setting) -> bool:
        """Where the encoder stays as it is, its head."""
        return candidate.variant == FROZEN and not candidate.is_stock and learns_from_validation(setting)

    def _frozen(self, candidate: Candidate, setting: Setting, imported: str) -> list[Step]:
        """With a head of its own on vectors as they are, or as they become by rounding."""
        fit, label, begin = FitHead(), candidate.label, []
        if candidate.quant_type != "q8_0":
            fit = FitHead(quant_type=candidate.quant_type, embedding=EMBEDDING)
            begin, imported = [step(TRIMMED, TrimEncoder(), imported)], TRIMMED
        if not self.refits(candidate, setting):
            file = file_of(candidate, export(candidate), label, setting)
            return [*begin, step(label, fit, imported), *file, *checked(candidate)]
        return [
            *begin,
            step(held_out(candidate), fit, imported),
            step(candidate.held_out_file, export(candidate), held_out(candidate)),
            step(label, RefitHead(), held_out(candidate)),
            step(candidate.file_label, export(candidate), label),
            verify(candidate),
            on_validation(candidate, candidate.held_out_file),
        ]

    def seconds(self, candidate: Candidate, setting: Setting) -> float:
        spec = spec_of(setting)
        trained, read = (sum(len(text_of(e)) for e in split) for split in (setting.task.train, setting.task.validation))
        whole, own = (layer_weights(spec, n) * SECONDS_PER_CHARACTER_AND_WEIGHT for n in (0, candidate.layers))
        if candidate.variant == FROZEN:
            return SECONDS + whole * ((2 if self.refits(candidate, setting) else 1) * trained + 3 * read)
        epochs = schedule_of(candidate, setting).epochs
        teacher = whole * trained if setting.is_encoder and not candidate.is_stock else 0.0
        return SECONDS + own * (TRAINING * epochs * trained + 2 * read) + teacher


def held_out(candidate: Candidate) -> str:
    """Label of a frozen encoder whose head has not learnt from the validation split."""
    return f"{candidate.label}-held-out"


def adapt(candidate: Candidate, setting: Setting) -> AdaptEncoder:
    """The training of a candidate."""
    layers = candidate.layers if candidate.layers and not candidate.is_stock else None
    return AdaptEncoder(schedule=schedule_of(candidate, setting), layers=layers)


def schedule_of(candidate: Candidate, setting: Setting) -> Schedule:
    """Few examples need many steps: smaller batches, and where the head begins at zero twice the epochs."""
    batch_size = next(size for size, least in BATCH_SIZES if len(setting.task.train) >= least)
    if candidate.is_stock or not candidate.layers:
        return WHOLE.model_copy(update={"batch_size": batch_size})
    epochs = CUT.epochs if batch_size == BATCH_SIZES[0][0] else 2 * CUT.epochs
    return CUT.model_copy(update={"epochs": epochs, "batch_size": batch_size})


def _there(encoder: str) -> bool:
    """Whether a packaged one is installed; one that is named and not there is an error, of which its reader tells."""
    try:
        resolve_encoder(encoder)
    except MissingExtra:
        return False
    return True


def depths(layers: int) -> list[int]:
    """Of the students of an encoder of so many layers, bold first."""
    return sorted({max(1, round(layers * share)) for share in DEPTHS} - {layers})


def layer_weights(spec: EncoderSpec, layers: int) -> int:
    """Of the matrices of so many layers; 0: of all."""
    return (layers or spec.layers) * (4 * spec.width**2 + 2 * spec.width * spec.feed_forward)


def spec_of(setting: Setting) -> EncoderSpec:
    """What the encoder of a job is."""
    return check_encoder(folder_of(resolve_encoder(setting.encoder)))


def teacher_checked(candidate: Candidate) -> list[Step]:
    """The teacher's own file, whether it answers as its weights do, and what it scores on validation."""
    file = candidate.file_label
    return [
        step(file, export(candidate), TEACHER),
        step(candidate.verify_label, VerifyClassifier(), file, model=TEACHER),
        step(TEACHER_VALIDATION, Evaluate(split="validation", runtime="classifier"), file),
    ]
