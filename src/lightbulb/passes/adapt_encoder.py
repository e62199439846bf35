"""adapt-encoder: fine-tunes an encoder, or its first layers, with a label head."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.errors import RecipeError
from lightbulb.core.facts_of_kinds import LabelFacts
from lightbulb.models.kinds.encoder_spec import Pooling
from lightbulb.passes.base import Context, Pass
from lightbulb.train.loop import Schedule

if TYPE_CHECKING:
    import numpy as np

    from lightbulb.models.kinds.encoder import Encoder
    from lightbulb.train.loop import LossFunction

LIKELIHOODS = "teacher.safetensors"


class AdaptEncoder(Pass):
    """Fine-tuning by cross-entropy; where there is an input "teacher", an encoder with the same answers, also by what
    it makes of the train split (Hinton et al. 2015).

    Attributes:
        schedule: of the training
        layers: the first so many are kept; None: all
        freeze_layers: the embeddings and the first N layers stay as they are
        pooling: None: as the source has it; with "cls" llama.cpp by itself gives the answers' scores
        weight: of the teacher; the rest is the data's
        temperature: of distilling
    """

    name: ClassVar[str] = "adapt-encoder"
    facts_type: ClassVar = LabelFacts
    reads: ClassVar[tuple[ArtifactKind, ...]] = ("encoder",)
    makes: ClassVar[ArtifactKind] = "encoder"

    schedule: Schedule = Schedule(epochs=6, learning_rate=3e-4)
    layers: int | None = Field(default=None, ge=1)
    freeze_layers: int = Field(default=0, ge=0)
    pooling: Pooling | None = None
    weight: float = Field(default=0.7, ge=0, le=1)
    temperature: float = Field(default=2.0, gt=0)

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        from lightbulb.models.kinds.encoder import Encoder
        from lightbulb.passes.classifiers import texts_and_labels
        from lightbulb.passes.encoders import calibrated, facts_of
        from lightbulb.train.forward import best_device, deterministic, kept_memory

        texts, labels_N = texts_and_labels(context.task, "train")
        whole = Encoder.read(source.path)
        layers = self._layers(whole)
        with deterministic(context.seed, context.threads), kept_memory():
            encoder = whole.cut(layers, self.pooling or whole.form.pooling)
            if encoder.form.answers != context.task.answers:
                encoder = encoder.with_answers(context.task.answers)
            encoder.freeze(self.freeze_layers)
            loss = self._loss(context, texts)
            facts = fit(encoder.to(best_device()), texts, labels_N, self.schedule, loss, context)
            facts |= {"trained_parameters": sum(p.numel() for p in encoder.parameters() if p.requires_grad)}
            facts |= calibrated(encoder.cpu(), context)
        encoder.save(out)
        return facts_of(encoder, out, source) | facts

    def _layers(self, whole: Encoder) -> int:
        layers = self.layers or whole.spec.layers
        if layers > whole.spec.layers or self.freeze_layers > layers:
            raise RecipeError(
                f"layers is {layers} and freeze_layers {self.freeze_layers}, but the encoder has "
                f"{whole.spec.layers} layers",
                hint="lower them",
            )
        return layers

    def _loss(self, context: Context, texts: list[str]) -> LossFunction:
        teacher = context.inputs.get("teacher")
        if teacher is None:
            from lightbulb.passes.fit import plain_loss

            return plain_loss
        return teacher_loss(likelihoods(teacher, texts, context), self.weight, self.temperature)


def fit(
    encoder: Any, texts: list[str], labels_N: np.ndarray, schedule: Schedule, loss: LossFunction, context: Context
) -> dict[str, Any]:
    """Trains `encoder` in place on texts and the numbers of their answers; returns steps and train_loss."""
    from lightbulb.models.form import Encoded
    from lightbulb.passes.fit import timekeeper
    from lightbulb.train.loop import train

    encoded = encoder.words.encode(texts)  # the answer's number stands where a decoder's next token would
    device = next(encoder.parameters()).device
    data = [Encoded([*ids, int(label)], len(ids)) for ids, label in zip(encoded, labels_N, strict=True)]
    done = train(
        encoder,
        data,
        schedule,
        lambda _, batch: encoder.scores(batch.ids.to(device), batch.lengths),
        loss,
        seed=context.seed,
        scratch=context.scratch,
        progress=context.progress,
        label="adapt",
        timekeeper=timekeeper(context, "schedule"),
    )
    return {"steps": done.steps, "train_loss": done.loss}


def likelihoods(teacher: Artifact, texts: list[str], context: Context) -> Any:
    """The teacher's log-probabilities [texts, answers]; kept in the scratch folder for an attempt that goes on."""
    import torch
    from safetensors.torch import load_file, save_file

    from lightbulb.models.kinds.encoder import Encoder

    kept = context.scratch / LIKELIHOODS
    if not kept.is_file():
        encoder = Encoder.read(teacher.path)
        if encoder.form.answers != context.task.answers:
            raise RecipeError(
                "the teacher has not learnt this task's answers", where=str(teacher.path), hint="adapt it first"
            )
        with context.progress.bar("asking the teacher", len(texts)) as advance:
            scores_NC = torch.from_numpy(encoder.scores_of(texts, advance))
        context.scratch.mkdir(parents=True, exist_ok=True)
        beside = kept.with_suffix(".tmp")
        save_file({"log_probs": scores_NC.log_softmax(-1)}, beside)
        beside.replace(kept)
    return load_file(kept)["log_probs"]


def teacher_loss(log_probs_NC: Any, weight: float, temperature: float) -> LossFunction:
    """`weight` times distillation from a teacher of every answer, the rest cross-entropy with the data."""
    import torch

    from lightbulb.ops.losses import distillation
    from lightbulb.passes.fit import plain_loss

    every_1C = torch.arange(log_probs_NC.shape[1])[None]

    def loss(logits_PC: torch.Tensor, batch: Any) -> torch.Tensor:
        teacher_PC = log_probs_NC[batch.examples].to(logits_PC.device)
        ids_PC = every_1C.expand(len(teacher_PC), -1).to(logits_PC.device)
        kl = distillation(logits_PC, teacher_PC, ids_PC, temperature)
        return kl if weight == 1 else weight * kl + (1 - weight) * plain_loss(logits_PC, batch)

    return loss
