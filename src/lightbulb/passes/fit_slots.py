"""fit-slots: answers that are put together from what stands in the text and from closed lists, as one GGUF file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.errors import TaskError
from lightbulb.core.facts_of_kinds import SlotFacts
from lightbulb.models.kinds.base import text_of
from lightbulb.models.kinds.slot_file import ARCHITECTURE, read_slots, tensors_of, write_slots
from lightbulb.models.kinds.slots import SlotFile
from lightbulb.passes.base import Context, Pass
from lightbulb.tasks.metrics import item_scores
from lightbulb.tasks.task import Example
from lightbulb.train.slots import Learner, calibrated, why_not

FEWEST, MOST = 2, 200_000


class FitSlots(Pass):
    """Fits linear models of few weights (L1) that choose the fields of a JSON object and those values that are no part
    of the text, by its n-grams, and tag the tokens from which the others are copied (docs/format.md, "slots"). The
    source is not looked at: all is learnt from the train split; the strength of the penalty is chosen, and the
    probability of answers calibrated, on the validation split.

    Attributes:
        cs: inverse strengths of the penalty to choose from
        fewest: texts that an n-gram must come in, and tokens that anything around them must
        most: of either, those that come most often
    """

    name: ClassVar[str] = "fit-slots"
    version: ClassVar[int] = 2
    facts_type: ClassVar = SlotFacts
    reads: ClassVar[tuple[ArtifactKind, ...]] = ("model", "task")
    makes: ClassVar[ArtifactKind] = "gguf"

    cs: tuple[float, ...] = Field(default=(1.0, 0.5), min_length=1)
    fewest: int = Field(default=FEWEST, ge=1)
    most: int = Field(default=MOST, ge=1)

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        """As `Pass.apply`.

        Raises:
            TaskError: the answers are nothing that can be filled in
        """
        task = context.task
        if task.kind != "generate" or (why := why_not(task.train)):
            why = why if task.kind == "generate" else f"the task is of the kind {task.kind}"
            raise TaskError(f"no answers can be filled in: {why}", where=task.source or None, hint="use another pass")
        held_out = task.split("validation" if task.validation else "train")
        with context.progress.bar("fitting slots", len(self.cs)) as advance:
            learner = Learner(task.train, self.fewest, self.most, context.seed)
            trials: list[Trial] = []
            for c in self.cs:
                trials.append(Trial.of(learner.fit(c), c, held_out, task.metric))
                advance(len(trials), f"C {c:g}: {trials[-1].value:.3f}")
        best = max(trials, key=lambda t: t.value)
        slope, offset = calibrated(best.margins, best.scores >= 1)
        path = out / "model.gguf"
        write_slots(replace(best.file, slope=slope, offset=offset), path)
        return facts_of(read_slots(path)) | {
            "bytes": path.stat().st_size,
            "looked_at": learner.looked_at,
            "score": best.value,
            "c": best.c,
            "step": best.file.slope,
        }


@dataclass(frozen=True, eq=False)
class Trial:
    """A model of one setting.

    Attributes:
        margins: of the answers to the held-out items
        scores: of these answers
    """

    file: SlotFile
    c: float
    margins: np.ndarray
    scores: np.ndarray

    @staticmethod
    def of(file: SlotFile, c: float, held_out: Sequence[Example], metric: str) -> Trial:
        """Answers and scores."""
        filled = file.fill([text_of(e) for e in held_out])
        scores = item_scores(metric, [f.text for f in filled], [e.completion for e in held_out])
        return Trial(file, c, np.array([f.margin for f in filled], np.float64), np.array(scores))

    @property
    def value(self) -> float:
        return float(self.scores.mean())


def facts_of(file: SlotFile) -> dict[str, Any]:
    """What SlotFacts says of a file, but for the bytes. bits_per_weight: with hashes and places."""
    tensors = tensors_of(file).values()
    stored = [name for name, _ in tensors]
    values = {name: array for name, (_, array) in tensors_of(file).items()}
    return {
        "architecture": ARCHITECTURE,
        "parameters": file.parameters,
        "bits_per_weight": 8 * sum(array.nbytes for array in values.values()) / file.parameters,
        "quantization": {name: stored.count(name) for name in sorted(set(stored))},
        "fallbacks": [],
        "unchanged": False,
        "features": file.features,
        "fields": len(file.form.fields),
        "copied": len(file.form.copied),
    }
