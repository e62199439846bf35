"""Cascades: what the cheap kinds are sure of they answer, and the next better one answers the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from lightbulb.core.figures import standard_error
from lightbulb.passes.cascade import ROLES, Cascade
from lightbulb.pipeline.recipe import Step, step
from lightbulb.shrinking.candidate import Candidate, Outcome
from lightbulb.shrinking.floor import Floor
from lightbulb.shrinking.kinds.base import After, Setting, StudentKind, file_of
from lightbulb.shrinking.kinds.linear import HELD_OUT_FILE, learns_from_validation, on_validation
from lightbulb.shrinking.ladder import answer_cost

CHEAPER = 3.0  # so many times a first stage must be cheaper: what it cannot answer costs both
GIVE_UP = (0.05, 0.03, 0.01)  # of the better stage's score, bold first
SECONDS, SECONDS_PER_CHARACTER = 5.0, 1e-4


class Cascades(StudentKind):
    """Of two or three files that were scored; `combined` says which."""

    name: ClassVar[str] = "cascade"
    after: ClassVar[After] = "model"

    def candidates(self, setting: Setting) -> Sequence[Candidate]:
        """None: they follow from what was tried."""
        return []

    def steps(self, candidate: Candidate, setting: Setting) -> list[Step]:
        first, *others = (stage.file_label for stage in candidate.stages)
        assert candidate.give_up is not None
        make, inputs = Cascade(give_up=candidate.give_up), dict(zip(ROLES, others, strict=False))
        if candidate.stages[0].kind != "linear" or not learns_from_validation(setting):
            return [*file_of(candidate, make, first, setting, **inputs), on_validation(candidate)]
        chosen = f"{candidate.label}-held-out-gguf"  # of a first stage that has not learnt from the validation split
        return [
            step(chosen, make, HELD_OUT_FILE, **inputs),
            step(candidate.file_label, make, first, **inputs, chosen=chosen),
            on_validation(candidate, chosen),
        ]

    def seconds(self, candidate: Candidate, setting: Setting) -> float:
        return SECONDS + SECONDS_PER_CHARACTER * sum(len(e.prompt) for e in setting.task.validation)


def combined(tried: Sequence[Outcome], floor: Floor) -> list[Candidate]:
    """Cascades of the cheapest file and the best of those that cost much more and are not surely worse; and, where one
    lies between the two by cost and by score, of all three."""
    students = (o for o in tried if not o.trial.candidate.is_stock)
    files = sorted((o for o in students if o.cpu_seconds_per_answer.value), key=answer_cost)
    if not files:
        return []

    def rank(outcome: Outcome) -> float:
        return floor.sign * (outcome.score.value or 0)

    cheap = files[0]
    able = [o for o in _much_dearer(files, cheap) if rank(o) > rank(cheap) - standard_error(cheap.score)]
    if not able:
        return []
    best = max(able, key=rank)
    chains: list[tuple[Outcome, ...]] = [(cheap, best)]
    between = [o for o in able if rank(cheap) < rank(o) < rank(best) and best in _much_dearer(files, o)]
    if between:
        chains.append((cheap, max(between, key=rank), best))
    stages = [tuple(o.trial.candidate for o in chain) for chain in chains]
    return [Candidate(kind="cascade", method="plain", stages=s, give_up=share) for s in stages for share in GIVE_UP]


def _much_dearer(files: Sequence[Outcome], than: Outcome) -> list[Outcome]:
    """Those that cost so much more that handing on to them is worth it."""
    return [o for o in files if o is not than and answer_cost(o) >= CHEAPER * answer_cost(than)]
