"""Cascades: what the cheap kinds are sure of they answer, and the next better one answers the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from lightbulb.core.figures import standard_error
from lightbulb.passes.base import Pass
from lightbulb.passes.cascade import ROLES, Cascade
from lightbulb.passes.fall_back import FallBack
from lightbulb.pipeline.recipe import Step, step
from lightbulb.shrinking import kinds
from lightbulb.shrinking.candidate import DECODER, Candidate, Outcome
from lightbulb.shrinking.floor import Floor
from lightbulb.shrinking.kinds.base import After, Setting, StudentKind, file_of
from lightbulb.shrinking.kinds.linear import on_validation
from lightbulb.shrinking.ladder import answer_cost
from lightbulb.shrinking.steps import TEACHER, exported, stock_candidates
from lightbulb.shrinking.steps import on_validation as by_the_plan

CHEAPER = 3.0  # so many times a first stage must be cheaper: what it cannot answer costs both
GIVE_UP = (0.05, 0.03, 0.01)  # of the better stage's score, bold first
SECONDS, SECONDS_PER_CHARACTER = 5.0, 1e-4


class Cascades(StudentKind):
    """Of two or three files that were scored; `combined` says which, and, where the last is a language model,
    `handing_on`."""

    name: ClassVar[str] = "cascade"
    after: ClassVar[After] = "model"

    def candidates(self, setting: Setting) -> Sequence[Candidate]:
        """None: they follow from what was tried."""
        return []

    def refits(self, candidate: Candidate, setting: Setting) -> bool:
        """Where one of its stages is: the thresholds are those of the stages as they were before."""
        return any(s.kind != DECODER and kinds.kind_named(s.kind).refits(s, setting) for s in candidate.stages)

    def steps(self, candidate: Candidate, setting: Setting) -> list[Step]:
        if candidate.hands_on:
            return self._with_language_model(candidate, setting)
        assert candidate.give_up is not None
        make: Pass = Cascade(give_up=candidate.give_up)
        first, *others = (stage.file_label for stage in candidate.stages)
        inputs = dict(zip(ROLES, others, strict=False))
        if not self.refits(candidate, setting):
            return [*file_of(candidate, make, first, setting, **inputs), on_validation(candidate)]
        deciding, *beside = (kinds.kind_named(s.kind).deciding(s, setting) for s in candidate.stages)
        chosen = candidate.held_out_file
        return [
            step(chosen, make, deciding, **dict(zip(ROLES, beside, strict=False))),
            step(candidate.file_label, make, first, **inputs, chosen=chosen),
            on_validation(candidate, chosen),
        ]

    def _with_language_model(self, candidate: Candidate, setting: Setting) -> list[Step]:
        """Two stages, the second of which was scored on validation, a stock file just now."""
        (first, last), plan, chosen = candidate.stages, setting.plan, candidate.held_out_file
        assert candidate.give_up is not None and plan is not None
        make, score = FallBack(give_up=candidate.give_up), by_the_plan(plan, setting.runtime)
        inputs = {"then": last.file_label, "scored": f"{last.file_label}-validation"}
        begin = (
            [*exported(last, TEACHER, None), step(inputs["scored"], score, last.file_label)] if last.is_stock else []
        )
        deciding, made = candidate.file_label, [step(candidate.file_label, make, first.file_label, **inputs)]
        if self.refits(candidate, setting):
            before, deciding = kinds.kind_named(first.kind).deciding(first, setting), chosen
            after = step(candidate.file_label, make, first.file_label, **inputs, chosen=chosen)
            made = [step(chosen, make, before, **inputs), after]
        return [*begin, *made, step(f"{candidate.file_label}-validation", score, deciding)]

    def seconds(self, candidate: Candidate, setting: Setting) -> float:
        read = SECONDS + SECONDS_PER_CHARACTER * sum(len(e.prompt) for e in setting.task.validation)
        if not candidate.hands_on or setting.plan is None or setting.costs is None:
            return read
        last, times = candidate.stages[-1], setting.costs.times
        items = setting.plan.validation_limit or len(setting.task.validation)
        answered = items * times.answer_file * times.share(last.layers)  # all that may be handed on
        return read + (2 if last.is_stock else 1) * answered


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


def handing_on(tried: Sequence[Outcome], floor: Floor, held: Outcome | None, layers: int) -> list[Candidate]:
    """Pairs of a cheap file and a language model, bold first: of the student that holds the floor; where none does, of
    the best, which two that err elsewhere may beat, and of a stock file. None where another kind does what is needed.
    The cheap file is the cheapest there is, or the best.

    Args:
        held: what holds the floor
        layers: of the teacher
    """
    exported = [o for o in tried if o.trial.fidelity == "exported" and o.cpu_seconds_per_answer.value]
    decoders = [o for o in exported if o.trial.candidate.kind == DECODER]
    others = [o for o in exported if o not in decoders and not o.trial.candidate.is_stock]
    if not others or (held is not None and held not in decoders):
        return []

    def rank(outcome: Outcome) -> float:
        return floor.sign * (outcome.score.value or 0)

    student = held or max(decoders, key=rank, default=None)
    most = answer_cost(student) / CHEAPER if student else math.inf
    found = {o.trial.candidate: o for o in (min(others, key=answer_cost), max(others, key=rank))}
    firsts = [c for c, o in found.items() if answer_cost(o) <= most]
    lasts = [student.trial.candidate] if student else []
    if held is None:
        lasts.append(stock_candidates(layers)[-1])
    shares = GIVE_UP[1:]
    chains = [(first, last, share) for last in lasts for first in firsts for share in shares]
    return [Candidate(kind="cascade", method="plain", stages=(a, b), give_up=share) for a, b, share in chains]


def _much_dearer(files: Sequence[Outcome], than: Outcome) -> list[Outcome]:
    """Those that cost so much more that handing on to them is worth it."""
    return [o for o in files if o is not than and answer_cost(o) >= CHEAPER * answer_cost(than)]
