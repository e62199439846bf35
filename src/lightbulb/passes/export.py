"""export: one GGUF file that llama.cpp runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.errors import RecipeError
from lightbulb.core.facts import GgufFacts
from lightbulb.formats.gguf.quant_types import QuantTypeName
from lightbulb.formats.gguf.type_map import TypeMap
from lightbulb.passes.base import Context, Pass
from lightbulb.tasks.task import Task


class Export(Pass):
    """Writes `model.gguf`: weights, tokenizer, chat template, and what the task needs to be answered.

    Attributes:
        quant_type: of all matrices; None: as a `quantize` before has rounded them
        embedding: of the token embedding and the head; None: as the rest. llama.cpp's stock q4_0 keeps a tied embedding
            higher (q6_k, or q8_0 where rows are not a multiple of 256), so "q8_0" is what a user would get there.
    """

    name: ClassVar[str] = "export"
    version: ClassVar[int] = 3
    facts_type: ClassVar = GgufFacts
    makes: ClassVar[ArtifactKind] = "gguf"

    quant_type: QuantTypeName | None = None
    embedding: QuantTypeName | None = None

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        from lightbulb.models.gguf import write_gguf

        answer_ids, metadata, types = source.answer_ids, task_metadata(context.task, source), self._types(source)
        with context.progress.bar("export", 1) as step:
            facts = write_gguf(source.path, out / "model.gguf", types, metadata)
            step(1, "written")
        return facts | ({"answer_ids": list(answer_ids)} if answer_ids is not None else {})

    def _types(self, source: Artifact) -> TypeMap:
        from lightbulb.models.packed import PackedWeights

        if self.quant_type:
            return TypeMap.of(self.quant_type, self.embedding)
        types = PackedWeights(source.path).types
        if types is None:
            raise RecipeError(
                "export has no `quant_type`, and nothing before it has rounded the weights",
                hint="give `quant_type`, or let export read a step `quantize`",
            )
        return types


def task_metadata(task: Task, source: Artifact) -> dict[str, str | list[str] | list[int]]:
    """What a file needs beside the model so that the task can be answered."""
    answer_ids = source.answer_ids
    metadata: dict[str, str | list[str] | list[int]] = {"lightbulb.kind": task.kind}
    if task.kind == "choose" and answer_ids is not None:
        metadata |= {"lightbulb.answers": list(task.answers), "lightbulb.answer_ids": list(answer_ids)}
    return metadata
