"""cascade: a cheap classifier answers what it is sure of, and a better one the rest, in one file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

Advance = Callable[[float, str], None]  # of a progress bar
STEPS = 40  # thresholds that are looked at: quantiles of the first stage's probabilities
NEVER = 2.0  # a threshold that no probability reaches


class Cascade(Pass):
    """Puts the source and the file in the role "then" into one: the source answers where its probability is at least
    the threshold, the other file the rest.

    The threshold is the lowest on a grid at which, on the validation split, the joint decision surely keeps what the
    better of the two alone scores: the low end of the paired interval of their ratio is at least 1 - `give_up`. Where a
    file was learnt from that split, too, the threshold comes from a cascade of files that were not, in the role
    "chosen".
    """

    name: ClassVar[str] = "cascade"
    facts_type: ClassVar = CascadeFacts
    reads: ClassVar[tuple[ArtifactKind, ...]] = ("gguf",)
    makes: ClassVar[ArtifactKind] = "gguf"

    give_up: float = Field(default=0.01, gt=0, lt=1)

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        files, chosen = (source, context.inputs["then"]), context.inputs.get("chosen")
        with context.progress.bar("cascade", len(files) + 1) as advance:
            made = self._choose(files, context, advance) if chosen is None else Routing.of(chosen)
            write_cascade(out / "model.gguf", [f.gguf for f in files], context.task.answers, [made.threshold])
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
            "threshold": made.threshold,
            "share_first": made.share_first,
            "kept": made.kept.model_dump(),
        }

    def _choose(self, files: Sequence[Artifact], context: Context, advance: Advance) -> Routing:
        """By what both files answer on the validation split, on train where there is none."""
        task = context.task
        examples = task.split("validation" if task.validation else "train")
        first = answers_of(files[0].gguf, task, examples, context.threads)
        advance(1, "first stage")
        then = answers_of(files[1].gguf, task, examples, context.threads)
        advance(2, "second stage")
        return choose(task, examples, first, then, self.give_up)


class Routing(NamedTuple):
    """Who answers what.

    Attributes:
        threshold: the least probability with which the first stage answers
        share_first: of the validation items, those that it answers
        kept: of the better stage's score there, by the joint decision
    """

    threshold: float
    share_first: float
    kept: Figure

    @staticmethod
    def of(cascade: Artifact) -> Routing:
        """As it was chosen for another cascade."""
        facts = cascade.facts_as(CascadeFacts)
        return Routing(facts.threshold, facts.share_first, facts.kept)


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


def choose(task: Task, examples: Sequence[Example], first: Answered, then: Answered, give_up: float) -> Routing:
    """The lowest threshold at which no more is surely given up."""
    references = [e.completion for e in examples]
    sign = 1 if higher_is_better(task.metric) else -1
    better = max((first, then), key=lambda a: sign * (score_of(task, examples, a.texts).value or 0.0)).texts
    quantiles = np.quantile(first.probabilities, np.linspace(0, 1, STEPS, endpoint=False))
    for threshold in [*np.unique(quantiles.astype(np.float32)), np.float32(NEVER)]:
        sure = first.probabilities >= threshold
        joint = [a if keeps else b for keeps, a, b in zip(sure, first.texts, then.texts, strict=True)]
        kept = retention(task.metric, joint, better, references)
        if threshold == NEVER or (kept.low is not None and kept.low >= 1 - give_up):
            return Routing(float(threshold), float(sure.mean()), kept)
    raise AssertionError("the last threshold is taken")
