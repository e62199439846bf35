"""An artifact: an immutable folder with what one pass made, and `lightbulb.json` that says from what.

Kinds: "model" (a transformers folder: config.json, safetensors, tokenizer.json), "gguf" (one `model.gguf`, and
beside it the language model that it hands on to, where it does), "logits" (cached teacher logits), "figures" (numbers
about a model, which are its facts), "task" (examples in three splits), "encoder" (a BERT and how it is read), "ngrams"
(weights of n-grams). A pass of a plugin may make others: what fits together is what passes say in `reads` and `makes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lightbulb.core.errors import RunFailure
from lightbulb.core.facts import Facts
from lightbulb.core.figures import Figure
from lightbulb.core.files import read_json, write_json

ArtifactKind = str
RECORD = "lightbulb.json"
F = TypeVar("F", bound=Facts)


class Artifact(BaseModel):
    """An immutable folder and its record.

    Attributes:
        path: the folder
        kind: what it holds, a word such as "model" or "gguf"
        key: the hash of (parent key, pass, version, parameters, data fingerprint, seed, threads)
        parent: key of what it was made of; None where it came from outside
        made_by: the pass's name
        facts: what the pass has to say about its output (counts, names, checks), JSON-able, as recorded: `facts_as`
            reads them
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    kind: ArtifactKind = Field(pattern=r"^[a-z][a-z0-9-]*$")
    key: str
    parent: str | None = None
    made_by: str
    facts: dict[str, Any] = {}

    @property
    def gguf(self) -> Path:
        """The file, where it is of that kind."""
        return self.path / "model.gguf"

    @property
    def bytes(self) -> int:
        """Size of the weights on disk."""
        files = self.path.glob("*.gguf" if self.kind == "gguf" else "*.safetensors")
        return sum(f.stat().st_size for f in files)

    def facts_as(self, wanted: type[F]) -> F:
        """Its facts as a class of them.

        Raises:
            RunFailure: the record does not hold what that class needs
        """
        try:
            return wanted.model_validate(self.facts)
        except ValidationError as e:
            first = e.errors()[0]
            raise RunFailure(
                f"the record of this step does not say what is needed of it: {'.'.join(map(str, first['loc']))}: "
                f"{first['msg']}",
                where=str(self.path / RECORD),
                hint=f"delete the folder {self.path} and repeat the command: the step is made anew",
            ) from e

    @property
    def answer_ids(self) -> list[int] | None:
        """Of a "choose" task, the token of each answer."""
        return self.facts_as(Facts).answer_ids

    def figures(self) -> dict[str, Figure]:
        """The figures among its facts, by the names that lead to them: "score", "student.joules_per_answer"."""
        return dict(_figures(self.facts, ""))

    def write_record(self, folder: Path) -> None:
        """Writes the record into `folder`, which is about to be renamed to `self.path`."""
        write_json(folder / RECORD, self.model_dump(mode="json", exclude={"path"}))

    @staticmethod
    def read(path: Path) -> Artifact:
        """The artifact in a folder.

        Raises:
            RunFailure: it has no record that can be read
        """
        return Artifact(path=path, **read_json(path / RECORD))


def _figures(facts: Mapping[str, Any], within: str) -> Iterator[tuple[str, Figure]]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            if {"value", "unit"} <= value.keys():
                with suppress(ValidationError):  # no figure, but facts of a pass of somebody else
                    yield f"{within}{name}", Figure.model_validate(value)
            else:
                yield from _figures(value, f"{within}{name}.")
