"""What every kind of classifier is to the passes: a folder that gives log-probabilities of answers to texts."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import RecipeError
from lightbulb.models.form import turns_of
from lightbulb.tasks.task import Example

if TYPE_CHECKING:
    import numpy as np

READERS = {
    "ngrams": "lightbulb.models.kinds.ngram_model:NgramModel",
    "encoder": "lightbulb.models.kinds.encoder:Encoder",
}  # kind of artifact -> the class whose `read(folder)` gives a Classifier


class Classifier(Protocol):
    """A trained model of any kind, in floating point."""

    def log_probs(self, texts: Sequence[str]) -> np.ndarray:
        """Calibrated log-probabilities [texts, answers] in nats, the answers in the order of the task's."""
        ...


def open_classifier(artifact: Artifact) -> Classifier:
    """The classifier that an artifact holds.

    Raises:
        RecipeError: for a kind that holds none
    """
    if artifact.kind not in READERS:
        raise RecipeError(
            f"an artifact of the kind {artifact.kind!r} holds no classifier",
            where=str(artifact.path),
            hint=f"give one of the kinds {', '.join(READERS)}",
        )
    module, cls = READERS[artifact.kind].split(":")
    classifier: Classifier = getattr(importlib.import_module(module), cls).read(artifact.path)
    return classifier


def text_of(example: Example) -> str:
    """What a classifier reads of an example: the contents of its turns, joined by a newline."""
    return text_of_turns(turns_of(example))


def text_of_turns(turns: Sequence[Mapping[str, str]]) -> str:
    """The same of a conversation ({"role", "content"} each): there is no template."""
    return "\n".join(turn["content"] for turn in turns)
