"""From the artifacts of a run to its result: figures put side by side, nothing computed that a step did not measure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    too_few_items,
    unanswered,
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


class Circumstances(NamedTuple):
    """What a result says beside what was measured and tested.

    Attributes:
        base: the model that was given
        command: that was typed
        versions: of libraries
        machine: in words
        noticed: findings beside those of the task
    """

    base: Origin
    command: str
    versions: dict[str, str]
    machine: dict[str, str]
    noticed: Sequence[str] = ()


@dataclass(frozen=True)
class Evidence:
    """What a run's figures say; the result follows from it.

    Attributes:
        stock: the adapted teacher's files, its own f16 first; none where no teacher was needed
        students: the files of all others
        answered: what each file answered on test
    """

    execution: Execution
    goal: Goal
    floor: Floor
    stock: Sequence[File]
    students: Sequence[File]
    answered: Mapping[Candidate, Answered]
    selection: Selection

    @staticmethod
    def of(execution: Execution, files: Sequence[Candidate], goal: Goal, no_student: str) -> Evidence:
        """What was measured of `files`. no_student: why none of them is one.

        Raises:
            RunFailure: nothing that was made has learned anything, so that there is nothing to choose from
        """
        task = execution.run.task
        floor, answered = Floor.of(goal, task.metric), answers(execution, files)
        measured = measured_files(execution, files, answered, goal.runtime, goal.abstain)
        stock, students = ([f for f in measured if f.candidate.is_stock is kind] for kind in (True, False))
        check_learned([*stock, *students], floor, task)
        selection = select_file(stock, students, floor, no_student)
        return Evidence(execution, goal, floor, stock, students, answered, selection)

    @property
    def task(self) -> Task:
        return self.execution.run.task

    @property
    def teacher(self) -> File | None:
        return self.stock[0] if self.stock else None

    @property
    def shown(self) -> File | None:
        """The file whose answers are shown: what is handed out, or came nearest to it."""
        return self.selection.handed if self.selection.verdict == "kept" else self.selection.best

    @property
    def num_items(self) -> int:
        """Test items that were answered: of every file the same."""
        return len(next(iter(self.answered.values())).examples)

    @property
    def answer_pair(self) -> tuple[Answered, Answered] | None:
        """What the teacher and the shown file answered, where there are both."""
        if self.teacher is None or self.shown is None:
            return None
        return self.answered[self.teacher.candidate], self.answered[self.shown.candidate]


def assemble(
    execution: Execution,
    choice: Choice,
    files: Sequence[Candidate],
    goal: Goal,
    recipe: Recipe,
    circumstances: Circumstances,
) -> Assembled:
    """The result of a run, from what was measured and tested of `files`.

    Raises:
        RunFailure: nothing that was made has learned anything, so that there is nothing to choose from
    """
    found = Evidence.of(execution, files, goal, choice.why)
    published = to_publish(found.selection)
    named = {file.candidate: name for name, file in published.items()}
    result = result_of(found, choice, recipe, circumstances, named)
    artifacts = {name: execution.made[file.candidate.file_label] for name, file in published.items()}
    return Assembled(result, recipe, artifacts)


def result_of(
    found: Evidence, choice: Choice, recipe: Recipe, circumstances: Circumstances, named: Mapping[Candidate, str]
) -> Result:
    """result.json, field by field. named: the published files' names."""
    execution, goal, task, selection = found.execution, found.goal, found.task, found.selection
    teacher, shown, pair, run = found.teacher, found.shown, found.answer_pair, execution.run
    of_students = measured_students(found, named)
    handed, best = (
        None if file is None else of_students.get(file.candidate) or with_path(file, named)
        for file in (selection.handed, selection.best)
    )
    retention = retention_against(found)
    steps, overhead = run.finished_steps(), run.overhead()
    spent = total_cost([*(run.cost(a) for a in steps), overhead])
    notes = [*unanswered(task, found.num_items), *too_few_items(task, found.num_items, goal.keep)]
    verify = (
        verification_figures(execution.made.get(shown.candidate.verify_label), shown.scored.runtime) if shown else {}
    )
    of_handed = selection.handed.candidate if selection.handed else None
    return Result(
        verdict=certain(selection, retention, found.floor, goal.abstain),
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
        baselines=[file.scored for file in found.stock[1:]],
        student=handed,
        best_student=best,
        students=list(of_students.values()),
        base=origins.base_of(of_handed, circumstances.base, goal.encoder or ENCODER),
        compare_with=selection.compared.scored.name if selection.compared else None,
        retention=retention,
        making=making(spent, goal),
        break_even_answers=paid_back(spent, selection),
        ratios=shown_ratios(selection, teacher),
        recipe=performed(recipe, execution.made),
        ledger=[*(ledger_row(execution, a) for a in steps), remainder(overhead)],
        candidates=candidates(choice, {file.candidate: file.chance for file in found.students}, selection),
        verify=verify,
        counts=counts(task, *pair) if pair else None,
        examples=differences(task, *pair) if pair else [],
        findings=[*task.findings, *circumstances.noticed, *notes],
        use=[asking(shlex.quote(str(run.folder)), example_question(task), goal.runtime)] if handed else [],
        versions=circumstances.versions,
        machine=circumstances.machine,
        command=circumstances.command,
    )


def to_publish(selection: Selection) -> dict[str, File]:
    """By the name in the run's folder: what is handed out, and beside it a student that is not."""
    files = {MODEL: selection.handed} if selection.handed else {}
    if selection.best:
        files[DEAR if selection.best_does else BELOW] = selection.best
    return files


def measured_students(found: Evidence, named: Mapping[Candidate, str]) -> dict[Candidate, Scored]:
    """Every student that was measured: why it is not handed out, and what it took to make it."""
    execution, scored = found.execution, {}
    for file in found.students:
        steps = origins.needed(execution.steps, [file.candidate.file_label])
        cost = total_cost([execution.run.cost(execution.made[s.label]) for s in steps])
        known = {"making": cost.cpu_seconds, "why": found.selection.why_not(file, found.floor)}
        path = {"path": named[file.candidate]} if file.candidate in named else {}
        scored[file.candidate] = file.scored.model_copy(update=known | path)
    return scored


def with_path(file: File, named: Mapping[Candidate, str]) -> Scored:
    return file.scored.model_copy(update={"path": named[file.candidate]})


def retention_against(found: Evidence) -> Figure:
    """Score of what is handed out / that of the reference; / the teacher's where nothing else was better."""
    selection = found.selection
    if selection.handed is None:
        return Figure(value=None, unit="ratio", source="derived", method="nothing is handed out")
    handed, reference = selection.handed.candidate, selection.reference
    against = (found.teacher or reference) if reference is None or reference.candidate == handed else reference
    if against is None or against.candidate == handed:
        return Figure(value=None, unit="ratio", source="derived", method="nothing else was made to hold it against")
    return retention_of(found.task, found.answered[handed], found.answered[against.candidate])


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
    difference = saved(selection.compared.costs, selection.handed.costs, "joules_per_answer")
    return break_even(spent.joules, selection.compared.scored, selection.handed.scored, difference)


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
