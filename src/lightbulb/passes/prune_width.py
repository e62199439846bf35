"""prune-width: keeps the channels, heads and columns that do most for the task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from transformers import PreTrainedModel

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import RecipeError
from lightbulb.core.facts import Facts, WidthFacts
from lightbulb.models.form import Encoded
from lightbulb.models.gguf_shape import architecture_of
from lightbulb.models.loading import load_tokenizer
from lightbulb.models.narrowing import Kept, narrowed, spec_of_model
from lightbulb.models.spec import ModelSpec
from lightbulb.ops.importance import best, chunks, chunks_kept
from lightbulb.passes.base import Context, Pass
from lightbulb.passes.model_pass import write_changed
from lightbulb.train.data import encode_split, within
from lightbulb.train.forward import deterministic, to_best_device
from lightbulb.train.importance import Scores, activation_scores, gradient_scores, order_scores

CALIBRATION_EXAMPLES, CALIBRATION_TOKENS = 256, 16_384
IMPORTANCE = {"taylor": gradient_scores, "activation": activation_scores, "order": order_scores}
Heads = tuple[list[int] | None, list[int] | None]


class PruneWidth(Pass):
    """Makes a model narrower: a real one, whose layers may differ, of the parts that do most on the task's own
    examples. Shares are of what the model has.

    Attributes:
        feed_forward: share of the channels that is kept
        groups: of the heads of keys and values, each with the queries that read it
        heads: of the heads of queries in each group
        width: of the columns of the hidden states
        multiple: channels and columns are kept in this many at once: blocks of 32 weights, or of 256
        ranking: every "layer" keeps the share, or the best of all layers are kept ("global")
        importance: "taylor", the first-order change of the task's loss (Molchanov et al. 2017, Michel et al. 2019), or
            "activation", the size of what a part adds (after Wanda, Sun et al. 2023), or "order": channels in the order
            in which an elastic model was trained to lose them (`adapt-elastic`), which takes no reading
        rounds: importance is measured anew so many times, the model being cut a little each time
    """

    name: ClassVar[str] = "prune-width"
    facts_type: ClassVar = WidthFacts

    feed_forward: float = Field(default=1.0, gt=0, le=1)
    groups: float = Field(default=1.0, gt=0, le=1)
    heads: float = Field(default=1.0, gt=0, le=1)
    width: float = Field(default=1.0, gt=0, le=1)
    multiple: Literal[32, 256] = 32
    ranking: Literal["layer", "global"] = "layer"
    importance: Literal["taylor", "activation", "order"] = "taylor"
    rounds: int = Field(default=1, ge=1)

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        model = to_best_device(context.live.take(source))
        before = spec_of_model(model)
        self._check(before, source)
        positions = model.config.max_position_embeddings
        tokenizer = load_tokenizer(source.path)
        data = encode_split(context.task, "train", tokenizer, source.answer_ids, positions, CALIBRATION_EXAMPLES)
        data = within(data, CALIBRATION_TOKENS)
        bar = context.progress.bar("importance", self.rounds * len(data))
        with deterministic(context.seed, context.threads), bar as advance:
            for done in range(self.rounds):
                model = self._round(model, before, data, done, advance)
        return write_narrowed(model, source, out, context)

    def _check(self, spec: ModelSpec, source: Artifact) -> None:
        if self.importance == "order" and source.facts_as(Facts).layer_order is None:
            raise RecipeError(
                "prune-width by order needs an elastic model",
                hint='train it with adapt-elastic, or importance = "taylor"',
            )
        if self.importance == "order" and (self.ranking == "global" or self.groups * self.heads * self.width < 1):
            raise RecipeError(
                "prune-width by order cuts the same share of every layer's feed-forward, and nothing else",
                where="importance",
                hint='leave `ranking`, `groups`, `heads` and `width` out, or importance = "taylor"',
            )
        if self.width < 1 and spec.arch.scales_embedding:
            raise RecipeError(
                f"prune-width cannot cut the hidden width of a {spec.family}, which scales its embedding by it",
                where="width",
                hint="leave `width` out",
            )
        if self.width < 1 and spec.recurrent:
            raise RecipeError(
                "prune-width cannot cut the hidden width of a model with recurrent layers",
                where="width",
                hint="leave `width` out, or put `replace-mixer` behind it",
            )

    def _round(
        self, model: PreTrainedModel, before: ModelSpec, data: Sequence[Encoded], done: int, advance: Any
    ) -> PreTrainedModel:
        """The model after round `done`, counted from 0."""
        scores = IMPORTANCE[self.importance](model, data, lambda n, note: advance(done * len(data) + n, note))
        part = (done + 1) / self.rounds
        channels = self._channels(scores, before, part)
        heads = self._heads(scores, spec_of_model(model), before, part)
        kept = [Kept(c, *h) for c, h in zip(channels, heads, strict=True)]
        columns = None
        if self.width < 1:
            wanted = round(self.width**part * -(-before.width // self.multiple))
            columns = best(scores.columns, max(1, wanted) * self.multiple)
        return narrowed(model, kept, columns)

    def _channels(self, scores: Scores, before: ModelSpec, part: float) -> list[list[int] | None]:
        own = [i for i, each in enumerate(scores.channels) if each is not None]
        found: list[list[int] | None] = [None] * len(scores.channels)
        if self.feed_forward < 1:
            by_layer = [_known(scores.channels[i]) for i in own]
            first = [-(-(before.layers[i].feed_forward or 0) // self.multiple) for i in own]
            counts = self._counts([chunks(s, self.multiple) for s in by_layer], first, self.feed_forward**part)
            for i, s, count in zip(own, by_layer, counts, strict=True):
                found[i] = best(s, count * self.multiple)
        return found

    def _heads(self, scores: Scores, now: ModelSpec, before: ModelSpec, part: float) -> list[Heads]:
        """Of each layer, heads of keys and heads of queries."""
        found: list[Heads] = [(None, None)] * len(scores.heads)
        if self.groups == 1 and self.heads == 1:
            return found
        own = [i for i, each in enumerate(scores.heads) if each is not None]
        by_group = [_known(scores.heads[i]).view(now.layers[i].kv_heads, -1) for i in own]
        first = [before.layers[i] for i in own]
        groups = self._counts(
            [chunks(s.sum(1), 1) for s in by_group], [layer.kv_heads for layer in first], self.groups**part
        )
        in_group = self._counts(
            [s.sort(1, descending=True).values.sum(0) for s in by_group],
            [layer.heads // layer.kv_heads for layer in first],
            self.heads**part,
        )
        for i, s, of_keys, of_queries in zip(own, by_group, groups, in_group, strict=True):
            keys = best(s.sum(1), of_keys)
            queries = [key * s.shape[1] + head for key in keys for head in best(s[key], of_queries)]
            found[i] = (keys, queries)
        return found

    def _counts(self, by_layer: list[torch.Tensor], first: list[int], share: float) -> list[int]:
        return chunks_kept(by_layer, first, share, across_layers=self.ranking == "global")


def _known(scores: torch.Tensor | None) -> torch.Tensor:
    assert scores is not None
    return scores


def write_narrowed(model: PreTrainedModel, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
    """Writes a model that was made narrower of `source`; returns facts of its size and shape.

    Raises:
        UnsupportedModel: no file could hold it; nothing is written then
    """
    after = spec_of_model(model)
    architecture_of(after)  # or a refusal, before anything is written
    return write_changed(model, source, out, context) | {
        "width": after.width,
        "feed_forward": [layer.feed_forward or 0 for layer in after.layers],
        "heads": [layer.heads for layer in after.layers],
        "kv_heads": [layer.kv_heads for layer in after.layers],
    }
