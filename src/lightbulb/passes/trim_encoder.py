"""trim-encoder: an encoder with the pieces of words that its task needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.errors import RecipeError
from lightbulb.core.facts_of_kinds import TrimmedEncoderFacts
from lightbulb.passes.base import Context, Pass

if TYPE_CHECKING:
    from lightbulb.models.kinds.encoder import Encoder


class TrimEncoder(Pass):
    """Keeps the special tokens, every piece that the texts of train and validation are cut into, and every piece of a
    single character: what else a text holds falls apart into shorter pieces. The test split is not looked at.

    Attributes:
        common: so many of the commonest pieces are kept, too; BERT's vocabulary has them first
        positions: the most tokens of a text from now on; None: as it was
    """

    name: ClassVar[str] = "trim-encoder"
    facts_type: ClassVar = TrimmedEncoderFacts
    reads: ClassVar[tuple[ArtifactKind, ...]] = ("encoder",)
    makes: ClassVar[ArtifactKind] = "encoder"

    common: int = Field(default=4000, ge=0)
    positions: int | None = Field(default=None, ge=8)

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        from lightbulb.models.kinds.encoder import Encoder
        from lightbulb.passes.classifiers import texts_and_labels
        from lightbulb.passes.encoders import facts_of

        encoder = Encoder.read(source.path)
        positions = self.positions or encoder.spec.positions
        if positions > encoder.spec.positions:
            raise RecipeError(
                f"positions is {positions}, but the encoder has {encoder.spec.positions}", hint="lower positions"
            )
        train, validation = (texts_and_labels(context.task, split)[0] for split in ("train", "validation"))
        with context.progress.bar("trimming", 1) as advance:
            kept = pieces_to_keep(encoder, [*train, *validation], self.common)
            trimmed = encoder.with_pieces(kept, positions)
            trimmed.save(out)
            advance(1, f"{len(kept):,} of {encoder.spec.vocabulary:,} pieces")
        return facts_of(trimmed, out, source) | {
            "rows_before": encoder.spec.vocabulary,
            "rows": len(kept),
            "bytes_before": source.bytes,
            "unchanged_train_tokens": unchanged(encoder, trimmed, kept, train),
        }


def pieces_to_keep(encoder: Encoder, texts: Sequence[str], common: int) -> list[int]:
    """Numbers of the pieces, ascending."""
    from lightbulb.formats.gguf.wordpiece import GOES_ON, tokens_of

    tokens = tokens_of(encoder.words.tokenizer)
    used = {i for ids in encoder.words.encode(texts) for i in ids} | set(encoder.words.specials.values())
    usual = [i for i, text in enumerate(tokens) if not (text.startswith("[") and text.endswith("]"))]
    letters = {i for i in usual if len(tokens[i].removeprefix(GOES_ON)) == 1}
    words = [i for i in usual if i not in letters]
    return sorted(used | letters | set(words[:common]))


def unchanged(encoder: Encoder, trimmed: Encoder, kept: Sequence[int], texts: Sequence[str]) -> float:
    """The share of texts that are cut as before."""
    number = {old: new for new, old in enumerate(kept)}
    room = trimmed.spec.positions
    before = [ids if len(ids) <= room else [*ids[: room - 1], ids[-1]] for ids in encoder.words.encode(texts)]
    same = [[number.get(i) for i in ids] == now for ids, now in zip(before, trimmed.words.encode(texts), strict=True)]
    return sum(same) / max(1, len(same))
