"""pretrain: teaches a model to write the text of a task, from its first weights on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from transformers import PreTrainedModel

from lightbulb.core.artifact import Artifact
from lightbulb.core.facts import TrainingFacts
from lightbulb.core.files import write_json
from lightbulb.passes.base import Context
from lightbulb.passes.fit import plain_loss, timekeeper
from lightbulb.passes.model_pass import ModelPass
from lightbulb.train.pretraining import Pretraining

LOSSES = "losses.json"


class Pretrain(ModelPass):
    """Cross-entropy on packed documents, of all weights. Writes losses.json: the loss of each step. Of processes
    that train together, the main one tells the others what to do (`pretraining.job.assist`).

    Attributes:
        schedule: of the training; its examples are rows
        context: tokens of a row
    """

    name: ClassVar[str] = "pretrain"
    facts_type: ClassVar = TrainingFacts

    schedule: Pretraining = Pretraining(epochs=1, learning_rate=1e-3, batch_size=16)
    context: int = Field(default=512, ge=2)

    def change(self, model: PreTrainedModel, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        from lightbulb.models.decoder import decoder_of
        from lightbulb.models.loading import load_tokenizer
        from lightbulb.train.forward import deterministic, kept_memory
        from lightbulb.train.loop import train
        from lightbulb.train.pretraining import begin_of, packed, packed_forward

        if context.team.main:
            asked = {"pass": self.model_dump(mode="json"), "task": context.task.fingerprint}
            context.team.tell(json.dumps(asked))
        tokenizer = load_tokenizer(source.path)
        data = packed((e.completion for e in context.task.train), tokenizer, self.context)
        decoder = decoder_of(model)  # which keeps documents apart, whatever the family
        with deterministic(context.seed, context.threads), kept_memory():
            done = train(
                decoder,
                data,
                self.schedule,
                packed_forward(begin_of(tokenizer)),
                plain_loss,
                seed=context.seed,
                scratch=context.scratch,
                progress=context.progress,
                label="train",
                timekeeper=timekeeper(context, "schedule"),
                team=context.team,
            )
        model.load_state_dict(decoder.state_dict())
        write_json(out / LOSSES, [round(loss, 5) for loss in done.losses])
        return {"steps": done.steps, "train_loss": done.loss, "rows": len(data)}
