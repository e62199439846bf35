"""verify-classifier: does an exported classifier, in the runtime that ships, answer as its trained weights do?"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.errors import RunFailure
from lightbulb.core.facts_of_kinds import ClassifierAgreementFacts
from lightbulb.models.form import turns_of
from lightbulb.models.kinds.base import open_classifier, text_of
from lightbulb.passes.base import Context, Pass
from lightbulb.runtimes import open_gguf
from lightbulb.tasks.metrics import wilson

RUNTIME = "classifier"
# Beyond these the export is broken, not merely rounded. A share of answers alone says little: where a model is unsure,
# rounding moves them
LEAST_AGREEMENT = 0.9  # at the upper end of its interval: of few prompts one or two may always differ
MOST_DIFFERENCE = 0.25  # nats, on average


class VerifyClassifier(Pass):
    """Compares a GGUF with the weights it was made from (input "model", of any kind that `models/kinds/base.py` opens),
    on prompts of the validation split, of train where there is none.

    Attributes:
        prompts: how many are compared
    """

    name: ClassVar[str] = "verify-classifier"
    facts_type: ClassVar = ClassifierAgreementFacts
    reads: ClassVar[tuple[ArtifactKind, ...]] = ("gguf",)
    makes: ClassVar[ArtifactKind] = "figures"
    uses: ClassVar[tuple[ArtifactKind, ...]] = ("model",)
    input_kinds: ClassVar = {"model": ("ngrams", "encoder")}

    prompts: int = Field(default=256, ge=1)

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        """As `Pass.apply`.

        Raises:
            RunFailure: they differ by more than rounding explains
        """
        task = context.task
        examples = task.split("validation" if task.validation else "train", self.prompts)
        with context.progress.bar("verify", 2) as advance:
            trained = open_classifier(context.inputs["model"]).log_probs([text_of(e) for e in examples])
            advance(1, "trained weights")
            shipped = open_gguf(source.gguf, RUNTIME, threads=context.threads)
            try:
                given = shipped.answer([shipped.render(turns_of(e)) for e in examples], task.answers)
            finally:
                shipped.close()
            advance(2, "file")
        if given.probabilities is None:
            raise RunFailure("the runtime tells no probabilities", where=str(source.gguf), hint=f"use {RUNTIME}")
        facts = agreement(trained, [task.answers.index(text) for text in given.texts], np.array(given.probabilities))
        _, alike = wilson(round(facts["same_answer"] * facts["prompts"]), facts["prompts"])
        if alike < LEAST_AGREEMENT or facts["mean_log_prob_difference"] > MOST_DIFFERENCE:
            raise RunFailure(
                f"the exported file does not agree with the trained model: {facts}",
                where=str(source.gguf),
                hint="a defect of the export: report it with the kind of model",
            )
        return facts


def agreement(trained: np.ndarray, answers: list[int], probabilities: np.ndarray) -> dict[str, Any]:
    """What ClassifierAgreementFacts says.

    Args:
        trained: log-probabilities of all answers by the trained model, [texts, answers]
        answers: numbers of the answers that the file gives
        probabilities: of these answers, by the file
    """
    places = np.arange(len(answers))
    differences = np.abs(trained[places, answers] - np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)))
    return {
        "prompts": len(answers),
        "same_answer": float((trained.argmax(axis=1) == answers).mean()),
        "mean_log_prob_difference": float(differences.mean()),
        "max_log_prob_difference": float(differences.max()),
    }
