"""What this machine takes for the work of a run, and what follows for models of other depths. Pure arithmetic."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

STUDENT_ROWS = 8192  # of a student's vocabulary, which is trimmed only later


class Times(BaseModel):
    """Wall seconds on this machine, as busy as it was.

    Attributes:
        layers: of the model that was timed
        full_step: one optimizer step on a batch of typical length, all layers trained
        frozen_step: the same, the first `frozen_layers` frozen
        frozen_again: the same in an epoch after the first, where what frozen layers give is kept
        student_steps: (layers, seconds) of models of few layers and STUDENT_ROWS tokens
        read_example: reading one training example
        answer_folder: one question, answered by the model folder in torch
        answer_file: one question, answered by its float16 file as test items are
        pass_seconds: loading and saving a model
    """

    model_config = ConfigDict(frozen=True)

    layers: int
    full_step: float
    frozen_step: float
    frozen_again: float
    frozen_layers: int
    student_steps: tuple[tuple[int, float], ...]
    read_example: float
    answer_folder: float
    answer_file: float
    pass_seconds: float

    def teacher_step(self, frozen: int, epochs: float) -> float:
        """The mean over `epochs` of a model with so many frozen layers: between the two that were timed, or beyond."""
        if not self.frozen_layers:
            return self.full_step
        first, again = (
            max(self.full_step + (step - self.full_step) / self.frozen_layers * frozen, 0.1 * self.full_step)
            for step in (self.frozen_step, self.frozen_again)
        )
        epochs, later = max(epochs, 1e-9), max(0.0, epochs - 1)
        return (min(epochs, 1.0) * first + later * again) / (min(epochs, 1.0) + later)

    def student_step(self, layers: float) -> float:
        """Of a student of so many layers: on the line through the two that were timed, never above the whole model."""
        (few, fast), (many, slow) = self.student_steps[0], self.student_steps[-1]
        if few == many:
            return fast * layers / few
        step = fast + max(0.0, slow - fast) * (layers - few) / (many - few)
        return max(step, 0.1 * fast)

    def share(self, layers: float) -> float:
        """Time of an answer of a student of so many layers, as a share of the whole model's: head and everything
        around the layers count as one more."""
        return (layers + 1) / (self.layers + 1)
