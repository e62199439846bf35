"""The files of a run that were measured and tested, with their costs and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import RunFailure
from lightbulb.core.facts import CostFacts, ScoreFacts
from lightbulb.core.figures import Figure
from lightbulb.measuring.costs import per_right_answer
from lightbulb.passes.evaluate import Answered, on_same_items, right_of
from lightbulb.passes.measure import costs_of
from lightbulb.pipeline.recipe import Execution
from lightbulb.runtimes import runtime_of, title_of
from lightbulb.shrinking.abstain import Abstain
from lightbulb.shrinking.candidate import Candidate
from lightbulb.shrinking.evaluation import recorded_score
from lightbulb.shrinking.floor import Floor
from lightbulb.shrinking.record import FileKind, Scored
from lightbulb.shrinking.steps import COSTS, TEACHER_VALIDATION, roles
from lightbulb.shrinking.verdict import File
from lightbulb.tasks.chance import at_chance
from lightbulb.tasks.metrics import MACRO_F1, PROPORTIONS, higher_is_better, wilson
from lightbulb.tasks.task import Task

RIGHT = (*PROPORTIONS, MACRO_F1)  # metrics that say which answers are right


def answers(execution: Execution, files: Sequence[Candidate]) -> dict[Candidate, Answered]:
    """What every file answered on test."""
    found = on_same_items(execution.run.task, {c.test_label: execution.made[c.test_label] for c in files})
    return {c: found[c.test_label] for c in files}


def measured_files(
    execution: Execution,
    files: Sequence[Candidate],
    answered: Mapping[Candidate, Answered],
    runtime: str,
    abstain: Abstain | None = None,
) -> list[File]:
    """Every file with its costs and its score."""
    made, task, found = execution.made, execution.run.task, []
    costs = costs_of(made[COSTS])
    on_validation = recorded_score(made[TEACHER_VALIDATION]) if TEACHER_VALIDATION in made else None
    for candidate, role in roles(files).items():
        stock, score = candidate.is_stock, answered[candidate].score
        runs_in = runtime_of(made[candidate.file_label].gguf, runtime)
        name = f"{candidate.name}, {title_of(runs_in)}" if stock else candidate.name
        kind: FileKind = "stock" if stock else candidate.file_kind
        known = Scored(name=name, kind=kind, runtime=runs_in, score=score)
        scored = with_costs(execution, candidate, role, answered[candidate], known)
        found.append(
            File(
                candidate,
                scored,
                costs[role],
                at_chance(task, score, answered[candidate].examples),
                not stock and beats(made[f"{candidate.file_label}-validation"], on_validation, task.metric),
                abstain.short(scored.abstention) if abstain else "",
            )
        )
    return found


def beats(validation: Artifact, teacher: Figure | None, metric: str) -> bool:
    """Whether the score of an evaluation is better than the teacher's on the same items; where there is no teacher,
    whether there is a score."""
    score = recorded_score(validation)
    if score.value is None or teacher is None:
        return score.value is not None
    if teacher.value is None:
        return False
    return score.value > teacher.value if higher_is_better(metric) else score.value < teacher.value


def check_learned(files: Sequence[File], floor: Floor, task: Task) -> None:
    """That there is something to hand out, and something to hold it against.

    Args:
        files: the adapted teacher's first, where there is one

    Raises:
        RunFailure: no file can be told from one that has learned nothing; or what `keep` is a share of cannot, and no
            absolute score was asked for
    """
    first, idle = files[0], [f for f in files if f.chance]
    references = [f for f in files if not f.chance and (f is first or f.beats_teacher)]
    if references or (floor.at_least is not None and len(idle) < len(files)):
        return
    what = "nothing that was made has" if len(idle) == len(files) else "the adapted teacher has not"
    whom = "the adapted teacher" if first.candidate.is_stock else first.scored.name
    raise RunFailure(
        f"{what} learned the task: {task.metric} on test is {first.scored.score} with {whom}, "
        f"and {first.chance}; there is no quality to judge",
        hint="give more examples or time, or a milder `metric` such as chrf, and another `out`",
    )


def with_costs(execution: Execution, candidate: Candidate, role: str, answered: Answered, file: Scored) -> Scored:
    """`file` with its path, size and costs."""
    made, task = execution.made, execution.run.task
    costs = made[COSTS].facts_as(CostFacts).roles[role]
    test, right = made[candidate.test_label].facts_as(ScoreFacts), share_right(task, answered)
    per_answer = {
        f"{side}_tokens_per_answer": Figure(
            value=tokens / test.num_prompts, unit="tokens", method="mean over the different test items"
        )
        for side, tokens in (("prompt", test.prompt_tokens), ("output", test.output_tokens))
    }
    per_right = {
        f"{what}_per_right_answer": per_right_answer(costs[f"{what}_per_answer"], right)
        for what in ("joules", "cpu_seconds")
    }
    place = made[candidate.file_label].gguf
    known = {
        "path": str(place.relative_to(place.parents[2])),  # steps/LABEL-KEY/model.gguf
        "bytes": made[candidate.file_label].bytes,
        "abstention": test.abstention,
    }
    return file.model_copy(update=known | costs | per_answer | per_right)


def share_right(task: Task, answered: Answered) -> Figure:
    """Share of test items that are answered rightly; None for a metric that does not say which are."""
    if task.metric not in RIGHT:
        return Figure(value=None, unit="share", method=f"{task.metric} does not say which answers are right")
    right = right_of(task, answered)
    low, high = wilson(sum(right), len(right))
    method = f"{len(right):,} items, Wilson interval"
    return Figure(value=sum(right) / len(right), low=low, high=high, unit="share", method=method)
