"""How to spend the time: a plan from the shape of the model, the size of the task and the speed of the machine.

Pure arithmetic. The chooser of today; a search on measured energy will take its place behind the same call.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from lightbulb.tasks.task import Kind

# (epochs, share of layers frozen) for the teacher, best first
TEACHER_MENU = ((3, 0.0), (3, 0.4), (2, 0.4), (1.5, 0.5), (1, 0.5), (0.7, 0.5), (0.5, 0.6), (0.3, 0.6), (0.15, 0.6), (0.05, 0.6))
STUDENT_MENU = (12, 10, 8, 6, 5, 4, 3, 2, 1.5, 1, 0.5, 0.2, 0.05)  # epochs of distillation, best first
LADDER = {"choose": (1 / 15, 0.1, 2 / 15, 0.2, 4 / 15, 0.4, 0.6), "generate": (0.2, 4 / 15, 0.4, 0.6, 0.8),
          "text": (0.4, 0.6, 0.8)}  # shares of the layers, bold first
TEACHER_SHARE = 0.45  # of the time that is not needed for exporting and proving
PROBE_SHARE = 0.25  # a probe trains for this share of the epochs
RECOVER_SHARE = 0.2  # quantization-aware training, likewise (ParetoQ and Gemma use about a tenth)
SAFETY = 0.93  # plan to be done at this share of the time given
# Seconds a step spends on each trained parameter beside the products: casting, clipping, AdamW (about 50 bytes each)
SECONDS_PER_TRAINED_PARAMETER = 4e-9


@dataclass(frozen=True)
class Shape:
    """What the arithmetic needs of a model: blocks, weights of one block, rows and width of the embedding."""

    layers: int
    layer_parameters: int
    vocabulary: int
    width: int


@dataclass(frozen=True)
class Work:
    """Tokens of one reading of each split (train: with answers), examples, and tokens written in an answer."""

    kind: Kind
    train_examples: int
    train_tokens: int
    test_examples: int
    test_tokens: int
    validation_examples: int
    output_tokens: float


class Plan(BaseModel):
    """What was decided before anything was trained. `ladder`: numbers of layers to try, bold first."""

    model_config = ConfigDict(frozen=True)

    train_flops: float  # floating-point operations a second that training reaches on this machine
    batch_size: int
    teacher_epochs: float
    freeze_layers: int
    ladder: tuple[int, ...]
    probe_epochs: float
    distill_epochs: float
    recover_epochs: float
    proof_seconds: float  # exports, evaluations of teacher and baselines, measuring, report
    test_limit: int | None  # test items answered, when the time does not allow all


def train_seconds(shape: Shape, work: Work, speed: float, epochs: float, batch: int, layers: int, frozen: int = 0,
                  vocabulary: int | None = None) -> float:
    """Forward 2, backward 4 operations a weight and token (frozen blocks: forward only), and the optimizer's traffic."""
    operations = shape.layer_parameters * (2 * layers + 4 * (layers - frozen)) * work.train_tokens * epochs
    head = 0 if work.kind == "choose" else 6 * shape.width * (vocabulary or shape.vocabulary) * work.train_tokens * epochs
    trained = shape.layer_parameters * (layers - frozen) + shape.width * (vocabulary or shape.vocabulary)
    steps = math.ceil(work.train_examples / batch) * epochs
    return (operations + head) / speed + steps * trained * SECONDS_PER_TRAINED_PARAMETER


def answer_seconds(shape: Shape, work: Work, speed: float, layers: int, items: int) -> float:
    """Answering `items` test prompts in llama.cpp: prefill at half the training speed; decoding is bound by memory, at
    about the time of 20 prefilled tokens each, several side by side."""
    per_item = work.test_tokens / max(1, work.test_examples) + (8 * work.output_tokens if work.kind == "generate" else 0)
    if work.kind == "text":
        per_item *= 20
    return items * per_item * 2 * (shape.layer_parameters * layers + shape.width * shape.vocabulary / 8) / (0.5 * speed)


def make_plan(shape: Shape, work: Work, speed: float, max_seconds: float) -> Plan:
    """The best teacher that fits its share of the time, then the longest distillation that leaves room to back off."""
    available = SAFETY * max_seconds
    limit = work.test_examples
    while (proof := _proof_seconds(shape, work, speed, limit, max_seconds)) > 0.35 * available and limit > 50:
        limit = max(50, limit // 2)
    batch = 32 if work.train_examples >= 1000 else 8
    logits = shape.layer_parameters * shape.layers * 2 * work.train_tokens / speed
    for epochs, share in TEACHER_MENU:
        frozen = round(shape.layers * share)
        teacher = train_seconds(shape, work, speed, epochs, batch, shape.layers, frozen)
        if teacher <= TEACHER_SHARE * (available - proof):
            break
    left = available - proof - teacher - logits
    ladder = tuple(sorted({max(1, round(shape.layers * share)) for share in LADDER[work.kind]}))
    typical = ladder[min(2, len(ladder) - 1)]
    for distill_epochs in STUDENT_MENU:
        if student_seconds(shape, work, speed, distill_epochs, batch, typical) <= 0.45 * left:
            break
    return Plan(train_flops=speed, batch_size=batch, teacher_epochs=epochs, freeze_layers=frozen, ladder=ladder,
                probe_epochs=max(0.05, distill_epochs * PROBE_SHARE), distill_epochs=distill_epochs,
                recover_epochs=max(0.05, distill_epochs * RECOVER_SHARE), proof_seconds=proof,
                test_limit=None if limit == work.test_examples else limit)


def student_seconds(shape: Shape, work: Work, speed: float, epochs: float, batch: int, layers: int) -> float:
    """A full student: training, recovery on the grid (rounding costs half as much again), checking."""
    whole = epochs * (1 + 1.5 * RECOVER_SHARE)
    training = train_seconds(shape, work, speed, whole, batch, layers, vocabulary=8192)
    return training + 10 + answer_seconds(shape, work, speed, layers, work.validation_examples)


def _proof_seconds(shape: Shape, work: Work, speed: float, items: int, max_seconds: float) -> float:
    models = 3 * answer_seconds(shape, work, speed, shape.layers, items)
    return models + 30 + measure_trials(max_seconds) * 4 * 8


def measure_trials(max_seconds: float) -> int:
    """Windows a model gets when costs are measured: more when there is time."""
    return 5 if max_seconds >= 1500 else 3
