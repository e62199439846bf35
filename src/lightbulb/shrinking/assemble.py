"""From the artifacts of a run to its result: figures put side by side, nothing computed that a step did not measure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lightbulb.core.artifact import Artifact
from lightbulb.core.facts import AgreementFacts
from lightbulb.core.figures import Figure
from lightbulb.energy.carbon import grams_co2e
from lightbulb.measuring.costs import ratios, saved
from lightbulb.models.origin import Origin
from lightbulb.passes.evaluate import Answered, retention_of, right_of
from lightbulb.pipeline.ledger import Cost, total_cost
from lightbulb.pipeline.recipe import Execution, Recipe
from lightbulb.runtimes import title_of
from lightbulb.shrinking.candidate import Candidate, Choice
from lightbulb.shrinking.floor import Floor
from lightbulb.shrinking.goal import Goal
from lightbulb.shrinking.measured_files import answers, check_learned, measured_files
from lightbulb.shrinking.record import (
    Counts,
    Difference,
    LedgerRow,
    Making,
    Quantity,
    Ratio,
    Result,
    Scored,
    TriedCandidate,
    Verdict,
)
from lightbulb.shrinking.steps import VERIFY
from lightbulb.shrinking.verdict import File, Selection, break_even, select_file, sure
from lightbulb.tasks.metrics import higher_is_better, wilson
from lightbulb.tasks.task import Example, Task

SHOWN = 12  # examples in the report
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
    """files: what was measured. noticed: findings beside those of the task. Raises RunFailure where nothing that was
    made has learned anything, so that there is nothing to choose from."""
    made, task, run = execution.made, execution.run.task, execution.run
    floor = Floor.of(goal, task.metric)
    answered = answers(execution, files)
    measured = measured_files(execution, files, answered, goal.runtime)
    stock, students = ([f for f in measured if f.candidate.is_stock is kind] for kind in (True, False))
    check_learned([*stock, *students], floor, task)
    selection = select_file(stock, students, floor, choice.why)
    published = to_publish(selection)
    named = {file.candidate: name for name, file in published.items()}
    handed, best = (with_path(file, named) for file in (selection.handed, selection.best))
    teacher, *baselines = (file.scored for file in stock)
    retention = retention_against(task, answered, selection, stock[0])
    overhead = run.overhead()
    spent = total_cost([*(run.cost(a) for a in run.finished_steps()), overhead])
    of_teacher = answered[stock[0].candidate]
    shown = selection.handed if selection.verdict == "kept" else selection.best
    result = Result(
        verdict=certain(selection, retention, floor),
        reason=selection.reason,
        task=task.name,
        kind=task.kind,
        metric=task.metric,
        higher_is_better=higher_is_better(task.metric),
        keep=goal.keep,
        at_least=goal.at_least,
        reference=selection.reference.scored.name,
        floor=selection.floor,
        teacher=teacher,
        baselines=baselines,
        student=handed,
        best_student=best,
        base=base,
        compare_with=selection.compared.scored.name,
        retention=retention,
        making=making(spent, goal),
        break_even_answers=paid_back(spent, selection),
        ratios=shown_ratios(selection, stock[0]),
        recipe=performed(recipe, made),
        ledger=[*(ledger_row(execution, a) for a in run.finished_steps()), remainder(overhead)],
        candidates=candidates(choice, {file.candidate: file.chance for file in students}),
        verify=verification_figures(made[VERIFY], goal.runtime) if shown else {},
        counts=counts(task, of_teacher, answered[shown.candidate]) if shown else None,
        examples=differences(task, of_teacher, answered[shown.candidate]) if shown else [],
        findings=[
            *task.findings,
            *noticed,
            *unanswered(task, len(of_teacher.examples)),
            *undecided(task, len(of_teacher.examples), goal.keep),
        ],
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


def with_path(file: File | None, named: Mapping[Candidate, str]) -> Scored | None:
    return None if file is None else file.scored.model_copy(update={"path": named[file.candidate]})


def retention_against(
    task: Task, answered: Mapping[Candidate, Answered], selection: Selection, teacher: File
) -> Figure:
    """Score of what is handed out / that of the reference; / the teacher's where nothing else was better."""
    if selection.handed is None:
        return Figure(value=None, unit="ratio", source="derived", method="nothing is handed out")
    handed, against = selection.handed.candidate, selection.reference.candidate
    if against == handed:
        against = teacher.candidate
    return retention_of(task, answered[handed], answered[against])


def certain(selection: Selection, retention: Figure, floor: Floor) -> Verdict:
    """ "within-noise" for a student whose interval reaches below what was asked."""
    if selection.verdict != "kept" or selection.handed is None:
        return selection.verdict
    is_reference = selection.handed.candidate == selection.reference.candidate
    kept = sure(retention, selection.handed.scored.score, floor, is_reference)
    return "kept" if kept else "within-noise"


def paid_back(spent: Cost, selection: Selection) -> Figure:
    if selection.verdict != "kept" or selection.handed is None:
        return Figure(value=None, unit="answers", source="derived", method="no student is handed out")
    less = saved(selection.compared.costs, selection.handed.costs, "joules_per_answer")
    return break_even(spent.joules, selection.compared.scored, selection.handed.scored, less)


def shown_ratios(selection: Selection, teacher: File) -> list[Ratio]:
    """Before / after against the stock file that would do and against the teacher; none where no student does."""
    if selection.verdict != "kept" or selection.handed is None:
        return []
    against = {file.candidate: file for file in (selection.compared, teacher)}
    return [ratio for file in against.values() for ratio in ratios_of(file, selection.handed)]


def performed(recipe: Recipe, made: dict[str, Artifact]) -> list[dict[str, Any]]:
    return [
        {"pass": s.pass_, "label": s.label, "parameters": s.parameters, "key": made[s.label].key} for s in recipe.steps
    ]


def candidates(choice: Choice, chances: Mapping[Candidate, str]) -> list[TriedCandidate]:
    """chances: why a file that was tested is at chance. Of such a candidate nothing else is told."""
    found = []
    for o in choice.tried:
        at = chances.get(o.trial.candidate, "") if o.chosen else ""
        why = f"at chance on test: {at}" if at else o.why
        layers = o.trial.candidate.layers
        found.append(
            TriedCandidate(
                name=o.trial.name, layers=layers, score=o.score, seconds=o.seconds, chosen=o.chosen and not at, why=why
            )
        )
    return found


def unanswered(task: Task, items: int) -> list[str]:
    if items == len(task.test):
        return []
    return [f"{items:,} of {len(task.test):,} test items were answered: there was no time for all"]


def undecided(task: Task, items: int, keep: float | None) -> list[str]:
    """Where there are too few items for the verdict "kept", however well the student does (Wilson's interval)."""
    if keep is None or task.kind == "text" or (most := wilson(items, items)[0]) >= keep:
        return []
    return [f"{items:,} test items can show at most that {most:.1%} was kept"]


def making(spent: Cost, goal: Goal) -> Making:
    grams = None if spent.joules.value is None else grams_co2e(spent.joules, goal.zone)
    return Making(joules=spent.joules, cpu_seconds=spent.cpu_seconds, seconds=spent.seconds, grams_co2e=grams)


def verification_figures(verify: Artifact, runtime: str) -> dict[str, Figure]:
    method = f"exported file in {title_of(runtime)} against the trained model in float32"
    units = {"prompts": "prompts", "mean_log_prob_difference": "nats", "max_log_prob_difference": "nats"}
    return {
        name: Figure(value=value, unit=units.get(name, "share"), method=method)
        for name, value in verify.facts_as(AgreementFacts)
        if isinstance(value, (int, float))
    }


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


def asking(model: str, question: Example | None, runtime: str) -> str:
    """The command that asks `model` in the form in which it was taught."""
    asked = shlex.quote(question.prompt) if question else '"..."'
    words = f"lightbulb ask {model} {asked}"
    if question and question.messages and question.messages[0].role == "system":
        words += f" --system {shlex.quote(question.messages[0].content)}"
    return words + ("" if runtime == "llamacpp" else f" --runtime {runtime}")


def ledger_row(execution: Execution, artifact: Artifact) -> LedgerRow:
    cost = execution.run.cost(artifact)
    again = f"{cost.attempts} attempts" if cost.attempts > 1 else ""
    return LedgerRow(
        step=execution.run.label_of(artifact),
        made_by=artifact.made_by,
        seconds=cost.seconds,
        cpu_seconds=cost.cpu_seconds,
        joules=cost.joules,
        note=again,
    )


def remainder(overhead: Cost) -> LedgerRow:
    return LedgerRow(
        step="beside the steps",
        seconds=overhead.seconds,
        cpu_seconds=overhead.cpu_seconds,
        joules=overhead.joules,
        note="libraries, planning, choosing",
    )


def counts(task: Task, teacher: Answered, student: Answered) -> Counts | None:
    if task.kind == "text":
        return None
    pairs = list(zip(right_of(task, teacher), right_of(task, student), strict=True))
    return Counts(
        both=pairs.count((True, True)),
        only_teacher=pairs.count((True, False)),
        only_student=pairs.count((False, True)),
        neither=pairs.count((False, False)),
    )


def differences(task: Task, teacher: Answered, student: Answered) -> list[Difference]:
    """Test items that teacher and student answer differently, where either is right first."""
    if task.kind == "text":
        return []
    items = zip(teacher.examples, teacher.predictions, student.predictions, strict=True)
    rows: list[tuple[Any, ...]] = [(e, t, s) for e, t, s in items if t != s]
    rows.sort(key=lambda row: row[0].completion not in row[1:])  # stable: test order within each group
    return [Difference(prompt=e.prompt, reference=e.completion, teacher=t, student=s) for e, t, s in rows[:SHOWN]]


def example_question(task: Task) -> Example | None:
    """A short, harmless question of the task to show how the result is asked; of chats one of few turns."""
    plain = [e for e in task.test if e.prompt and not set(e.prompt) & set('"\\$`!\n')]
    return min(plain, key=lambda e: (len(e.messages), abs(len(e.prompt) - 40)), default=None)
