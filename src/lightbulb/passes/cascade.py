"""cascade: a cheap classifier answers what it is sure of, and better ones the rest, in one file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.errors import RunFailure
from lightbulb.core.facts import GgufFacts
from lightbulb.core.facts_of_kinds import CascadeFacts
from lightbulb.core.figures import Figure
from lightbulb.models.form import turns_of
from lightbulb.models.kinds.cascade import ARCHITECTURE, write_cascade
from lightbulb.passes.base import Context, Pass
from lightbulb.passes.evaluate import score_of
from lightbulb.runtimes import open_gguf
from lightbulb.runtimes.answering import answer_prompts, longest_answer
from lightbulb.tasks.metrics import higher_is_better, retention
from lightbulb.tasks.task import Example, Task

Advance = Callable[[float, str], None]  # of a progress bar
STEPS = 40  # thresholds that are looked at: quantiles of the first stage's probabilities
ROLES = ("then", "last")  # of the files after the source
NEVER = 2.0  # a threshold that no probability reaches


class Cascade(Pass):
    """Puts the source and the file in the role "then", and that in the role "last" where there is one, into one: each
    answers where its probability is at least its threshold, and hands on the rest.

    The thresholds are the lowest on a grid at which, on the validation split, the joint decision surely keeps what the
    best of the files alone scores: the low end of the paired interval of their ratio is at least 1 - `give_up`. Of
    three files the last two are joined first, and may give up half of that. Where a
    file was learnt from that split, too, the thresholds come from a cascade of files that were not, in the role
    "chosen".
    """

    name: ClassVar[str] = "cascade"
    facts_type: ClassVar = CascadeFacts
    reads: ClassVar[tuple[ArtifactKind, ...]] = ("gguf",)
    makes: ClassVar[ArtifactKind] = "gguf"

    give_up: float = Field(default=0.01, gt=0, lt=1)

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        files = [source, *(context.inputs[role] for role in ROLES if role in context.inputs)]
        chosen = context.inputs.get("chosen")
        with context.progress.bar("cascade", len(files) + 1) as advance:
            made = self._choose(files, context, advance) if chosen is None else Routing.of(chosen)
            write_cascade(out / "model.gguf", [f.gguf for f in files], context.task.answers, made.thresholds)
            advance(len(files) + 1, "written")
        parts = [f.facts_as(GgufFacts) for f in files]
        size, parameters = (out / "model.gguf").stat().st_size, sum(p.parameters for p in parts)
        return {
            "architecture": ARCHITECTURE,
            "bytes": size,
            "parameters": parameters,
            "bits_per_weight": 8 * size / parameters,
            "quantization": {"I8": len(files)},
            "fallbacks": [],
            "unchanged": True,
            "context_length": None,
            "thresholds": made.thresholds,
            "shares": made.shares,
            "kept": made.kept.model_dump(),
        }

    def _choose(self, files: Sequence[Artifact], context: Context, advance: Advance) -> Routing:
        """By what all files answer on the validation split, on train where there is none."""
        task, stages = context.task, []
        examples = task.split("validation" if task.validation else "train")
        for number, file in enumerate(files, 1):
            stages.append(answers_of(file.gguf, task, examples, context.threads))
            advance(number, f"stage {number}")
        return choose(task, examples, stages, self.give_up)


class Routing(NamedTuple):
    """Who answers what.

    Attributes:
        thresholds: the least probabilities with which the stages but the last answer
        shares: of the validation items, those that each stage answers
        kept: of the best stage's score there, by the joint decision
    """

    thresholds: list[float]
    shares: list[float]
    kept: Figure

    @staticmethod
    def of(cascade: Artifact) -> Routing:
        """As it was chosen for another cascade."""
        facts = cascade.facts_as(CascadeFacts)
        return Routing(list(facts.thresholds), list(facts.shares), facts.kept)


class Answered(NamedTuple):
    """Answers, and the probability of each."""

    texts: list[str]
    probabilities: np.ndarray


def answers_of(path: Path, task: Task, examples: Sequence[Example], threads: int) -> Answered:
    """What a file answers.

    Raises:
        RunFailure: it tells no probabilities
    """
    runtime = open_gguf(path, threads=threads)
    try:
        made = answer_prompts(runtime, task, [runtime.render(turns_of(e)) for e in examples], longest_answer(task))
    finally:
        runtime.close()
    if made.probabilities is None:
        raise RunFailure("this file tells no probabilities", where=str(path), hint="make a cascade of classifiers")
    return Answered(made.texts, np.array(made.probabilities, np.float32))


def choose(task: Task, examples: Sequence[Example], stages: Sequence[Answered], give_up: float) -> Routing:
    """The thresholds of all stages but the last at which no more is surely given up."""
    sign = 1 if higher_is_better(task.metric) else -1
    best = max(stages, key=lambda a: sign * (score_of(task, examples, a.texts).value or 0.0)).texts
    rest = stages[-1].texts
    thresholds: list[float] = []
    for place in reversed(range(len(stages) - 1)):
        threshold, rest, kept = _lowest(task, examples, stages[place], rest, best, give_up / 2**place)
        thresholds.insert(0, threshold)
    return Routing(thresholds, shares_of(stages, thresholds), kept)


def _lowest(
    task: Task, examples: Sequence[Example], stage: Answered, rest: list[str], best: list[str], give_up: float
) -> tuple[float, list[str], Figure]:
    """The lowest threshold of a stage at which it gives up no more, the joint answers there, and what they keep."""
    references = [e.completion for e in examples]
    quantiles = np.quantile(stage.probabilities, np.linspace(0, 1, STEPS, endpoint=False))
    for threshold in [*np.unique(quantiles.astype(np.float32)), np.float32(NEVER)]:
        sure = stage.probabilities >= threshold
        joint = [a if keeps else b for keeps, a, b in zip(sure, stage.texts, rest, strict=True)]
        kept = retention(task.metric, joint, best, references)
        if threshold == NEVER or (kept.low is not None and kept.low >= 1 - give_up):
            return float(threshold), joint, kept
    raise AssertionError("the last threshold is taken")


def shares_of(stages: Sequence[Answered], thresholds: Sequence[float]) -> list[float]:
    """The share of the examples that each stage answers."""
    open_ = np.ones(len(stages[0].texts), bool)
    shares = []
    for stage, threshold in zip(stages, [*thresholds, -np.inf], strict=True):
        sure = open_ & (stage.probabilities >= threshold)
        shares.append(float(sure.mean()))
        open_ &= ~sure
    return shares
