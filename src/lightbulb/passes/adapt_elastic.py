"""adapt-elastic: fine-tunes a model on the task together with the smaller models inside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field
from transformers import PreTrainedModel

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import RecipeError
from lightbulb.core.facts import TrainingFacts
from lightbulb.models.families import layers_of
from lightbulb.models.form import Encoded
from lightbulb.models.loading import load_tokenizer
from lightbulb.models.narrowing import reorder_channels, spec_of_model
from lightbulb.passes.base import Context
from lightbulb.passes.fit import fit, plain_loss
from lightbulb.passes.model_pass import ModelPass
from lightbulb.passes.prune_depth import CALIBRATION_EXAMPLES, SCORED_TOKENS, layer_influence, least_loss
from lightbulb.train import engine
from lightbulb.train.data import encode_split, within
from lightbulb.train.elastic import Nested, sandwich
from lightbulb.train.forward import deterministic
from lightbulb.train.importance import gradient_scores
from lightbulb.train.loop import Schedule

CALIBRATION_TOKENS = 16_384


class AdaptElastic(ModelPass):
    """Fine-tuning of one model from which smaller ones can be cut without a training of their own. Before it the
    channels of each feed-forward are sorted by their importance for the task, which changes nothing that the model
    computes, and the order is fixed in which layers leave. In every step the whole model learns from the data, the
    smallest sub-model and a random one from the whole model. `prune-depth` and `prune-width` by "order" cut them.

    Attributes:
        schedule: of the training
        layers: of the smallest sub-model
        feed_forward: share of the channels that it has
        by: which layers leave first, as in `prune-depth`
        weight: of the whole model's logits against the data's own answers, in what sub-models learn
        temperature: divides the logits of both
    """

    name: ClassVar[str] = "adapt-elastic"
    facts_type: ClassVar = TrainingFacts

    schedule: Schedule = Schedule(epochs=3, learning_rate=4e-4)
    layers: int = Field(ge=1)
    feed_forward: float = Field(default=0.5, gt=0, le=1)
    by: Literal["influence", "loss"] = "influence"
    weight: float = Field(default=0.8, gt=0, le=1)
    temperature: float = Field(default=2.0, gt=0)

    def change(self, model: PreTrainedModel, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        self._check(model)
        tokenizer, positions = load_tokenizer(source.path), model.config.max_position_embeddings
        data = encode_split(context.task, "train", tokenizer, source.answer_ids, positions, CALIBRATION_EXAMPLES)
        with deterministic(context.seed, context.threads):
            leaving = self._leaving(model, data, context)
            sort_channels(model, within(data, CALIBRATION_TOKENS), context)
        nested = Nested([layer.feed_forward or 0 for layer in spec_of_model(model).layers], leaving, self.feed_forward)
        facts = fit(
            model,
            source,
            self.schedule,
            plain_loss,
            context,
            self.name,
            further=lambda whole: sandwich(whole, nested, context.seed, self.weight, self.temperature),
        )
        return facts | {"layer_order": leaving}

    def _check(self, model: PreTrainedModel) -> None:
        depth = len(layers_of(model))
        if self.layers > depth:
            raise RecipeError(
                f"adapt-elastic trains sub-models of {self.layers} layers and more of a model with {depth}",
                hint="lower `layers`",
            )
        if not engine.fits(model):
            raise RecipeError(
                f"adapt-elastic cannot train sub-models of this {model.config.model_type}",
                hint="use `adapt`, and train each student for itself",
            )

    def _leaving(self, model: PreTrainedModel, data: list[Encoded], context: Context) -> list[int]:
        """The layers that the smallest sub-model has not, first those that leave first."""
        depth = len(layers_of(model))
        count = depth - self.layers
        if self.by == "loss":
            with context.progress.bar("loss without layers", count) as advance:
                return least_loss(model, within(data, SCORED_TOKENS), count, advance)[0]
        with context.progress.bar("block influence", len(data)) as advance:
            influence = layer_influence(model, data, advance)
        return sorted(range(depth), key=lambda i: (influence[i], -i))[:count]


def sort_channels(model: PreTrainedModel, data: list[Encoded], context: Context) -> None:
    """Puts the channels of each feed-forward in the order of their importance (`gradient_scores`), in place."""
    with context.progress.bar("importance", len(data)) as advance:
        scores = gradient_scores(model, data, advance)
    reorder_channels(
        model, [None if s is None else s.argsort(descending=True, stable=True).tolist() for s in scores.channels]
    )
