"""trim-vocab: leaves out the tokens that the task never uses, in embedding, head and tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from lightbulb.core.artifact import Artifact
from lightbulb.core.facts import TrimmingFacts
from lightbulb.passes.base import Context
from lightbulb.passes.model_pass import ModelPass

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TrimVocab(ModelPass):
    """Keeps the tokens of the rendered train and validation examples, all bytes, all special tokens, the answers and
    phrases, topped up with the most general merges.

    The task's own text keeps its tokens; other text still tokenizes, into more and smaller pieces. The test split is
    not looked at.

    Attributes:
        size: tokens to top up to; None: only what the task needs
    """

    name: ClassVar[str] = "trim-vocab"
    facts_type: ClassVar = TrimmingFacts
    computes: ClassVar[bool] = False

    size: int | None = Field(default=4096, ge=1)

    def change(self, model: PreTrainedModel, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        from lightbulb.models.families import embedding_of
        from lightbulb.models.form import texts_of
        from lightbulb.models.loading import load_tokenizer
        from lightbulb.models.phrases import phrases_of
        from lightbulb.models.vocabulary import trim

        tokenizer = load_tokenizer(source.path)
        rows_before = embedding_of(model).num_embeddings
        answer_ids = source.answer_ids
        with context.progress.bar("trim-vocab", 2) as step:
            texts = list(texts_of(context.task, tokenizer))
            step(1, "rendered")
            phrases = phrases_of(tokenizer).ids.values()
            kept = trim(source.path, out, model, texts, [*(answer_ids or []), *phrases], self.size)
            step(2, "trimmed")
        facts: dict[str, Any] = {
            "rows_before": rows_before,
            "rows": embedding_of(model).num_embeddings,
            "tokens": len(kept),
            "bytes_before": source.bytes,
            "unchanged_train_tokens": unchanged_share(source.path, out, texts, kept),
        }
        if answer_ids is not None:
            new_id = {old: new for new, old in enumerate(kept)}
            facts["answer_ids"] = [new_id[i] for i in answer_ids]
        return facts


def unchanged_share(before: Path, after: Path, texts: list[str], kept: list[int]) -> float | None:
    """Share of the texts' tokens that stand, mapped, at the same place after trimming (1.0 unless trim is broken).

    Args:
        before: folder of the model
        after: folder of the trimmed one
        texts: rendered
        kept: the old ids of the new tokens, in their order

    Returns:
        None when there are no tokens.
    """
    from lightbulb.models.loading import load_tokenizer

    old = load_tokenizer(before)(texts).input_ids if texts else []
    new = load_tokenizer(after)(texts).input_ids if texts else []
    same = sum(kept[b] == a for x, y in zip(old, new, strict=True) for a, b in zip(x, y, strict=False) if b < len(kept))
    total = sum(map(len, old))
    return same / total if total else None
