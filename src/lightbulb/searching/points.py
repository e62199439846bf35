"""Points of the record: what a student costs by the table, what it scored, what its file costs."""

from __future__ import annotations

from collections.abc import Sequence

from lightbulb.core.facts import CostFacts, ScoreFacts
from lightbulb.pipeline.recipe import Execution
from lightbulb.searching.cost_table import COSTS
from lightbulb.searching.halving import Halving
from lightbulb.searching.parent import Parent
from lightbulb.searching.pricing import Pricing, Specs
from lightbulb.searching.prior import Proposal
from lightbulb.searching.record import Point, TableCheck, check_of
from lightbulb.searching.steps import COSTS as COST_LABEL
from lightbulb.searching.steps import Training, role_of
from lightbulb.searching.student import Student


def parent_point(parent: Parent, specs: Specs, pricing: Pricing) -> Point:
    """The parent in the finest types, scored in torch."""
    whole = specs.space.whole()
    point = untried(whole, "the adapted model, its vocabulary trimmed", 0.0, pricing, "")
    return point.model_copy(update={"name": f"parent, {whole.name}", "score": parent.score, "stage": "parent"})


def untried(student: Student, how: str, rise: float, pricing: Pricing, why: str) -> Point:
    """A student with its price."""
    return Point(
        name=student.name,
        student=student,
        how=how,
        rise=round(rise, 6),
        bytes=pricing.bytes(student),
        predicted=dict(pricing.figures(student)),
        why=why,
    )


def point_of(proposal: Proposal, pricing: Pricing, halving: Halving, training: Training) -> Point:
    """A student that was proposed, as far as it came."""
    tried = halving.tried.get(proposal.student)
    point = untried(proposal.student, proposal.how, proposal.rise, pricing, "there was no time")
    if tried is None:
        return point
    epochs, why = training.epochs_until(tried.rung), tried.why or "there was no time for its file"
    return point.model_copy(update={"score": tried.score, "stage": "trained", "epochs": epochs, "why": why})


def full_vocabulary(chosen: Point, specs: Specs, pricing: Pricing) -> list[Point]:
    """The chosen student with all of the parent's tokens, where these are more."""
    student = chosen.student.model_copy(update={"vocabulary": "full"})
    if specs.by_vocabulary["full"].vocabulary <= specs.by_vocabulary["trimmed"].vocabulary:
        return []
    why = "trimming changes neither the tokens nor the logits of the task's text, and costs less"
    return [untried(student, "the chosen one with all tokens", chosen.rise, pricing, why)]


def add_files(points: Sequence[Point], execution: Execution, made: Sequence[Student]) -> None:
    """Scores, costs and sizes of the files that were made."""
    costs = execution.made[COST_LABEL].facts_as(CostFacts)
    by_student = {p.student: p for p in points if p.stage != "parent"}
    for student in made:
        point, row = by_student[student], costs.roles[role_of(student, list(made))]
        point.stage, point.why = "file", ""
        point.score = execution.made[f"{student.label}-validation"].facts_as(ScoreFacts).score
        point.bytes = execution.made[f"{student.label}-file"].gguf.stat().st_size
        point.measured = {name: row[name] for name in COSTS}


def checks_of(chosen: Point | None) -> list[TableCheck]:
    """The table's costs beside those of the chosen file."""
    if chosen is None or chosen.measured is None:
        return []
    return [check_of(n, chosen.predicted[n], chosen.measured[n]) for n in COSTS if n in chosen.predicted]
