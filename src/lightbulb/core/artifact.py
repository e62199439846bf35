"""An artifact: an immutable folder with what one pass made, and `lightbulb.json` that says from what.

kinds: "model" (a transformers folder: config.json, safetensors, tokenizer.json), "gguf" (one `model.gguf`),
"logits" (cached teacher logits), "figures" (numbers about a model, `figures.json`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from lightbulb.core.figures import Figure
from lightbulb.core.files import read_json, write_json

ArtifactKind = Literal["model", "gguf", "logits", "figures"]
RECORD = "lightbulb.json"


class Artifact(BaseModel):
    """`key` is the hash of (parent key, pass, version, parameters, data fingerprint, seed, threads); `facts` are what
    the pass has to say about its output (counts, names, checks), JSON-able."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    kind: ArtifactKind
    key: str
    parent: str | None = None
    made_by: str
    facts: dict[str, Any] = {}

    @property
    def gguf(self) -> Path:
        return self.path / "model.gguf"

    @property
    def bytes(self) -> int:
        """Size of the weights on disk."""
        files = [self.gguf] if self.kind == "gguf" else list(self.path.glob("*.safetensors"))
        return sum(f.stat().st_size for f in files)

    def figures(self) -> dict[str, Figure]:
        """The figures among its facts, by the names that lead to them: "score", "student.joules_per_answer"."""
        return dict(_figures(self.facts, ""))

    def write_record(self, folder: Path) -> None:
        """Writes the record into `folder`, which is about to be renamed to `self.path`."""
        write_json(folder / RECORD, self.model_dump(mode="json", exclude={"path"}))

    @staticmethod
    def read(path: Path) -> Artifact:
        return Artifact(path=path, **read_json(path / RECORD))


def _figures(facts: Mapping[str, Any], within: str) -> Iterator[tuple[str, Figure]]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            if {"value", "unit"} <= value.keys():
                yield f"{within}{name}", Figure(**value)
            else:
                yield from _figures(value, f"{within}{name}.")
