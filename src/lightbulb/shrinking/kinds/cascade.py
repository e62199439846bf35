"""Cascades: what the cheap kinds are sure of they answer, and the next better one answers the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from lightbulb.core.figures import standard_error
from lightbulb.passes.cascade import Cascade
from lightbulb.pipeline.recipe import Step
from lightbulb.shrinking.candidate import Candidate, Outcome
from lightbulb.shrinking.floor import Floor
from lightbulb.shrinking.kinds.base import After, Setting, StudentKind, file_of
from lightbulb.shrinking.kinds.linear import on_validation
from lightbulb.shrinking.ladder import answer_cost

CHEAPER = 3.0  # so many times a first stage must be cheaper: what it cannot answer costs both
GIVE_UP = (0.05, 0.03, 0.01)  # of the better stage's score, bold first
SECONDS, SECONDS_PER_CHARACTER = 5.0, 1e-4


class Cascades(StudentKind):
    """Of two files that were scored; `combined` says which."""

    name: ClassVar[str] = "cascade"
    after: ClassVar[After] = "model"

    def candidates(self, setting: Setting) -> Sequence[Candidate]:
        """None: they follow from what was tried."""
        return []

    def steps(self, candidate: Candidate, setting: Setting) -> list[Step]:
        first, then = candidate.stages
        assert candidate.give_up is not None
        make = Cascade(give_up=candidate.give_up)
        return [*file_of(candidate, make, first.file_label, setting, then=then.file_label), on_validation(candidate)]

    def seconds(self, candidate: Candidate, setting: Setting) -> float:
        return SECONDS + SECONDS_PER_CHARACTER * sum(len(e.prompt) for e in setting.task.validation)


def combined(tried: Sequence[Outcome], floor: Floor) -> list[Candidate]:
    """Cascades of the cheapest file and the best of those that cost much more and are not surely worse."""
    files = sorted((o for o in tried if o.cpu_seconds_per_answer.value), key=answer_cost)
    if len(files) < 2:
        return []
    cheap, dear = files[0], [o for o in files[1:] if answer_cost(o) >= CHEAPER * answer_cost(files[0])]
    least = floor.sign * (cheap.score.value or 0) - standard_error(cheap.score)
    able = [o for o in dear if floor.sign * (o.score.value or 0) > least]
    if not able:
        return []
    best = max(able, key=lambda o: floor.sign * (o.score.value or 0))
    stages = (cheap.trial.candidate, best.trial.candidate)
    return [Candidate(kind="cascade", method="plain", stages=stages, give_up=share) for share in GIVE_UP]
