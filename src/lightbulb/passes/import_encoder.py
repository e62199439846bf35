"""import-encoder: a BERT-shaped encoder from a folder or package, for tasks with a closed set of answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import model_validator

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.errors import RecipeError
from lightbulb.core.facts_of_kinds import EncoderFacts
from lightbulb.models.kinds.encoder_source import encoder_fingerprint, resolve_encoder
from lightbulb.passes.base import Context, Pass


class ImportEncoder(Pass):
    """Reads nothing of its source: what it makes is the encoder alone, in float32, without heads of other tasks.

    Attributes:
        encoder: a folder, or a short name such as minilm-l6
        fingerprint: of what it holds; looked up where none is given, so that the step's key knows the weights

    Raises:
        ModelError: the encoder is not there or is damaged; when it is named
        MissingExtra: the package behind a short name is not installed; likewise
        UnsupportedModel: it is not BERT-shaped; likewise
    """

    name: ClassVar[str] = "import-encoder"
    facts_type: ClassVar = EncoderFacts
    reads: ClassVar[tuple[ArtifactKind, ...]] = ("task", "model")
    makes: ClassVar[ArtifactKind] = "encoder"

    encoder: str = "minilm-l6"
    fingerprint: str = ""

    @model_validator(mode="before")
    @classmethod
    def _look_up(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("fingerprint") or not isinstance(given.get("encoder", ""), str):
            return given
        named = given.get("encoder", cls.model_fields["encoder"].default)
        return {**given, "fingerprint": encoder_fingerprint(resolve_encoder(named))}

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        from lightbulb.passes.encoders import import_encoder

        found = resolve_encoder(self.encoder)
        if encoder_fingerprint(found) != self.fingerprint:
            raise RecipeError(
                f"{self.encoder} holds other weights than this step was planned with",
                where=str(found.path),
                hint="plan the step anew, or leave `fingerprint` out",
            )
        return import_encoder(found, out, context.progress)
