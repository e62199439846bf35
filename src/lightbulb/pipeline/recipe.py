"""A recipe: passes in order, each named, each with the step it reads. Written and read as TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.errors import RecipeError, UserError
from lightbulb.core.files import write_text
from lightbulb.passes import pass_class
from lightbulb.passes.base import Pass
from lightbulb.pipeline.run import Run
from lightbulb.runtimes import check_opens
from lightbulb.tasks.task import TaskKind

START = "model"  # the imported model: what a step reads when nothing came before


class Step(BaseModel):
    """One pass of a recipe.

    Attributes:
        label: of the artifact that it makes
        pass_: the pass's name
        source: the label of the step it reads; the one before when left out
        inputs: the roles of further artifacts to labels
        parameters: the pass's own
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    label: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    pass_: str = Field(alias="pass")
    source: str | None = Field(default=None, alias="from")
    inputs: dict[str, str] = {}
    parameters: dict[str, Any] = {}

    def build(self) -> Pass:
        """The pass with these parameters.

        Raises:
            RecipeError: the pass does not take them, or there is no such pass
        """
        try:
            return pass_class(self.pass_)(**self.parameters)
        except ValidationError as e:
            first = e.errors()[0]
            raise RecipeError(
                f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
                where=f"step {self.label!r}",
                hint=f"see the parameters of the pass {self.pass_}",
            ) from e


def step(label: str, pass_: Pass, source: str | None = None, **inputs: str) -> Step:
    """A step from a pass object, with only the parameters that are not defaults."""
    fields = {"label": label, "pass": pass_.name, "from": source, "inputs": inputs, "parameters": pass_.parameters()}
    return Step.model_validate(fields)


class TaskOptions(BaseModel):
    """How a task was read, as far as it was said: the options of `load_task`.

    Attributes:
        test: a file with the test split
        kind: "choose", "generate" or "text"
        metric: its name
        prompt: name of the column
        completion: likewise
        group: a column of what must not be on two sides of a split
        none_label: the completion of questions that none of the answers fits
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    test: str | None = None
    kind: TaskKind | None = None
    metric: str | None = None
    prompt: str | None = None
    completion: str | None = None
    group: str | None = None
    none_label: str | None = None


class Recipe(BaseModel):
    """Passes in order, and what they are performed on. Written and read as TOML.

    Attributes:
        model: as a user names it
        task: what `load_task` reads
        seed: of the task's splits and of every step
        reading: the options of `load_task` (kind, metric, columns ...)
        steps: each reads what earlier ones made
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    model: str
    task: str
    seed: int = 0
    reading: TaskOptions = TaskOptions()
    steps: tuple[Step, ...] = Field(alias="step", min_length=1)

    @model_validator(mode="after")
    def _steps_fit(self) -> Recipe:
        known = {START}
        for s in self.steps:
            for label in [s.source or START, *s.inputs.values()]:
                if label not in known:
                    raise ValueError(f"step {s.label!r} reads {label!r}, which no step before it makes")
            if s.label in known:
                raise ValueError(f"two steps are called {s.label!r}")
            known.add(s.label)
        return self

    @staticmethod
    def read(path: Path) -> Recipe:
        """The recipe in a TOML file.

        Raises:
            RecipeError: it cannot be read, or is none
        """
        try:
            return Recipe(**tomllib.loads(path.read_text(encoding="utf-8")))
        except OSError as e:
            raise RecipeError(f"cannot read the recipe: {e.strerror}", where=str(path)) from e
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
            raise RecipeError(f"not TOML: {e}", where=str(path), hint="recipe.toml of a run is one") from e
        except ValidationError as e:
            first = e.errors()[0]
            raise RecipeError(
                f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
                where=str(path),
                hint="compare it with a recipe.toml that `lightbulb shrink` wrote",
            ) from e

    def as_toml(self) -> str:
        """As `read` reads it."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude_none=True))

    def write(self, path: Path) -> None:
        write_text(path, self.as_toml())


class Execution:
    """Performs steps one by one (or finds them done).

    Args:
        run: the folder that they are performed in
        start: what the first step reads

    Attributes:
        made: artifacts by label
        steps: what was performed
    """

    def __init__(self, run: Run, start: Artifact):
        self.run = run
        self.made: dict[str, Artifact] = {START: start}
        self.steps: dict[str, Step] = {}
        self._last = START

    def perform(self, *steps: Step, seconds: float | None = None) -> Artifact:
        """Performs steps in order; a step already performed under its label is not looked at again.

        Args:
            steps: to perform
            seconds: the time that each of them may take; those that were shortened by it stand in `self.steps` as they
                were performed

        Returns:
            The artifact of the last.
        """
        for s in steps:
            if s.label not in self.made:
                self._one(s, seconds)
            self._last = s.label
        return self.made[self._last]

    def _one(self, s: Step, seconds: float | None) -> None:
        pass_, source = s.build(), self.made[s.source or self._last]
        inputs = {role: self.made[label] for role, label in s.inputs.items()}
        self.made[s.label] = self.run.step(s.label, pass_, source, inputs, seconds)
        done = self.run.performed(s.label, pass_, self.run.key(pass_, source.key, inputs))
        self.steps[s.label] = s if done == pass_ else s.model_copy(update={"parameters": done.parameters()})


def check_recipe(recipe: Recipe, start: ArtifactKind = "model") -> None:
    """Refuses what `execute` would meet on its way: a typing error must not cost an hour.

    Args:
        recipe: to be performed
        start: the kind of what its model becomes

    Raises:
        RecipeError: steps that do not fit together
        UserError: a runtime that is not there, or cannot do what a pass needs
    """
    kinds: dict[str, ArtifactKind] = {START: start}
    last = START
    for s in recipe.steps:
        built = s.build()
        _check_runtime(s, built)
        _check_source(s, built, s.source or last, kinds)
        kinds[s.label], last = built.makes, s.label


def _check_runtime(s: Step, built: Pass) -> None:
    """Raises UserError where the runtime that a step names is not there, or cannot do what its pass needs."""
    runtime = getattr(built, "runtime", None)
    if runtime is None:
        return
    try:
        check_opens(runtime, "gguf").require(*built.needs)
    except UserError as e:
        e.where = f"step {s.label!r}, {e.where}"
        raise


def _check_source(s: Step, built: Pass, source: str, kinds: Mapping[str, ArtifactKind]) -> None:
    """Raises RecipeError unless the step reads artifacts that its pass can read."""

    def wrong(what: str, wanted: Sequence[str], hint: str) -> RecipeError:
        fitting = [label for label, kind in kinds.items() if kind in wanted]
        those = f"; such are: {', '.join(fitting)}" if fitting else "; no step before makes such an artifact"
        return RecipeError(what, where=f"step {s.label!r}", hint=hint + those)

    if kinds[source] not in built.reads:
        problem = f"the pass {s.pass_} reads {' or '.join(built.reads)}, and {source!r} is of the kind {kinds[source]}"
        raise wrong(problem, built.reads, 'add from = "LABEL"')
    for used in built.uses:
        if used not in s.inputs:
            raise wrong(f"the pass {s.pass_} needs an input {used!r}", [used], f'add inputs = {{ {used} = "LABEL" }}')
    wanted: Sequence[str]
    for role, label in s.inputs.items():
        wanted = built.input_kinds.get(role) or ([role] if role in (*built.uses, *built.may_use) else built.reads)
        if kinds[label] not in wanted:
            problem = f"the input {role!r} must be of the kind {wanted[0]}, and {label!r} is of the kind {kinds[label]}"
            raise wrong(problem, wanted, f'{role} = "LABEL"')


def execute(recipe: Recipe, run: Run, start: Artifact) -> Execution:
    """Runs (or finds) every step of a recipe in order."""
    execution = Execution(run, start)
    execution.perform(*recipe.steps)
    return execution
