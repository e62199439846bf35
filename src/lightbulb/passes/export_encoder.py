"""export-encoder: an encoder with a label head as one GGUF file, which llama.cpp reads too."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.facts_of_kinds import EncoderFileFacts
from lightbulb.formats.gguf.quant_types import QuantTypeName
from lightbulb.formats.gguf.type_map import TypeMap
from lightbulb.passes.base import Context, Pass


class ExportEncoder(Pass):
    """Writes `model.gguf` (docs/format.md): weights, tokenizer, head, answers, temperature.

    Attributes:
        quant_type: of all matrices but the head and the tables of positions and types
        embedding: of the token embedding; None: as the rest
    """

    name: ClassVar[str] = "export-encoder"
    facts_type: ClassVar = EncoderFileFacts
    reads: ClassVar[tuple[ArtifactKind, ...]] = ("encoder",)
    makes: ClassVar[ArtifactKind] = "gguf"

    quant_type: QuantTypeName
    embedding: QuantTypeName | None = None

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        from lightbulb.models.kinds.encoder import Encoder
        from lightbulb.models.kinds.encoder_file import write_encoder

        with context.progress.bar("export", 1) as step:
            types = TypeMap.of(self.quant_type, self.embedding)
            facts = write_encoder(Encoder.read(source.path), out / "model.gguf", types)
            step(1, "written")
        return facts
