"""A kind of student: the teacher cut to one layer and trained on the examples alone, in a file of 8 bits a weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from lightbulb.passes.adapt import Adapt
from lightbulb.passes.evaluate import Evaluate
from lightbulb.passes.export import Export
from lightbulb.passes.prune_depth import PruneDepth
from lightbulb.pipeline.recipe import Step, step
from lightbulb.shrinking.candidate import Candidate
from lightbulb.shrinking.kinds.base import Setting, StudentKind
from lightbulb.train.loop import Schedule

EPOCHS = 2.0


class FirstLayer(StudentKind):
    name: ClassVar[str] = "first-layer"

    def candidates(self, setting: Setting) -> Sequence[Candidate]:
        if setting.task.kind != "choose":
            return []
        return [Candidate(kind=self.name, layers=1, method="plain", quant_type="q8_0")]

    def steps(self, candidate: Candidate, setting: Setting) -> list[Step]:
        plan = setting.plan
        assert plan is not None  # it comes after the teacher
        schedule = Schedule(epochs=EPOCHS, learning_rate=1e-3, batch_size=plan.batch_size)
        cut, file = f"{candidate.label}-cut", candidate.file_label
        on_validation = Evaluate(split="validation", limit=plan.validation_limit, runtime=setting.runtime)
        return [
            step(cut, PruneDepth(layers=candidate.layers), "trimmed"),
            step(candidate.label, Adapt(schedule=schedule), cut),
            step(file, Export(quant_type="q8_0", embedding="q8_0"), candidate.label),
            step(f"{file}-validation", on_validation, file),
        ]

    def seconds(self, candidate: Candidate, setting: Setting) -> float:
        assert setting.costs is not None
        return setting.costs.student(EPOCHS, candidate.layers)
