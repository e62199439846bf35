"""What trainings and answers take on this machine, learned from those that were timed. Pure arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from lightbulb.shrinking.times import Times
from lightbulb.tasks.task import TaskKind

STUDENT_MENU = (12, 10, 8, 6, 5, 4, 3, 2, 1.5, 1, 0.75, 0.5, 0.35, 0.2, 0.1)  # epochs of a student, best first
LEAST_STEPS = 300  # a student of fewer optimizer steps, and of less than an epoch, has no chance
BATCH_SIZES = ((32, 5000), (16, 500), (8, 0))  # (batch, from how many examples on): few examples need many steps
PROBE_SHARE = 0.25  # a probe trains for this share of the epochs
NARROW_SHARE = 0.5  # a student that was cut narrower goes on for this share of them
RECOVER_SHARE = 0.2  # quantization-aware training, likewise (ParetoQ and Gemma use about a tenth)
ROUNDING = 1.5  # a step on rounded weights / a plain one
CANDIDATE_COST = 1.45  # seconds of all that is tried of a depth / of a full student: its probe and a second type, too
ALONE = 2.0  # writing one answer at a time, as on validation / several side by side
BELIEVED_SECONDS = 60.0


@dataclass(frozen=True)
class TaskStats:
    """Examples of each split (test: each question once), tokens of all test questions, tokens written in an answer."""

    kind: TaskKind
    train_examples: int
    test_examples: int
    test_tokens: int
    validation_examples: int
    output_tokens: float

    @property
    def batch_size(self) -> int:
        return next(size for size, examples in BATCH_SIZES if self.train_examples >= examples)

    def steps(self, epochs: float) -> float:
        """Optimizer steps."""
        return math.ceil(self.train_examples / self.batch_size) * epochs

    def has_a_chance(self, epochs: float) -> bool:
        """Whether a student of so many epochs is worth its training."""
        return epochs >= 1 or self.steps(epochs) >= LEAST_STEPS


@dataclass(frozen=True)
class CostModel:
    """Seconds of the parts of a job.

    Attributes:
        slowdown: how many times slower than it was timed the machine has been since
    """

    times: Times
    stats: TaskStats
    slowdown: float = 1.0

    def teacher_training(self, epochs: float, frozen: int, least: int | None = None) -> float:
        """least: of an elastic teacher, which learns together with a sub-model of so many layers and a random one of
        more."""
        step = self.times.teacher_step(frozen, epochs)
        if least is not None:
            drawn = mean_drawn(least, self.times.layers)
            step += self.times.student_step(least) + self.times.student_step(drawn)
        return self.slowdown * (self.times.pass_seconds + self.stats.steps(epochs) * step)

    def logits(self) -> float:
        """Reading every training example with the teacher."""
        return self.slowdown * self.times.read_example * self.stats.train_examples

    def student(self, epochs: float, layers: float) -> float:
        """A full student: cut, training, recovery in its type, export, and what it answers on validation in torch and
        from its file."""
        times, stats = self.times, self.stats
        training = stats.steps(epochs) * (1 + ROUNDING * RECOVER_SHARE) * times.student_step(layers)
        in_torch = times.answer_folder * times.share(layers) * stats.validation_examples
        return self.slowdown * (3 * times.pass_seconds + training + in_torch + self._file_check(layers))

    def recovery(self, epochs: float, layers: int) -> float:
        """Of a student that trained for so many epochs, in its type."""
        steps = self.stats.steps(RECOVER_SHARE * epochs)
        return self.slowdown * ROUNDING * steps * self.times.student_step(layers)

    def check(self, layers: float) -> float:
        """Export, and the file's answers on validation."""
        return self.slowdown * (2 * self.times.pass_seconds + self._file_check(layers))

    def _file_check(self, layers: float) -> float:
        """Answering validation with a student's file, one question at a time, where nothing slows it down."""
        each = self.times.answer_file * self.times.share(layers) * (ALONE if self.stats.kind == "generate" else 1.0)
        return each * self.stats.validation_examples

    def longest_student(self, layers: int, seconds: float) -> tuple[float, float]:
        """Epochs of the longest training of a student that takes at most `seconds`, else the shortest; and its
        seconds."""
        for epochs in STUDENT_MENU:
            if (takes := self.student(epochs, layers)) <= seconds:
                break
        return epochs, takes

    def shortest_student(self, layers: int) -> float:
        """A student that has just a chance."""
        epochs = [e for e in STUDENT_MENU if self.stats.has_a_chance(e)] or [STUDENT_MENU[0]]
        return self.student(epochs[-1], layers)

    def observed(self, steps: int, frozen: int, seconds: float, least: int | None = None) -> float:
        """How many times slower than timed the machine is, when `steps` steps of the teacher took `seconds`. A minute
        as planned is believed beforehand: a teacher of seconds is mostly overheads, which tell little."""
        planned = self.teacher_training(steps / self.stats.steps(1), frozen, least)
        return (seconds + BELIEVED_SECONDS) / (planned + BELIEVED_SECONDS)

    def slowed(self, slowdown: float) -> CostModel:
        return replace(self, slowdown=slowdown)


def mean_drawn(least: int, most: int) -> float:
    """Layers of a random sub-model on average, where the logarithm is drawn evenly (train/elastic.py)."""
    return (most - least) / math.log(most / least) if least < most else most
