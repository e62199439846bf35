"""score-blocks: what each part of a decoder is worth for the task, tried alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.facts import BlockFacts
from lightbulb.formats.gguf.quant_types import QuantTypeName
from lightbulb.models.loading import load_tokenizer
from lightbulb.passes.base import Context, Pass
from lightbulb.passes.prune_width import CALIBRATION_EXAMPLES, CALIBRATION_TOKENS, IMPORTANCE
from lightbulb.train.block_scores import BlockScores, orders_of, plain_orders, write_orders
from lightbulb.train.data import encode_split, within
from lightbulb.train.forward import deterministic, to_best_device
from lightbulb.train.tracing import batches_of


class ScoreBlocks(Pass):
    """Leaves out each layer, narrows each feed-forward, takes heads from each attention and rounds each role, one at a
    time, and reads validation examples again: the one-off scores of a library of blocks (Puzzle, Bercovich et al.
    2024). Keeps the order of importance of channels and heads beside them, for `prune-layers`.

    Attributes:
        feed_forward: shares of the channels that are tried
        groups: of the groups of heads
        types: names of types that matrices are rounded to
        tokens: of the validation split that every trial reads
        importance: of channels and heads, as `prune-width` has them, read on the train split; or "order", the first are
            the most important, as a teacher has them that was trained to be cut so
    """

    name: ClassVar[str] = "score-blocks"
    facts_type: ClassVar = BlockFacts
    makes: ClassVar[ArtifactKind] = "scores"

    feed_forward: tuple[float, ...] = (0.75, 0.5, 0.25)
    groups: tuple[float, ...] = (0.67, 0.34)
    types: tuple[QuantTypeName, ...] = ("q8_0", "q4_0")
    tokens: int = Field(default=1024, ge=1)
    importance: Literal["taylor", "activation", "order"] = "taylor"

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        model = to_best_device(context.live.read(source))
        tokenizer, answer_ids = load_tokenizer(source.path), source.answer_ids
        positions, task = model.config.max_position_embeddings, context.task
        spread = task.spread("validation")[: max(1, self.tokens)]
        validation = encode_split(task, "validation", tokenizer, answer_ids, positions)
        batches = batches_of(within([validation[i] for i in spread], self.tokens))
        with deterministic(context.seed, context.threads):
            if self.importance == "order":
                orders = plain_orders(model)
            else:
                train = encode_split(task, "train", tokenizer, answer_ids, positions, CALIBRATION_EXAMPLES)
                data = within(train, CALIBRATION_TOKENS)
                with context.progress.bar("importance", len(data)) as advance:
                    orders = orders_of(model, IMPORTANCE[self.importance](model, data, advance))
            scores = BlockScores(model, batches, orders)
            with context.progress.bar("layers, one at a time", len(scores.layers)) as advance:
                facts = scores.of_layers(self.feed_forward, self.groups, advance)
            with context.progress.bar("types", 3 * len(self.types)) as advance:
                facts |= {"rounded": scores.of_types(self.types, advance)}
        write_orders(orders, out)
        return facts
