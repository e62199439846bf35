"""What `adapt`, `distill`, `quantize` and `ternarize` share: a student, its data, a loss that may hear a teacher."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from lightbulb.core.artifact import Artifact
from lightbulb.formats.gguf.type_map import TypeMap
from lightbulb.models.loading import load_tokenizer
from lightbulb.ops.losses import cross_entropy, distillation
from lightbulb.passes.base import Context
from lightbulb.train.data import Batch, encode_split
from lightbulb.train.engine import Engine, Epochs, forward_of
from lightbulb.train.forward import deterministic, kept_memory
from lightbulb.train.logits import TeacherLogits
from lightbulb.train.loop import Further, LossFunction, Schedule, Timekeeper, train


def fit(
    model: PreTrainedModel,
    source: Artifact,
    schedule: Schedule,
    loss: LossFunction,
    context: Context,
    label: str,
    types: TypeMap | None = None,
    parameter: str = "schedule",
    further: Callable[[Engine], Further] | None = None,
    before_step: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Trains `model` in place on the task's train split, encoded with the tokenizer and answers of `source`.

    Args:
        model: a decoder
        source: the artifact it is of
        schedule: of the training
        loss: of a batch
        context: task, seed, threads, and the time there is
        label: of the progress
        types: to train on weights rounded to them
        parameter: of the pass, which holds the schedule
        further: what is learnt beside, in the engine that trains the model (which must fit it)
        before_step: as `train` has it

    Returns:
        Facts: steps made, and the mean loss at the end.
    """
    answer_ids = source.answer_ids
    positions = model.config.max_position_embeddings
    tokenizer = load_tokenizer(source.path)
    data = encode_split(context.task, "train", tokenizer, answer_ids, positions)
    learning = answer_ids and [*answer_ids, tokenizer.eos_token_id]  # rows of the head
    again = Epochs(data, schedule.batch_size, context.seed) if schedule.epochs > 1 else None
    if further is None:
        more, forward = None, forward_of(model, learning, types, again)
    else:
        engine = Engine(model, learning)
        more, forward = further(engine), lambda m, batch: engine.target_logits(batch)
    with deterministic(context.seed, context.threads), kept_memory():
        done = train(
            model,
            data,
            schedule,
            forward,
            loss,
            seed=context.seed,
            scratch=context.scratch,
            progress=context.progress,
            label=label,
            timekeeper=timekeeper(context, parameter),
            further=more,
            before_step=before_step,
        )
    return {"steps": done.steps, "train_loss": done.loss}


def timekeeper(context: Context, parameter: str) -> Timekeeper | None:
    """What keeps the time of a training, where its step has a budget."""
    budget = context.budget
    if budget is None:
        return None
    return Timekeeper(budget.left, lambda schedule: budget.shorten(**{parameter: schedule.model_dump(mode="json")}))


def plain_loss(logits_PV: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Cross-entropy (nats) of logits [P, V] with the batch's targets."""
    return cross_entropy(logits_PV, batch.targets.to(logits_PV.device))


def teacher_loss(logits: Path, weight: float, temperature: float) -> LossFunction:
    """`weight` times distillation from the cached logits in folder `logits`, the rest cross-entropy with the data."""
    teacher = TeacherLogits(logits)

    def loss(logits_PV: torch.Tensor, batch: Batch) -> torch.Tensor:
        log_probs_PK, ids_PK = (t.to(logits_PV.device) for t in teacher.rows(batch.examples))
        kl = distillation(logits_PV, log_probs_PK, ids_PK, temperature)
        return kl if weight == 1 else weight * kl + (1 - weight) * plain_loss(logits_PV, batch)

    return loss
