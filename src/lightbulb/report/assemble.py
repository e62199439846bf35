"""From the artifacts of a run to its result: figures put side by side, nothing computed that a step did not measure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightbulb.artifact import Artifact
from lightbulb.energy.carbon import grams_co2e
from lightbulb.energy.protocol import ratio
from lightbulb.figures import Figure
from lightbulb.goal import Goal
from lightbulb.ledger import Cost
from lightbulb.passes.evaluate import predictions_of, retention_of, right_of
from lightbulb.recipe import Execution, Recipe
from lightbulb.report.record import (
    Candidate,
    Counts,
    Difference,
    LedgerRow,
    Making,
    Quantity,
    Ratio,
    Result,
    Scored,
    Verdict,
)
from lightbulb.search.steps import STOCK
from lightbulb.store import read_json
from lightbulb.tasks.metrics import higher_is_better
from lightbulb.tasks.task import Task

if TYPE_CHECKING:
    from lightbulb.search.choose import Choice

WITHIN = 0.01  # a stock quantization counts as a rival when it scores within one point of the teacher
SHOWN = 12  # examples in the report


def assemble(
    execution: Execution,
    choice: Choice,
    goal: Goal,
    recipe: Recipe,
    *,
    command: str,
    versions: dict[str, str],
    machine: dict[str, str],
) -> Result:
    made, task, run = execution.made, execution.run.task, execution.run
    gguf = f"{choice.student}-gguf"
    teacher, *baselines = [scored(made, f"teacher-{q}", f"adapted teacher, {q}, llama.cpp") for q in STOCK]
    student = scored(made, gguf, f"student, {choice.layers} layers, {choice.grid}").model_copy(
        update={"path": "model.gguf"}
    )
    rival = best_rival(teacher, baselines, task.metric)
    retention = retention_of(task, made[f"{gguf}-test"], made["teacher-f16-test"])
    spent = run.spent()
    out = str(run.folder)
    return Result(
        verdict=verdict(retention, goal.keep),
        task=task.name,
        kind=task.kind,
        metric=task.metric,
        higher_is_better=higher_is_better(task.metric),
        keep=goal.keep,
        teacher=teacher,
        baselines=baselines,
        student=student,
        compare_with=rival.name,
        retention=retention,
        making=making(spent, goal),
        break_even_answers=break_even(spent.joules, rival, student),
        ratios=[
            r for against in {m.name: m for m in (rival, teacher)}.values() for r in ratios(made, against, student)
        ],
        recipe=[
            {"pass": s.pass_, "label": s.label, "parameters": s.parameters, "key": made[s.label].key}
            for s in recipe.steps
        ],
        ledger=[ledger_row(execution, a) for a in run.finished_steps()],
        candidates=[
            Candidate(name=t.name, layers=t.layers, score=t.score, seconds=t.seconds, chosen=t.chosen, why=t.why)
            for t in choice.tried
        ],
        verify=verification(made["verify"]),
        counts=counts(task, made, gguf),
        examples=differences(task, made, gguf),
        findings=list(task.findings),
        use=[f'lightbulb ask {out} "{example_prompt(task)}"'],
        versions=versions,
        machine=machine,
        command=command,
    )


def making(spent: Cost, goal: Goal) -> Making:
    grams = None if spent.joules.value is None else grams_co2e(spent.joules, goal.zone)
    return Making(joules=spent.joules, cpu_seconds=spent.cpu_seconds, seconds=spent.seconds, grams_co2e=grams)


def verification(verify: Artifact) -> dict[str, Figure]:
    method = "exported file in llama.cpp against the trained model in float32"
    return {
        name: Figure(value=value, unit="prompts" if name == "prompts" else "", method=method)
        for name, value in verify.facts.items()
        if isinstance(value, (int, float))
    }


def scored(made: dict[str, Artifact], label: str, name: str) -> Scored:
    role = "student" if label not in {f"teacher-{q}" for q in STOCK} else label
    costs = {k: Figure(**v) for k, v in made["costs"].facts[role].items()}
    test = made[f"{label}-test"].facts
    per_answer = {
        f"{side}_tokens_per_answer": Figure(
            value=test[f"{side}_tokens"] / test["items"], unit="tokens", method="mean over the test items"
        )
        for side in ("prompt", "output")
    }
    score = Figure(**test["score"])
    return Scored(name=name, runtime="llamacpp", score=score, bytes=made[label].bytes).model_copy(
        update=costs | per_answer
    )


def best_rival(teacher: Scored, baselines: list[Scored], metric: str) -> Scored:
    """The stock file with the fewest CPU seconds among those within one point of the teacher; else the teacher."""
    sign = 1 if higher_is_better(metric) else -1

    def near(m: Scored) -> bool:
        return m.score.value is not None and sign * (m.score.value - (teacher.score.value or 0)) >= -WITHIN

    rivals = [m for m in baselines if near(m)] or [teacher]
    return min(rivals, key=lambda m: m.cpu_seconds_per_answer.value)  # type: ignore[union-attr, arg-type, return-value]


def verdict(retention: Figure, keep: float) -> Verdict:
    """kept: the whole interval is at or above the floor; not-kept: all of it is below; else within noise."""
    if retention.low is not None and retention.low >= keep:
        return "kept"
    return "not-kept" if retention.high is not None and retention.high < keep else "within-noise"


def ratios(made: dict[str, Artifact], before: Scored, student: Scored) -> list[Ratio]:
    trials = read_json(made["costs"].path / "trials.json")
    old, new = trials["teacher-" + before.name.split(", ")[1]], trials["student"]
    how = "median over trials, before / after, paired"
    cpu = ratio(old["cpu_seconds"], new["cpu_seconds"], how)
    found: list[tuple[str, Quantity, Figure]] = [("CPU seconds per answer", "cpu_seconds_per_answer", cpu)]
    if old["joules"] and new["joules"]:
        energy = ratio(old["joules"], new["joules"], how)
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


def break_even(making: Figure, before: Scored, after: Scored) -> Figure:
    """Answers after which the joules saved equal the joules of making. The watts behind both sides come from one model
    or one counter, so the interval is that of the costs of an answer alone."""
    old, new = before.joules_per_answer, after.joules_per_answer
    unit, method = "answers", "joules of making / (joules per answer before - after)"
    if making.value is None or old is None or new is None or old.value is None or new.value is None:
        return Figure(value=None, unit=unit, method=f"{method}; joules were not measured")
    if old.value <= new.value:
        return Figure(value=None, unit=unit, source="derived", method=f"{method}; an answer does not cost less")
    value = making.value / (old.value - new.value)
    spread = [
        getattr(m.cpu_seconds_per_answer, end) / m.cpu_seconds_per_answer.value  # type: ignore[union-attr]
        for m in (before, after)
        for end in ("low", "high")
    ]
    return Figure(
        value=value,
        low=value * min(spread),
        high=value * max(spread),
        unit=unit,
        source="estimated" if making.source == "estimated" else "derived",
        scope=making.scope,
        method=method,
    )


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
    rows: list[tuple[Any, ...]] = [(e, t, s) for e, t, s in zip(task.test, teacher, student, strict=False) if t != s]
    rows.sort(key=lambda row: row[0].completion not in row[1:])  # stable: test order within each group
    return [Difference(prompt=e.prompt, reference=e.completion, teacher=t, student=s) for e, t, s in rows[:SHOWN]]


def example_prompt(task: Task) -> str:
    """A short, harmless prompt of the task to show how the result is asked."""
    plain = [e.prompt for e in task.test if e.prompt and not set(e.prompt) & set('"\\$`!\n')]
    return min(plain, key=lambda p: abs(len(p) - 40), default="...")
