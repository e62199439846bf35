"""The steps that a search is made of, by label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightbulb.passes.adapt import Adapt
from lightbulb.passes.distill import Distill
from lightbulb.passes.evaluate import Evaluate
from lightbulb.passes.export import Export
from lightbulb.passes.measure import SOURCE, Measure
from lightbulb.passes.score_blocks import ScoreBlocks
from lightbulb.passes.verify import Verify
from lightbulb.pipeline.recipe import Step, step
from lightbulb.searching.halving import ETA, Trial
from lightbulb.searching.space import Space
from lightbulb.searching.student import Student, Types
from lightbulb.shrinking.cost_model import RECOVER_SHARE
from lightbulb.shrinking.plan import Plan
from lightbulb.shrinking.steps import STUDENT_RATE, on_validation, student_calibration
from lightbulb.train.loop import Schedule

TRIMMED, LOGITS, SCORES, COSTS = "trimmed", "logits", "scores", "costs"


@dataclass(frozen=True)
class Training:
    """How students are trained.

    Attributes:
        plan: of the main job, which made the parent
        first_epochs: of the first rung
        multiple: channels are kept in this many at once
        runtime: that files run in
    """

    plan: Plan
    first_epochs: float
    multiple: Literal[32, 256]
    runtime: str

    @property
    def method(self) -> str:
        return "distill" if "distill" in self.plan.space.methods else "plain"

    def epochs(self, rung: int) -> float:
        """Of one rung."""
        return self.first_epochs * ETA**rung

    def epochs_until(self, rung: int) -> float:
        """Of a student that was in all rungs up to this one."""
        return sum(self.epochs(r) for r in range(rung + 1))

    def trial(self, trial: Trial) -> list[Step]:
        """A student cut, or as the rung before has left it; trained, and scored on validation in torch."""
        student, rung = trial.student, trial.rung
        before = f"{student.shape}-cut" if rung == 0 else trained_label(student, rung - 1)
        label = trained_label(student, rung)
        return [
            *([step(before, student.cut(self.multiple), TRIMMED, scores=SCORES)] if rung == 0 else []),
            self._train(label, self.epochs(rung), before),
            step(f"{label}-validation", on_validation(self.plan), label),
        ]

    def _train(self, label: str, epochs: float, source: str) -> Step:
        schedule = self.schedule(epochs)
        if self.method == "plain":
            return step(label, Adapt(schedule=schedule), source)
        return step(label, Distill(schedule=schedule), source, logits=LOGITS)

    def schedule(self, epochs: float, rate: float = STUDENT_RATE) -> Schedule:
        return Schedule(epochs=epochs, learning_rate=rate, batch_size=self.plan.batch_size)

    def file(self, student: Student, rung: int) -> list[Step]:
        """A trained student in the types of its file, exported, and scored on validation in its runtime."""
        trained, label = trained_label(student, rung), student.label
        recover = self.schedule(RECOVER_SHARE * self.epochs_until(rung), STUDENT_RATE / 4)
        return [
            *self._exported(student, label, trained, recover),
            step(f"{label}-validation", on_validation(self.plan, self.runtime), f"{label}-file"),
        ]

    def _exported(self, student: Student, label: str, trained: str, recover: Schedule) -> list[Step]:
        """In the types of its file, and that file, calibrated where that can be."""
        rounds = student.types != Types(attention="f16", feed_forward="f16", embedding="f16")
        inputs = {"logits": LOGITS} if self.method == "distill" else {}
        quantize = [step(label, student.quantize(recover), trained, **inputs)] if rounds else []
        export, source = (Export(), label) if rounds else (Export(quant_type="f16"), trained)
        calibrate = student_calibration(self.plan.stats.kind, self.runtime, None, self.plan)
        if calibrate is None:
            return [*quantize, step(f"{label}-file", export, source)]
        whole = f"{label}-whole"
        return [*quantize, step(whole, export, source), step(f"{label}-file", calibrate, whole)]

    def finished(self, student: Student, epochs: float) -> list[Step]:
        """The student trained in one go, its file, and what that scores on test and costs."""
        recover = self.schedule(RECOVER_SHARE * epochs, STUDENT_RATE / 4)
        made = self._exported(student, "rounded", "student", recover)
        weights = "rounded" if made[0].label == "rounded" else "student"
        return [
            step("student-cut", student.cut(self.multiple), TRIMMED, scores=SCORES),
            self._train("student", epochs, "student-cut"),
            *made,
            step("verify", Verify(runtime=self.runtime), made[-1].label, model=weights),
            step("test", Evaluate(runtime=self.runtime), made[-1].label),
            step("answer-costs", Measure(runtime=self.runtime), made[-1].label),
        ]


def trained_label(student: Student, rung: int) -> str:
    """Names the weights of a student after a rung."""
    return f"{student.shape}-rung{rung}"


def score_step(space: Space, order: bool) -> Step:
    """One-off scores of the parent's parts. order: it was trained so that its first channels and heads matter most."""
    types = tuple(dict.fromkeys(t for t in (*space.layer_types, *space.head_types) if t != "f16"))
    blocks = ScoreBlocks(
        feed_forward=space.feed_forward[1:],
        groups=space.groups[1:],
        types=types,
        importance="order" if order else "taylor",
    )
    return step(SCORES, blocks, TRIMMED)


def cost_step(students: list[Student], windows: tuple[int, float], runtime: str) -> Step:
    """The costs of files side by side; those after the first by their labels."""
    first, *others = students
    measure = Measure(trials=windows[0], window_seconds=windows[1], runtime=runtime)
    return step(COSTS, measure, f"{first.label}-file", **{s.label: f"{s.label}-file" for s in others})


def role_of(student: Student, students: list[Student]) -> str:
    """What the facts of `cost_step` call it."""
    return SOURCE if student == students[0] else student.label
