"""fall-back: a cheap file answers what it is sure of, and a language model beside it the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.errors import RecipeError
from lightbulb.core.facts import GgufFacts, ScoreFacts
from lightbulb.core.facts_of_kinds import CascadeFacts
from lightbulb.models.kinds.fallback import write_with_fallback
from lightbulb.passes.base import Context, Pass
from lightbulb.passes.cascade import Answered, Routing, answers_of, choose
from lightbulb.passes.evaluate import predictions_of
from lightbulb.runtimes import is_language_model
from lightbulb.tasks.task import Example, Task


class FallBack(Pass):
    """Writes the source, a classifier or a file of slots, once more, with the threshold of its probability below which
    the language model in the role "then" answers, and lays that beside it.

    The threshold is the lowest on a grid at which the joint decision surely keeps what the better of the two alone
    scores: the low end of the paired interval of their ratio is at least 1 - `give_up`. It is chosen on the validation
    items that the language model was scored on (role "scored": what `evaluate` made of it); where the source was learnt
    from that split, too, it comes from a pair whose first file was not, in the role "chosen".
    """

    name: ClassVar[str] = "fall-back"
    facts_type: ClassVar = CascadeFacts
    reads: ClassVar[tuple[ArtifactKind, ...]] = ("gguf",)
    makes: ClassVar[ArtifactKind] = "gguf"
    uses: ClassVar[tuple[ArtifactKind, ...]] = ("then", "scored")
    may_use: ClassVar[tuple[ArtifactKind, ...]] = ("chosen",)
    input_kinds: ClassVar = {"then": ("gguf",), "scored": ("figures",), "chosen": ("gguf",)}

    give_up: float = Field(default=0.01, gt=0, lt=1)

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        """As `Pass.apply`.

        Raises:
            RecipeError: the source is a language model, what comes after it is none, or it was not scored on validation
        """
        then, chosen = context.inputs["then"], context.inputs.get("chosen")
        if is_language_model(source.gguf) or not is_language_model(then.gguf):
            raise RecipeError(
                "what is handed on goes from a classifier or a file of slots to a language model",
                where=str(source.gguf),
                hint='from = "linear-gguf", then = "student-2-distill-q4_0-gguf", for example',
            )
        with context.progress.bar("fall back", 2) as advance:
            made = self._choose(source, context) if chosen is None else Routing.of(chosen)
            advance(1, f"{made.shares[-1]:.1%} of validation is handed on")
            write_with_fallback(source.gguf, then.gguf, made.thresholds[0], out / "model.gguf")
            advance(2, "written")
        first, last = (a.facts_as(GgufFacts) for a in (source, then))
        size, parameters = sum(f.stat().st_size for f in out.glob("*.gguf")), first.parameters + last.parameters
        return {
            "architecture": first.architecture,
            "bytes": size,
            "parameters": parameters,
            "bits_per_weight": 8 * size / parameters,
            "quantization": {
                name: first.quantization.get(name, 0) + last.quantization.get(name, 0)
                for name in sorted({*first.quantization, *last.quantization})
            },
            "fallbacks": [*first.fallbacks, *last.fallbacks],
            "unchanged": True,
            "context_length": last.context_length,
            "thresholds": made.thresholds,
            "shares": made.shares,
            "kept": made.kept.model_dump(),
        }

    def _choose(self, source: Artifact, context: Context) -> Routing:
        examples, texts = answered_in(context.inputs["scored"], context.task)
        first = answers_of(source.gguf, context.task, examples, context.threads)
        last = Answered(texts, np.ones(len(texts), np.float32))  # nothing comes after it, however sure it is
        return choose(context.task, examples, [first, last], self.give_up)


def answered_in(scored: Artifact, task: Task) -> tuple[list[Example], list[str]]:
    """The validation items that a language model was scored on, in their order, and what it answered.

    Raises:
        RecipeError: the answers are those of another split
    """
    places, texts = task.spread("validation")[: scored.facts_as(ScoreFacts).items], predictions_of(scored)
    if not texts or len(places) != len(texts):
        raise RecipeError(
            "the language model was not scored on the validation split",
            where=str(scored.path),
            hint='scored = "..." must name a step of the pass evaluate with split = "validation"',
        )
    every = task.split("validation")
    return [every[i] for i in sorted(places)], texts
