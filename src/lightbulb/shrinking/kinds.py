"""Kinds of student beside the decoders that are cut from the source itself: each says what to try and how it is made.

A kind is a subclass of `StudentKind` under the entry points `lightbulb.kinds`. What it makes is a file as any other:
scored on validation, held against the floor, measured beside the stock files, and handed out where it is the cheapest
that does what was asked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from lightbulb.core import plugins
from lightbulb.core.errors import PluginError
from lightbulb.pipeline.recipe import Step
from lightbulb.shrinking.candidate import Candidate
from lightbulb.shrinking.cost_model import CostModel
from lightbulb.shrinking.plan import Plan

DECODER = "decoder"


class StudentKind(ABC):
    """name: what candidates call it, and its entry point."""

    name: ClassVar[str]

    @abstractmethod
    def candidates(self, plan: Plan) -> Sequence[Candidate]:
        """What to try, cheapest first, each of this kind and with a type of file. `plan.stats` tells the task."""

    @abstractmethod
    def steps(self, candidate: Candidate, plan: Plan, runtime: str) -> list[Step]:
        """The steps that make it. They may read what the steps of the teacher made ("teacher", "trimmed", "logits"
        where the plan has them). One labelled `candidate.label` makes the weights, one labelled
        `candidate.file_label` the file, and the last scores that on validation."""

    @abstractmethod
    def seconds(self, candidate: Candidate, costs: CostModel) -> float:
        """What they take; where that is not there, the candidate is not tried."""


def student_kinds() -> list[StudentKind]:
    """Every kind that is installed, by name."""
    return [kind_named(name) for name in plugins.names(plugins.KINDS)]


def kind_named(name: str) -> StudentKind:
    """Raises PluginError where no such kind is installed, or what is there is none."""
    found = plugins.load_class(plugins.KINDS, name, StudentKind, (DECODER,))
    if found is None:
        raise PluginError(
            f"students of the kind {name!r} are not installed here",
            where=f"entry points {plugins.KINDS}",
            hint="install the plugin that this run began with, or choose another `out`",
        )
    return found()  # type: ignore[no-any-return]


def with_kinds(plan: Plan) -> Plan:
    """The plan with the candidates of all installed kinds in its space, to be tried first."""
    others = tuple(candidate for kind in student_kinds() for candidate in kind.candidates(plan))
    return plan.model_copy(update={"space": plan.space.model_copy(update={"others": others})}) if others else plan
