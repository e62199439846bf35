"""From the artifacts of a run to its result: figures put side by side, nothing computed that a step did not measure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lightbulb.core.artifact import Artifact
from lightbulb.core.figures import Figure
from lightbulb.measuring.costs import ratios, saved
from lightbulb.models.abstention import NONE
from lightbulb.models.origin import Origin
from lightbulb.passes.evaluate import Answered, retention_of
from lightbulb.pipeline.ledger import Cost, total_cost
from lightbulb.pipeline.recipe import Execution, Recipe
from lightbulb.shrinking import origins
from lightbulb.shrinking.abstain import Abstain
from lightbulb.shrinking.candidate import Candidate, Choice, Trial
from lightbulb.shrinking.floor import Floor
from lightbulb.shrinking.goal import Goal
from lightbulb.shrinking.kinds.base import ENCODER
from lightbulb.shrinking.measured_files import answers, check_learned, measured_files
from lightbulb.shrinking.record import Quantity, Ratio, Result, Scored, TriedCandidate, Verdict
from lightbulb.shrinking.sections import (
    asking,
    counts,
    differences,
    example_question,
    ledger_row,
    making,
    remainder,
    unanswered,
    undecided,
    verification_figures,
)
from lightbulb.shrinking.verdict import File, Selection, break_even, select_file, sure
from lightbulb.tasks.metrics import higher_is_better
from lightbulb.tasks.task import Task

RATIOS: tuple[tuple[str, Quantity], ...] = (
    ("CPU seconds per answer", "cpu_seconds_per_answer"),
    ("joules per answer", "joules_per_answer"),
)


MODEL = "model.gguf"
BELOW, DEAR = "below-floor.gguf", "not-cheaper.gguf"  # a student that is not handed out
PUBLISHED = (MODEL, BELOW, DEAR)


class Assembled(NamedTuple):
    """The result, the recipe that leads to it, and the artifacts to publish by the name that each file gets in the
    run's folder."""

    result: Result
    recipe: Recipe
    files: dict[str, Artifact]


def assemble(
    execution: Execution,
    choice: Choice,
    files: Sequence[Candidate],
    goal: Goal,
    recipe: Recipe,
    *,
    noticed: Sequence[str] = (),
    base: Origin,
    command: str,
    versions: dict[str, str],
    machine: dict[str, str],
) -> Assembled:
    """The result of a run, from what was measured and tested.

    Args:
        files: what was measured
        noticed: findings beside those of the task

    Raises:
        RunFailure: nothing that was made has learned anything, so that there is nothing to choose from
    """
    made, task, run = execution.made, execution.run.task, execution.run
    floor = Floor.of(goal, task.metric)
    answered = answers(execution, files)
    measured = measured_files(execution, files, answered, goal.runtime, goal.abstain)
    stock, students = ([f for f in measured if f.candidate.is_stock is kind] for kind in (True, False))
    teacher = stock[0] if stock else None
    check_learned([*stock, *students], floor, task)
    selection = select_file(stock, students, floor, choice.why)
    published = to_publish(selection)
    named = {file.candidate: name for name, file in published.items()}
    of_students = measured_students(execution, students, selection, floor, named)
    handed, best = (
        None if file is None else of_students.get(file.candidate) or with_path(file, named)
        for file in (selection.handed, selection.best)
    )
    retention = retention_against(task, answered, selection, teacher)
    overhead = run.overhead()
    spent = total_cost([*(run.cost(a) for a in run.finished_steps()), overhead])
    of_teacher = answered[teacher.candidate] if teacher else None
    items = len(answered[files[0]].examples)
    shown = selection.handed if selection.verdict == "kept" else selection.best
    result = Result(
        verdict=certain(selection, retention, floor, goal.abstain),
        reason=selection.reason,
        task=task.name,
        kind=task.kind,
        metric=task.metric,
        higher_is_better=higher_is_better(task.metric),
        keep=goal.keep,
        at_least=goal.at_least,
        abstain={goal.abstain.of: goal.abstain.least} if goal.abstain else None,
        none_label=none_label(goal, task),
        reference=selection.reference.scored.name if selection.reference else None,
        floor=selection.floor,
        teacher=teacher.scored if teacher else None,
        baselines=[file.scored for file in stock[1:]],
        student=handed,
        best_student=best,
        students=list(of_students.values()),
        base=origins.base_of(selection.handed.candidate if selection.handed else None, base, goal.encoder or ENCODER),
        compare_with=selection.compared.scored.name if selection.compared else None,
        retention=retention,
        making=making(spent, goal),
        break_even_answers=paid_back(spent, selection),
        ratios=shown_ratios(selection, teacher),
        recipe=performed(recipe, made),
        ledger=[*(ledger_row(execution, a) for a in run.finished_steps()), remainder(overhead)],
        candidates=candidates(choice, {file.candidate: file.chance for file in students}, selection),
        verify=verification_figures(made.get(shown.candidate.verify_label), shown.scored.runtime) if shown else {},
        counts=counts(task, of_teacher, answered[shown.candidate]) if shown and of_teacher else None,
        examples=differences(task, of_teacher, answered[shown.candidate]) if shown and of_teacher else [],
        findings=[*task.findings, *noticed, *unanswered(task, items), *undecided(task, items, goal.keep)],
        use=[asking(shlex.quote(str(run.folder)), example_question(task), goal.runtime)] if handed else [],
        versions=versions,
        machine=machine,
        command=command,
    )
    return Assembled(result, recipe, {name: made[file.candidate.file_label] for name, file in published.items()})


def to_publish(selection: Selection) -> dict[str, File]:
    """By the name in the run's folder: what is handed out, and beside it a student that is not."""
    files = {MODEL: selection.handed} if selection.handed else {}
    if selection.best:
        files[DEAR if selection.best_does else BELOW] = selection.best
    return files


def measured_students(
    execution: Execution, students: Sequence[File], selection: Selection, floor: Floor, named: Mapping[Candidate, str]
) -> dict[Candidate, Scored]:
    """Every student that was measured: why it is not handed out, and what it took to make it."""
    run, made, found = execution.run, execution.made, {}
    for file in students:
        steps = origins.needed(execution.steps, [file.candidate.file_label])
        cost = total_cost([run.cost(made[s.label]) for s in steps])
        known = {"making": cost.cpu_seconds, "why": selection.why_not(file, floor)}
        path = {"path": named[file.candidate]} if file.candidate in named else {}
        found[file.candidate] = file.scored.model_copy(update=known | path)
    return found


def with_path(file: File, named: Mapping[Candidate, str]) -> Scored:
    return file.scored.model_copy(update={"path": named[file.candidate]})


def retention_against(
    task: Task, answered: Mapping[Candidate, Answered], selection: Selection, teacher: File | None
) -> Figure:
    """Score of what is handed out / that of the reference; / the teacher's where nothing else was better."""
    if selection.handed is None:
        return Figure(value=None, unit="ratio", source="derived", method="nothing is handed out")
    handed, reference = selection.handed.candidate, selection.reference
    against = (teacher or reference) if reference is None or reference.candidate == handed else reference
    if against is None or against.candidate == handed:
        return Figure(value=None, unit="ratio", source="derived", method="nothing else was made to hold it against")
    return retention_of(task, answered[handed], answered[against.candidate])


def none_label(goal: Goal, task: Task) -> str | None:
    """What files of the run say where they give no answer."""
    if goal.abstain is None:
        return None
    return task.outside.label if task.outside else NONE


def certain(selection: Selection, retention: Figure, floor: Floor, abstain: Abstain | None = None) -> Verdict:
    """ "within-noise" for a student whose interval reaches below what was asked."""
    if selection.verdict != "kept" or selection.handed is None:
        return selection.verdict
    is_reference = selection.reference is None or selection.handed.candidate == selection.reference.candidate
    kept = sure(retention, selection.handed.scored.score, floor, is_reference)
    surely = abstain is None or abstain.surely(selection.handed.scored.abstention)
    return "kept" if kept and surely else "within-noise"


def paid_back(spent: Cost, selection: Selection) -> Figure:
    if selection.verdict != "kept" or selection.handed is None:
        return Figure(value=None, unit="answers", source="derived", method="no student is handed out")
    if selection.compared is None:
        why = "no language model was made to compare it with"
        return Figure(value=None, unit="answers", source="derived", method=why)
    less = saved(selection.compared.costs, selection.handed.costs, "joules_per_answer")
    return break_even(spent.joules, selection.compared.scored, selection.handed.scored, less)


def shown_ratios(selection: Selection, teacher: File | None) -> list[Ratio]:
    """Before / after against the stock file that would do and against the teacher; none where no student does."""
    if selection.verdict != "kept" or selection.handed is None or selection.compared is None or teacher is None:
        return []
    against = {file.candidate: file for file in (selection.compared, teacher)}
    return [ratio for file in against.values() for ratio in ratios_of(file, selection.handed)]


def performed(recipe: Recipe, made: dict[str, Artifact]) -> list[dict[str, Any]]:
    return [
        {"pass": s.pass_, "label": s.label, "parameters": s.parameters, "key": made[s.label].key} for s in recipe.steps
    ]


def candidates(choice: Choice, chances: Mapping[Candidate, str], selection: Selection) -> list[TriedCandidate]:
    """All trials; what is handed out is marked as chosen, or, where that is no student, what the search came to.

    Args:
        chances: why a file that was tested is at chance; of such a candidate nothing else is told
    """
    found = []
    handed = selection.handed if selection.verdict == "kept" else None
    for o in choice.tried:
        chosen = o.chosen if handed is None else o.trial == Trial(handed.candidate, "exported")
        at = chances.get(o.trial.candidate, "") if chosen else ""
        why = f"at chance on test: {at}" if at else o.why
        layers = o.trial.candidate.layers
        found.append(
            TriedCandidate(
                name=o.trial.name,
                kind=o.trial.candidate.file_kind,
                layers=layers or None,
                score=o.score,
                seconds=o.seconds,
                chosen=chosen and not at,
                why=why,
            )
        )
    return found


def ratios_of(before: File, after: File) -> list[Ratio]:
    """What `before` takes / what `after` takes, paired; of costs that were measured for both, and of bytes."""
    found = ratios(before.costs, after.costs)
    values = [(what, quantity, found[quantity]) for what, quantity in RATIOS if quantity in found]
    if before.scored.bytes and after.scored.bytes:
        size = before.scored.bytes / after.scored.bytes
        size_ratio = Figure(value=size, unit="ratio", source="derived", method="file sizes")
        values.append(("bytes", "bytes", size_ratio))
    return [
        Ratio(
            name=f"{what}, {before.scored.name} / student", value=value, quantity=quantity, against=before.scored.name
        )
        for what, quantity, value in values
    ]
