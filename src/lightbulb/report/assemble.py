"""From the artifacts of a run to its result: figures put side by side, nothing computed that a step did not measure."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightbulb.artifact import Artifact
from lightbulb.energy.carbon import grams_co2e
from lightbulb.energy.protocol import ratio
from lightbulb.figures import Figure
from lightbulb.goal import Goal
from lightbulb.ledger import Cost, total_cost
from lightbulb.models.origin import Origin
from lightbulb.passes.evaluate import predictions_of, retention_of, right_of
from lightbulb.recipe import Execution, Recipe
from lightbulb.report.judge import best_rival, break_even, refusal, saving, stand_ins, verdict
from lightbulb.report.record import Candidate, Counts, Difference, LedgerRow, Making, Quantity, Ratio, Result, Scored
from lightbulb.runtimes import RUNTIME_TITLES, GgufRuntime
from lightbulb.search.steps import STOCK, depth
from lightbulb.store import read_json
from lightbulb.tasks.metrics import higher_is_better, wilson
from lightbulb.tasks.task import Example, Task

if TYPE_CHECKING:
    from lightbulb.search.choose import Choice

SHOWN = 12  # examples in the report


def assemble(
    execution: Execution,
    choice: Choice,
    goal: Goal,
    recipe: Recipe,
    *,
    base: Origin,
    command: str,
    versions: dict[str, str],
    machine: dict[str, str],
) -> Result:
    made, task, run = execution.made, execution.run.task, execution.run
    gguf = f"{choice.student}-gguf"
    teacher, *baselines = stock_files(made, goal.runtime)
    student = scored(made, gguf, f"student, {depth(choice.layers)}, {choice.grid}", goal.runtime)
    rivals = stand_ins(teacher, baselines, goal.keep, task.metric)
    refused = refusal(student, rivals, lambda rival: saving(ratios(made, rival, student)))
    rival = refused[0] if refused else best_rival(teacher, baselines, task.metric)
    if not refused:
        student = student.model_copy(update={"path": "model.gguf"})
    retention = retention_of(task, made[f"{gguf}-test"], made["teacher-f16-test"])
    outside = run.outside()
    spent = total_cost([*(run.cost(a) for a in run.finished_steps()), outside])
    return Result(
        verdict=verdict(retention, goal.keep),
        refused=refused[1] if refused else None,
        task=task.name,
        kind=task.kind,
        metric=task.metric,
        higher_is_better=higher_is_better(task.metric),
        keep=goal.keep,
        teacher=teacher,
        baselines=baselines,
        student=student,
        base=base,
        compare_with=rival.name,
        retention=retention,
        making=making(spent, goal),
        break_even_answers=break_even(spent.joules, rival, student, saved(made, rival)),
        ratios=[
            r for against in {m.name: m for m in (rival, teacher)}.values() for r in ratios(made, against, student)
        ],
        recipe=performed(recipe, made),
        ledger=[*(ledger_row(execution, a) for a in run.finished_steps()), remainder(outside)],
        candidates=candidates(choice),
        verify=verification(made["verify"], goal.runtime),
        counts=counts(task, made, gguf),
        examples=differences(task, made, gguf),
        findings=[
            *task.findings,
            *unanswered(task, made[f"{gguf}-test"]),
            *undecided(task, made[f"{gguf}-test"], goal.keep),
        ],
        use=[asking(answering(run.folder, rival if refused else None), example_question(task), goal.runtime)],
        versions=versions,
        machine=machine,
        command=command,
    )


def stock_files(made: dict[str, Artifact], runtime: GgufRuntime) -> list[Scored]:
    """The adapted teacher as f16, then as a user would quantize it."""
    title = RUNTIME_TITLES[runtime]
    return [scored(made, f"teacher-{q}", f"adapted teacher, {q}, {title}", runtime) for q in STOCK]


def performed(recipe: Recipe, made: dict[str, Artifact]) -> list[dict[str, Any]]:
    return [
        {"pass": s.pass_, "label": s.label, "parameters": s.parameters, "key": made[s.label].key} for s in recipe.steps
    ]


def candidates(choice: Choice) -> list[Candidate]:
    return [
        Candidate(name=t.name, layers=t.layers, score=t.score, seconds=t.seconds, chosen=t.chosen, why=t.why)
        for t in choice.tried
    ]


def unanswered(task: Task, evaluation: Artifact) -> list[str]:
    if (answered := evaluation.facts["items"]) == len(task.test):
        return []
    return [f"{answered:,} of {len(task.test):,} test items were answered: there was no time for all"]


def undecided(task: Task, evaluation: Artifact, keep: float) -> list[str]:
    """Where there are too few items for the verdict "kept", however well the student does (Wilson's interval)."""
    items = evaluation.facts["items"]
    if task.kind == "text" or (most := wilson(items, items)[0]) >= keep:
        return []
    return [f"{items:,} test items can show at most that {most:.1%} was kept"]


def making(spent: Cost, goal: Goal) -> Making:
    grams = None if spent.joules.value is None else grams_co2e(spent.joules, goal.zone)
    return Making(joules=spent.joules, cpu_seconds=spent.cpu_seconds, seconds=spent.seconds, grams_co2e=grams)


def verification(verify: Artifact, runtime: GgufRuntime) -> dict[str, Figure]:
    method = f"exported file in {RUNTIME_TITLES[runtime]} against the trained model in float32"
    units = {"prompts": "prompts", "mean_log_prob_difference": "nats", "max_log_prob_difference": "nats"}
    return {
        name: Figure(value=value, unit=units.get(name, "share"), method=method)
        for name, value in verify.facts.items()
        if isinstance(value, (int, float))
    }


def scored(made: dict[str, Artifact], label: str, name: str, runtime: GgufRuntime) -> Scored:
    role = "student" if label not in {f"teacher-{q}" for q in STOCK} else label
    costs = {k: Figure(**v) for k, v in made["costs"].facts[role].items()}
    test = made[f"{label}-test"].facts
    per_answer = {
        f"{side}_tokens_per_answer": Figure(
            value=test[f"{side}_tokens"] / test["asked"], unit="tokens", method="mean over the different test items"
        )
        for side in ("prompt", "output")
    }
    score = Figure(**test["score"])
    file = made[label].gguf
    path = str(file.relative_to(file.parents[2]))  # steps/LABEL-KEY/model.gguf
    return Scored(name=name, runtime=runtime, path=path, score=score, bytes=made[label].bytes).model_copy(
        update=costs | per_answer
    )


def trials_of(made: dict[str, Artifact], before: Scored, what: str) -> list[tuple[float, float]]:
    """(before, student) of every trial; empty where it was not measured. what: "cpu_seconds" or "joules"."""
    trials = read_json(made["costs"].path / "trials.json")
    old, new = (trials[role][what] for role in ("teacher-" + before.name.split(", ")[1], "student"))
    return list(zip(old, new, strict=True)) if old and new else []


def saved(made: dict[str, Artifact], before: Scored) -> list[float]:
    """Joules an answer, before - student, trial by trial."""
    return [old - new for old, new in trials_of(made, before, "joules")]


def ratios(made: dict[str, Artifact], before: Scored, student: Scored) -> list[Ratio]:
    how = "median over trials, before / after, paired"
    found: list[tuple[str, Quantity, Figure]] = [
        ("CPU seconds per answer", "cpu_seconds_per_answer", paired(trials_of(made, before, "cpu_seconds"), how))
    ]
    if joules := trials_of(made, before, "joules"):
        energy = paired(joules, how)
        if before.joules_per_answer and before.joules_per_answer.source == "estimated":
            how += "; both are estimates with the same watts, which cancel"
            energy = energy.model_copy(update={"source": "estimated", "method": how})
        found.append(("joules per answer", "joules_per_answer", energy))
    if before.bytes and student.bytes:
        size = Figure(value=before.bytes / student.bytes, unit="ratio", source="derived", method="file sizes")
        found.append(("bytes", "bytes", size))
    return [
        Ratio(name=f"{what}, {before.name} / student", value=value, quantity=quantity, against=before.name)
        for what, quantity, value in found
    ]


def paired(trials: list[tuple[float, float]], method: str) -> Figure:
    return ratio([old for old, _ in trials], [new for _, new in trials], method)


def answering(folder: Path, stock: Scored | None) -> str:
    """What `lightbulb ask` is given: the run folder, or the stock file that is used instead; quoted for a shell."""
    return shlex.quote(str(folder / stock.path if stock and stock.path else folder))


def asking(model: str, question: Example | None, runtime: GgufRuntime) -> str:
    """The command that asks `model` in the form in which it was taught."""
    asked = shlex.quote(question.prompt) if question else '"..."'
    words = f"lightbulb ask {model} {asked}"
    if question and question.messages and question.messages[0].role == "system":
        words += f" --system {shlex.quote(question.messages[0].content)}"
    return words + ("" if runtime == "llamacpp" else f" --runtime {runtime}")


def ledger_row(execution: Execution, artifact: Artifact) -> LedgerRow:
    cost = execution.run.cost(artifact)
    label = artifact.path.name.rsplit("-", 1)[0]
    again = f"{cost.attempts} attempts" if cost.attempts > 1 else ""
    return LedgerRow(
        step=label,
        made_by=artifact.made_by,
        seconds=cost.seconds,
        cpu_seconds=cost.cpu_seconds,
        joules=cost.joules,
        note=again,
    )


def remainder(outside: Cost) -> LedgerRow:
    return LedgerRow(
        step="beside the steps",
        seconds=outside.seconds,
        cpu_seconds=outside.cpu_seconds,
        joules=outside.joules,
        note="libraries, planning, choosing",
    )


def counts(task: Task, made: dict[str, Artifact], gguf: str) -> Counts | None:
    if task.kind == "text":
        return None
    teacher, student = (right_of(task, made[label]) for label in ("teacher-f16-test", f"{gguf}-test"))
    pairs = list(zip(teacher, student, strict=True))
    return Counts(
        both=pairs.count((True, True)),
        only_teacher=pairs.count((True, False)),
        only_student=pairs.count((False, True)),
        neither=pairs.count((False, False)),
    )


def differences(task: Task, made: dict[str, Artifact], gguf: str) -> list[Difference]:
    """Test items that teacher and student answer differently, where either is right first."""
    if task.kind == "text":
        return []
    teacher, student = (predictions_of(made[label]) for label in ("teacher-f16-test", f"{gguf}-test"))
    items = zip(task.split("test", len(teacher)), teacher, student, strict=True)
    rows: list[tuple[Any, ...]] = [(e, t, s) for e, t, s in items if t != s]
    rows.sort(key=lambda row: row[0].completion not in row[1:])  # stable: test order within each group
    return [Difference(prompt=e.prompt, reference=e.completion, teacher=t, student=s) for e, t, s in rows[:SHOWN]]


def example_question(task: Task) -> Example | None:
    """A short, harmless question of the task to show how the result is asked; of chats one of few turns."""
    plain = [e for e in task.test if e.prompt and not set(e.prompt) & set('"\\$`!\n')]
    return min(plain, key=lambda e: (len(e.messages), abs(len(e.prompt) - 40)), default=None)
