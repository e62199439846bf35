"""That a model gives none of its answers where it is not sure: what is asked for, and whether it was reached."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lightbulb.core import units
from lightbulb.core.errors import GoalError
from lightbulb.core.facts import AbstentionFacts
from lightbulb.models.abstention import NONE
from lightbulb.passes.calibrate import Calibrate
from lightbulb.runtimes import runtime_class
from lightbulb.tasks.task import Task

WORDS = {"precision": "of what is answered {} is right", "coverage": "of the questions that have an answer {} get one"}


class Abstain(BaseModel):
    """What must hold of the answers that are given.

    Attributes:
        of: "precision", the share of them that is right, or "coverage", of the questions that have an answer the share
            that gets one
        least: that share
    """

    model_config = ConfigDict(frozen=True)

    of: Literal["precision", "coverage"]
    least: float = Field(gt=0, lt=1)

    @staticmethod
    def parse(text: str) -> Abstain:
        """Of "0.95", "precision=0.95" or "coverage=0.9". Raises GoalError for anything else."""
        found = re.fullmatch(r"\s*(?:(precision|coverage)\s*=\s*)?(0?\.\d+)\s*", text)
        if found is None or float(found[2]) == 0:
            raise GoalError(
                f"{text!r} is no share of the answers that must be right, between 0 and 1",
                where="`abstain`",
                hint="`abstain=0.95`, or `abstain=coverage=0.9` for the share of questions to be answered",
            )
        return Abstain(of="coverage" if found[1] == "coverage" else "precision", least=float(found[2]))

    def calibration(self, runtime: str, limit: int | None = None) -> Calibrate:
        """The pass that writes the threshold into a file."""
        precision, coverage = (self.least if self.of == of else None for of in ("precision", "coverage"))
        return Calibrate(precision=precision, coverage=coverage, limit=limit, runtime=runtime)

    def short(self, found: AbstentionFacts | None) -> str:
        """Why what was found on test is surely not what was asked for; "" where it may be."""
        if found is None:
            return "it gives every answer, however unsure it is"
        figure = getattr(found, self.of)
        if figure.value is None:
            return "it answers none of the test questions"
        if figure.high is None or figure.high >= self.least:
            return ""
        what = WORDS[self.of].format(units.text(units.percent(figure)))
        return f"{what}, and {self.least:.4g} was asked for".replace("\N{NO-BREAK SPACE}", " ")

    def surely(self, found: AbstentionFacts | None) -> bool:
        """Whether the whole interval is what was asked for."""
        low = None if found is None else getattr(found, self.of).low
        return low is not None and low >= self.least


def check_abstaining(asked: Abstain | None, task: Task, runtime: str = "llamacpp") -> None:
    """Raises GoalError where a task and what is asked of abstaining do not fit together, UserError for a runtime that
    cannot tell how likely answers are."""
    if asked is not None:
        runtime_class(runtime).require("scores_answers")
    if asked is None and task.outside is not None:
        raise GoalError(
            f"questions labelled {task.outside.label!r} have no answer, and nothing says when to abstain",
            where="`none_label`",
            hint="`abstain=0.95`: of what is answered so much must be right",
        )
    if asked is not None and task.kind != "choose":
        raise GoalError(
            f"only what chooses one of a closed set of answers can abstain, and this task is of the kind {task.kind}",
            where="`abstain`",
            hint="leave it out, or `kind=choose`; `ask` tells how likely JSON that is filled in is",
        )
    if asked is not None and task.outside is None and NONE in task.answers:
        raise GoalError(
            f"{NONE!r} is one of the answers",
            where="`abstain`",
            hint=f"`none_label={NONE}`, or name the answer otherwise",
        )
