"""cascade: a cheap classifier answers what it is sure of, and a better one the rest, in one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.errors import RunFailure
from lightbulb.core.facts import CascadeFacts, GgufFacts
from lightbulb.core.figures import Figure
from lightbulb.models.form import turns_of
from lightbulb.models.kinds.cascade import ARCHITECTURE, write_cascade
from lightbulb.passes.base import Context, Pass
from lightbulb.passes.evaluate import score_of
from lightbulb.runtimes import open_gguf
from lightbulb.tasks.metrics import higher_is_better, retention
from lightbulb.tasks.task import Example, Task

STEPS = 40  # thresholds that are looked at: quantiles of the first stage's probabilities
NEVER = 2.0  # a threshold that no probability reaches


class Cascade(Pass):
    """Puts the source and the file in the role "then" into one: the source answers where its probability is at least
    the threshold, the other file the rest.

    The threshold is the lowest on a grid at which, on the validation split, the joint decision surely keeps what the
    better of the two alone scores: the low end of the paired interval of their ratio is at least 1 - `give_up`.
    """

    name: ClassVar[str] = "cascade"
    facts_type: ClassVar = CascadeFacts
    reads: ClassVar[tuple[ArtifactKind, ...]] = ("gguf",)
    makes: ClassVar[ArtifactKind] = "gguf"

    give_up: float = Field(default=0.01, gt=0, lt=1)

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        files, task = (source, context.inputs["then"]), context.task
        examples = task.split("validation" if task.validation else "train")
        with context.progress.bar("cascade", len(files) + 1) as advance:
            first = answers_of(files[0].gguf, task, examples, context.threads)
            advance(1, "first stage")
            then = answers_of(files[1].gguf, task, examples, context.threads)
            advance(2, "second stage")
            threshold, share, kept = choose(task, examples, first, then, self.give_up)
            write_cascade(out / "model.gguf", [f.gguf for f in files], task.answers, [threshold])
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
            "threshold": threshold,
            "share_first": share,
            "kept": kept.model_dump(),
        }


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
        made = runtime.answer([runtime.render(turns_of(e)) for e in examples], task.answers)
    finally:
        runtime.close()
    if made.probabilities is None:
        raise RunFailure("this file tells no probabilities", where=str(path), hint="make a cascade of classifiers")
    return Answered(made.texts, np.array(made.probabilities, np.float32))


def choose(
    task: Task, examples: Sequence[Example], first: Answered, then: Answered, give_up: float
) -> tuple[float, float, Figure]:
    """(threshold, share of the examples that the first stage answers there, what the joint decision keeps of the better
    stage's score)."""
    references = [e.completion for e in examples]
    sign = 1 if higher_is_better(task.metric) else -1
    better = max((first, then), key=lambda a: sign * (score_of(task, examples, a.texts).value or 0.0)).texts
    quantiles = np.quantile(first.probabilities, np.linspace(0, 1, STEPS, endpoint=False))
    for threshold in [*np.unique(quantiles.astype(np.float32)), np.float32(NEVER)]:
        sure = first.probabilities >= threshold
        joint = [a if keeps else b for keeps, a, b in zip(sure, first.texts, then.texts, strict=True)]
        kept = retention(task.metric, joint, better, references)
        if threshold == NEVER or (kept.low is not None and kept.low >= 1 - give_up):
            return float(threshold), float(sure.mean()), kept
    raise AssertionError("the last threshold is taken")
