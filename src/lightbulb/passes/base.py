"""The one interface of every pass: read one artifact, write another."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from pydantic import BaseModel, ConfigDict

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.facts import Facts
from lightbulb.core.progress import Progress
from lightbulb.models.live import LiveModel
from lightbulb.tasks.task import Task
from lightbulb.train.together import ALONE, Alone


class Budget(Protocol):
    """The time that a step may take, for passes that can do less while they work."""

    def left(self) -> float:
        """Seconds left for this step; what earlier attempts at it took is gone. Below 0 where it is late."""
        ...

    def shorten(self, **parameters: Any) -> None:
        """Writes down that from now on the pass works as if it had these parameters: they, not those it was planned
        with, are in its key and in the recipe. Returns when that is on disk."""
        ...


@dataclass(frozen=True)
class Context:
    """What a pass works with, beside its source.

    Attributes:
        task: whose data it may read
        seed: the only source of randomness
        progress: where long work reports
        scratch: a folder for checkpoints that outlives a kill and is removed when the step is finished
        inputs: other artifacts by role, e.g. {"logits": ...}
        threads: of the processor
        budget: None where time does not matter
        live: gives the model of an artifact, without reading it where the step before has just written it
        team: of processes that train together
    """

    task: Task
    seed: int
    progress: Progress
    scratch: Path
    inputs: Mapping[str, Artifact] = field(default_factory=dict)
    threads: int = 2
    budget: Budget | None = None
    live: LiveModel = field(default_factory=LiveModel)
    team: Alone = ALONE


class Pass(BaseModel):
    """A step of a recipe. The fields of a subclass are its parameters; they, `name`, `version`, the source's key, the
    inputs' keys, the task's fingerprint, the seed and the number of threads decide the output, byte for byte.

    Attributes:
        name: in recipes
        version: raised where the same parameters are computed in another way
        reads: kinds of artifact that can be the source
        makes: the kind of the output
        uses: roles of the other artifacts that `apply` needs in `Context.inputs`, called as their kinds; an artifact in
            any other role is of a kind that it reads
        may_use: likewise, of those that it takes where they are given
        input_kinds: kinds that may come in a role, where they are not called as it is
        facts_type: what the facts that `apply` returns must be
        needs: capabilities of the runtime that its parameter `runtime` names
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[ArtifactKind, ...]] = ("model",)
    makes: ClassVar[ArtifactKind] = "model"
    uses: ClassVar[tuple[ArtifactKind, ...]] = ()
    may_use: ClassVar[tuple[ArtifactKind, ...]] = ()
    input_kinds: ClassVar[Mapping[str, tuple[ArtifactKind, ...]]] = {}
    facts_type: ClassVar[type[Facts]] = Facts
    needs: ClassVar[tuple[str, ...]] = ()

    def parameters(self) -> dict[str, Any]:
        """Its parameters as a recipe has them: only those that are no defaults."""
        return self.model_dump(mode="json", exclude_defaults=True, exclude_none=True)

    def with_parameters(self, parameters: Mapping[str, Any]) -> Self:
        """The same pass with some parameters replaced."""
        return type(self)(**{**self.model_dump(), **parameters}) if parameters else self

    @abstractmethod
    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        """Makes the output. Never writes into `source.path` or an input.

        Args:
            source: an artifact of a kind that it reads
            out: an empty folder, for the output's files
            context: task, seed, threads, other artifacts

        Returns:
            Facts of the output, JSON-able, as `facts_type` has them.
        """
