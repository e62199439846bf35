"""How the time is spent: decided before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from lightbulb.shrinking.candidate import Candidate
from lightbulb.shrinking.cost_model import (
    CANDIDATE_COST,
    NARROW_SHARE,
    PROBE_SHARE,
    RECOVER_SHARE,
    CostModel,
    TaskStats,
)
from lightbulb.shrinking.space import SearchSpace
from lightbulb.shrinking.times import Times


@dataclass(frozen=True)
class Shape:
    """What the arithmetic needs of a model: layers, weights of one layer, rows and width of the embedding, whether all
    matrices are whole GGUF blocks wide, and what share of a layer's weights is its feed-forward's."""

    layers: int
    layer_parameters: int
    vocabulary: int
    width: int
    fits_blocks: bool = True
    feed_forward_share: float = 0.0

    def worth(self, candidate: Candidate) -> float:
        """How many whole layers take about as long as those of a student, by its weights."""
        return candidate.layers * (1 - self.feed_forward_share * (1 - candidate.feed_forward))


class Plan(BaseModel):
    """What was decided before anything was trained. Seconds are those that a phase is planned with.

    Attributes:
        stats: with the validation items that are answered
        elastic: layers of the smallest student that the teacher learns together with; None: it learns alone
        space: what may be tried; without depths where the time does not allow a student that has a chance
        distill_epochs: of a student of the likely depth
        teacher_seconds: of its training
        check_seconds: of its score on validation
        logits_seconds: of reading the train split with it
        student_seconds: of the likely student, whole
        proof_seconds: of exports, measuring, test items answered by teacher and baselines, report
        answering_seconds: of these, what hangs on the machine's speed
        gave_up: what more time would have allowed
        enough_seconds: the time that would do for a student, where this one does not
    """

    model_config = ConfigDict(frozen=True)

    times: Times
    shape: Shape
    stats: TaskStats
    batch_size: int
    teacher_epochs: float
    freeze_layers: int
    elastic: int | None = None
    space: SearchSpace
    distill_epochs: float
    validation_limit: int | None = None  # validation items answered, when the time does not allow all
    probe_limit: int | None = None  # likewise, by a probe
    teacher_seconds: float
    check_seconds: float
    logits_seconds: float
    student_seconds: float
    proof_seconds: float
    answering_seconds: float
    gave_up: tuple[str, ...] = ()
    enough_seconds: float | None = None

    @property
    def costs(self) -> CostModel:
        return CostModel(self.times, self.stats)

    @property
    def fixed_seconds(self) -> float:
        """Of the proof: windows of measuring last as long on any machine."""
        return self.proof_seconds - self.answering_seconds

    @property
    def teacher_share(self) -> float:
        """Of the seconds that hang on the machine's speed, those of the teacher's training: what the plan leaves over
        is shared out like the rest."""
        others = (
            self.check_seconds + self.logits_seconds + CANDIDATE_COST * self.student_seconds + self.answering_seconds
        )
        return self.teacher_seconds / (self.teacher_seconds + others)

    @property
    def narrower(self) -> Plan:
        """Of a student that goes on from one that is trained, with less of its feed-forward."""
        return self.model_copy(update={"distill_epochs": NARROW_SHARE * self.distill_epochs})

    def epochs_for(self, layers: int) -> float:
        """Epochs of a student of so many layers: one bolder than the likely one trains for as long, so for more."""
        if layers >= self.space.likely:
            return self.distill_epochs
        alike = self.costs.student(self.distill_epochs, self.space.likely)
        return max(self.distill_epochs, self.costs.longest_student(layers, alike)[0])

    def reserve(self, slowdown: float, left: float) -> float:
        """Seconds kept for the proof when `left` are left: less of it than planned where the machine is so slow that
        students would get less than half, because test items can be cut, and a student without training is none."""
        proof = self.proof_seconds + (slowdown - 1) * self.answering_seconds
        return min(proof, max(self.fixed_seconds, left / 2))

    @property
    def probe_epochs(self) -> float:
        return max(0.05, self.distill_epochs * PROBE_SHARE)

    @property
    def recover_epochs(self) -> float:
        return max(0.05, self.distill_epochs * RECOVER_SHARE)

    @property
    def lines(self) -> list[str]:
        """The plan for a person."""
        parts = [
            f"the teacher trains {self.teacher_epochs:g} epochs, {self.freeze_layers} of {self.times.layers} layers "
            f"frozen{self._inside}, {self.teacher_seconds:,.0f} s; exports, measuring and test "
            f"{self.proof_seconds:,.0f} s"
        ]
        if self.space.depths:
            parts.append(
                f"students of {', '.join(map(str, self.space.depths))} layers are tried in this order, the likely one "
                f"with {self.distill_epochs:g} epochs, {self.student_seconds:,.0f} s"
            )
        if self.space.depths and self.space.feed_forwards:
            shares = ", then ".join(f"{share:.0%}" for share in self.space.feed_forwards)
            parts.append(f"one that holds goes on with {shares} of its feed-forward, where there is time")
        return [*parts, *self.missed]

    @property
    def _inside(self) -> str:
        return "" if self.elastic is None else f", with students of {self.elastic} layers and more inside it"

    @property
    def missed(self) -> list[str]:
        """What it gave up, in a line."""
        if not self.gave_up:
            return []
        more = f"; about {self.enough_seconds / 60:.0f} minutes would do" if self.enough_seconds else ""
        return [f"the time does not allow {' or '.join(self.gave_up)}{more}"]
