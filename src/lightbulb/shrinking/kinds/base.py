"""What every kind of student says of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from lightbulb.passes.base import Pass
from lightbulb.pipeline.recipe import Step, step
from lightbulb.runtimes import CLASSIFIER
from lightbulb.shrinking.abstain import Abstain
from lightbulb.shrinking.candidate import Candidate
from lightbulb.shrinking.cost_model import CostModel
from lightbulb.shrinking.plan import Plan
from lightbulb.tasks.task import Task

After = Literal["model", "teacher"]
ENCODER = "minilm-l6"  # short name of the one that is tried where its package is installed


@dataclass(frozen=True)
class Setting:
    """What a kind is told of a job.

    Attributes:
        task: as the model can learn it
        runtime: the one that was asked for; files of our own architectures run in filament whatever it is
        encoder: folder or short name of the encoder to try
        is_encoder: whether that is the run's model itself, so that it is imported already
        made: labels of what was made so far
        plan: of the teacher and its decoders; None before there is one
        costs: what trainings take as the machine has shown itself since; None before there is a plan
        abstain: what must hold of the answers that are given; None where all are
    """

    task: Task
    runtime: str
    encoder: str = ENCODER
    is_encoder: bool = False
    made: frozenset[str] = frozenset()
    plan: Plan | None = None
    costs: CostModel | None = None
    abstain: Abstain | None = None


def file_of(candidate: Candidate, make: Pass, source: str, setting: Setting, **inputs: str) -> list[Step]:
    """The steps that make a candidate's file: by `make`, and with a threshold where it is to leave out answers."""
    if setting.abstain is None:
        return [step(candidate.file_label, make, source, **inputs)]
    whole = f"{candidate.file_label}-whole"
    threshold = setting.abstain.calibration(CLASSIFIER)
    return [step(whole, make, source, **inputs), step(candidate.file_label, threshold, whole)]


def learns_from_validation(setting: Setting) -> bool:
    """Whether files are learnt from that split, too, where they can be: not where a threshold for their answers is
    chosen on it."""
    return setting.abstain is None


class StudentKind(ABC):
    """A kind of student.

    Attributes:
        name: what candidates and the entry point call it
        after: "model" where it needs nothing but the imported model and the task, so that it is tried before anything
            is trained; "teacher" where it reads what the steps of the teacher made
    """

    name: ClassVar[str]
    after: ClassVar[After] = "teacher"

    @abstractmethod
    def candidates(self, setting: Setting) -> Sequence[Candidate]:
        """What to try, cheapest first, each of this kind; none where the task is nothing for it."""

    def why_not(self, setting: Setting) -> str | None:
        """Why the task is nothing for it, where a reader would ask."""
        return None

    def refits(self, candidate: Candidate, setting: Setting) -> bool:
        """Whether the file is learnt from the validation split, too, once all is chosen: then another, made without it
        (`candidate.held_out_file`), is scored there and decides in its place."""
        return False

    def deciding(self, candidate: Candidate, setting: Setting) -> str:
        """Label of the file whose score on validation is the candidate's."""
        return candidate.held_out_file if self.refits(candidate, setting) else candidate.file_label

    @abstractmethod
    def steps(self, candidate: Candidate, setting: Setting) -> list[Step]:
        """The steps that make it. They may read the imported model ("model") and, after the teacher, what its steps
        made ("teacher", "trimmed", "logits" where the plan has them). One labelled `candidate.label` makes the weights,
        one labelled `candidate.file_label` the file, and the last scores that on validation."""

    @abstractmethod
    def seconds(self, candidate: Candidate, setting: Setting) -> float:
        """What they take; where that is not there, the candidate is not tried."""
