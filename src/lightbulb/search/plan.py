"""How to spend the time: a plan from the shape of the model, the size of the task and the speed of the machine.

Pure arithmetic. The chooser of today; a search on measured energy will take its place behind the same call.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lightbulb.errors import GoalError
from lightbulb.tasks.task import Kind

Precision = Literal["q4_0", "q8_0", "f16"]  # of the layers of an exported student
Method = Literal["distill", "plain"]
METHODS: tuple[Method, ...] = ("distill", "plain")

# (epochs, share of layers frozen) for the teacher, best first
TEACHER_MENU = (
    (3, 0.0),
    (3, 0.4),
    (2, 0.4),
    (1.5, 0.5),
    (1, 0.5),
    (0.7, 0.5),
    (0.5, 0.6),
    (0.3, 0.6),
    (0.15, 0.6),
    (0.05, 0.6),
)
STUDENT_MENU = (12, 10, 8, 6, 5, 4, 3, 2, 1.5, 1, 0.75, 0.5, 0.35, 0.2, 0.1, 0.05)  # epochs of distillation, best first
LADDER = {
    "choose": (1 / 30, 1 / 15, 0.1, 2 / 15, 0.2, 4 / 15, 0.4, 0.6),
    "generate": (0.2, 4 / 15, 0.4, 0.6, 0.8),
    "text": (0.4, 0.6, 0.8),
}  # shares of the layers, bold first
TEACHER_SHARE = 0.45  # of the time that is not needed for exporting and proving
PROOF_SHARE = 0.35  # of the time: beyond it fewer test items are answered
FEWEST_TESTED = 50
CHECK_SHARE = 0.08  # of the time for the teacher's score on validation: beyond it fewer items are answered
FEWEST_CHECKED = 200
STUDENT_SHARE = 0.45  # of the time left after the teacher, for one full student
# Of answering, seen in the ledgers of five finished runs (docs/lab-notes.md): prefill reaches this share of the
# training speed; a decoded token takes as long as so many of prefill, eight prompts side by side or (kind "text")
# alone; the three stock files together take so many times the float16 one
PREFILL_SPEED = 0.3
DECODE_TOKENS = 4
ALONE_TOKENS = 12
STOCK_FILES = 2.4
MOST_TRIALS = 5
BATCH_SIZES = ((32, 5000), (16, 500), (8, 0))  # (batch, from how many examples on): few examples need many steps
PROBE_SHARE = 0.25  # a probe trains for this share of the epochs
RECOVER_SHARE = 0.2  # quantization-aware training, likewise (ParetoQ and Gemma use about a tenth)
RUNG = 1.45  # seconds of a rung / of a full student: its probe and a second grid, too
BELIEVED_SECONDS = 60.0
SAFETY = 0.93  # plan to be done at this share of the time given
# Seconds a step spends on each trained parameter beside the products: casting, clipping, AdamW (about 50 bytes each)
SECONDS_PER_TRAINED_PARAMETER = 4e-9


@dataclass(frozen=True)
class Shape:
    """What the arithmetic needs of a model: layers, weights of one layer, rows and width of the embedding, and whether
    all matrices are whole GGUF blocks wide."""

    layers: int
    layer_parameters: int
    vocabulary: int
    width: int
    fits_blocks: bool = True


@dataclass(frozen=True)
class Work:
    """Tokens of one reading of each split (train: with answers; test: each question once), examples likewise, and
    tokens written in an answer."""

    kind: Kind
    train_examples: int
    train_tokens: int
    test_examples: int
    test_tokens: int
    validation_examples: int
    output_tokens: float


class Plan(BaseModel):
    """What was decided before anything was trained. `ladder`: numbers of layers to try, bold first.

    teacher_seconds: the teacher, its score on validation, its logits. proof_seconds: exports, measuring, test items
    answered by teacher and baselines, report; answering_seconds: of these, what hangs on the machine's speed.
    """

    model_config = ConfigDict(frozen=True)

    train_flops: float  # floating-point operations a second that training reaches on this machine
    answer_flops: float | None = None  # of the CPU, where that is not what trains
    batch_size: int
    teacher_epochs: float
    freeze_layers: int
    ladder: tuple[int, ...]
    grids: tuple[Precision, ...] = ("q4_0", "q8_0")  # to try, bold first
    methods: tuple[Method, ...] = ("distill", "plain")  # of training a student, to be compared
    distill_epochs: float
    validation_limit: int | None = None  # validation items answered, when the time does not allow all
    probe_limit: int | None = None  # likewise, by a probe
    teacher_seconds: float
    proof_seconds: float
    answering_seconds: float

    def pace(self, seconds: float) -> float:
        """How many times slower than planned the machine is, when the teacher took `seconds`. A minute as planned is
        believed beforehand: a teacher of seconds is mostly overheads, which tell nothing of what is to come."""
        return (seconds + BELIEVED_SECONDS) / (self.teacher_seconds + BELIEVED_SECONDS)

    def proof_at(self, pace: float) -> float:
        """Seconds of the proof at this pace; windows of measuring last as long on any machine, and what another
        processor answers hangs on no pace of training."""
        return self.proof_seconds + (0 if self.answer_flops else (pace - 1) * self.answering_seconds)

    def reserve(self, pace: float, left: float) -> float:
        """Seconds kept for the proof when `left` are left: less of it than planned where the machine is so slow that
        students would get less than half, because test items can be cut, and a student without training is none."""
        return min(self.proof_at(pace), max(self.proof_seconds - self.answering_seconds, left / 2))

    @property
    def probe_epochs(self) -> float:
        return max(0.05, self.distill_epochs * PROBE_SHARE)

    @property
    def recover_epochs(self) -> float:
        return max(0.05, self.distill_epochs * RECOVER_SHARE)


def train_seconds(
    shape: Shape,
    work: Work,
    speed: float,
    epochs: float,
    batch: int,
    layers: int,
    frozen: int = 0,
    vocabulary: int | None = None,
) -> float:
    """Forward 2, backward 4 operations a weight and token (frozen layers: forward only), and the optimizer's bytes."""
    operations = shape.layer_parameters * (2 * layers + 4 * (layers - frozen)) * work.train_tokens * epochs
    head = (
        0 if work.kind == "choose" else 6 * shape.width * (vocabulary or shape.vocabulary) * work.train_tokens * epochs
    )
    trained = shape.layer_parameters * (layers - frozen) + shape.width * (vocabulary or shape.vocabulary)
    steps = math.ceil(work.train_examples / batch) * epochs
    return (operations + head) / speed + steps * trained * SECONDS_PER_TRAINED_PARAMETER


def answer_seconds(shape: Shape, work: Work, speed: float, layers: int, items: int) -> float:
    """Answering `items` test prompts with a float16 file in llama.cpp, or with the model in torch."""
    written = {"choose": 1.0, "generate": work.output_tokens, "text": 0.0}[work.kind]
    per_item = work.test_tokens / max(1, work.test_examples) + DECODE_TOKENS * written
    if work.kind == "text":
        per_item *= ALONE_TOKENS
    weights = shape.layer_parameters * layers + shape.width * shape.vocabulary / 8
    return items * per_item * 2 * weights / (PREFILL_SPEED * speed)


def make_plan(shape: Shape, work: Work, speed: float, max_seconds: float, answer_speed: float | None = None) -> Plan:
    """The best teacher that fits its share of the time, then the longest distillation that leaves room to back off.
    speed, answer_speed: of training, and of the CPU (None: the same), in floating-point operations a second.

    More time never gives a worse teacher. Raises GoalError when even the smallest work takes longer than `max_seconds`.
    """

    def drafted(seconds: float) -> tuple[Plan, float]:
        return draft(shape, work, speed, seconds, answer_speed or speed)

    plan, least = drafted(max_seconds)
    if least <= max_seconds:
        return plan
    enough = 60 * math.ceil(2 * least / 60)
    while drafted(enough)[1] > enough:  # of more time teacher and proof get more, too
        enough *= 2
    raise GoalError(
        f"this takes longer than {max_seconds:,.0f} s on this machine: with the shortest training "
        f"at least {least:,.0f} s",
        where="--max-time",
        mend=f"--max-time {enough // 60}m",
    )


def draft(shape: Shape, work: Work, speed: float, max_seconds: float, answer_speed: float) -> tuple[Plan, float]:
    """How the time would be shared out, and the seconds that this takes with one student: more than `max_seconds` where
    even the smallest work does."""
    available, everything = SAFETY * max_seconds, work.validation_examples
    while (
        check := answer_seconds(shape, work, speed, shape.layers, work.validation_examples)  # the teacher's, in torch
    ) > CHECK_SHARE * available and work.validation_examples > FEWEST_CHECKED:
        work = replace(work, validation_examples=max(FEWEST_CHECKED, work.validation_examples // 2))
    limit = work.test_examples
    while (
        proof := proof_seconds(shape, work, answer_speed, limit, measure_trials(max_seconds))
    ) > PROOF_SHARE * available and limit > FEWEST_TESTED:
        limit = max(FEWEST_TESTED, limit // 2)
    batch = next(size for size, examples in BATCH_SIZES if work.train_examples >= examples)
    logits = shape.layer_parameters * shape.layers * 2 * work.train_tokens / speed
    ladder = tuple(sorted({max(1, round(shape.layers * share)) for share in LADDER[work.kind]}))
    # of the time beside the proof of all test items, so that a shorter test does not make a better teacher
    whole = min(PROOF_SHARE * available, proof_seconds(shape, work, answer_speed, work.test_examples, MOST_TRIALS))
    for epochs, share in TEACHER_MENU:
        frozen = round(shape.layers * share)
        teacher = train_seconds(shape, work, speed, epochs, batch, shape.layers, frozen)
        if teacher <= TEACHER_SHARE * (available - whole):
            break
    left = available - proof - teacher - check - logits
    typical, methods = likely_layers(work.kind, ladder), METHODS
    distill_epochs, student = longest_student(shape, work, speed, batch, typical, STUDENT_SHARE * left, answer_speed)
    if logits > student:  # the teacher would read longer than a student trains: more epochs do more (docs/lab-notes.md)
        methods, left, logits = ("plain",), left + logits, 0.0
        distill_epochs, student = longest_student(
            shape, work, speed, batch, typical, STUDENT_SHARE * left, answer_speed
        )
    if work.kind == "generate" and distill_epochs < 1:
        ladder = ladder[1:] or ladder  # writing needs steps: the boldest rung has never been near in so few
        typical, room = likely_layers(work.kind, ladder), max_seconds - proof - teacher - check - logits
        if (student := student_seconds(shape, work, speed, distill_epochs, batch, typical, answer_speed)) > room:
            distill_epochs, student = longest_student(shape, work, speed, batch, typical, room, answer_speed)
    plan = Plan(
        train_flops=speed,
        answer_flops=None if answer_speed == speed else answer_speed,
        batch_size=batch,
        teacher_epochs=epochs,
        freeze_layers=frozen,
        ladder=ladder,
        grids=("q4_0", "q8_0") if shape.fits_blocks else ("f16",),
        methods=methods,
        distill_epochs=distill_epochs,
        validation_limit=(limit_ := None if work.validation_examples == everything else work.validation_examples),
        probe_limit=FEWEST_CHECKED if work.kind == "generate" else limit_,
        teacher_seconds=teacher + check + logits,
        proof_seconds=proof,
        answering_seconds=STOCK_FILES * answer_seconds(shape, work, answer_speed, shape.layers, limit),
    )
    return plan, teacher + check + logits + proof + student


def longest_student(
    shape: Shape, work: Work, speed: float, batch: int, layers: int, seconds: float, answer_speed: float | None = None
) -> tuple[float, float]:
    """Epochs of the longest training of a student that takes at most `seconds`, else the shortest; and its seconds."""
    for epochs in STUDENT_MENU:
        if (takes := student_seconds(shape, work, speed, epochs, batch, layers, answer_speed)) <= seconds:
            break
    return epochs, takes


def shortened(plan: Plan, shape: Shape, work: Work, pace: float, seconds: float) -> float:
    """Epochs of distillation when the teacher has taken `pace` times what the plan said and `seconds` are left beside
    the proof: the plan's, unless a student of that length would not be done."""
    layers, speed = likely_layers(work.kind, plan.ladder), plan.train_flops / pace
    planned = student_seconds(shape, work, speed, plan.distill_epochs, plan.batch_size, layers, plan.answer_flops)
    if RUNG * planned <= seconds:
        return plan.distill_epochs
    return longest_student(shape, work, speed, plan.batch_size, layers, seconds / RUNG, plan.answer_flops)[0]


def for_layers(plan: Plan, shape: Shape, work: Work, pace: float, layers: int) -> Plan:
    """The plan of a student of so many layers: one bolder than the likely rung trains for as long, so for more
    epochs."""
    likely, speed = likely_layers(work.kind, plan.ladder), plan.train_flops / pace
    if layers >= likely:
        return plan
    seconds = student_seconds(shape, work, speed, plan.distill_epochs, plan.batch_size, likely, plan.answer_flops)
    epochs, _ = longest_student(shape, work, speed, plan.batch_size, layers, seconds, plan.answer_flops)
    return plan.model_copy(update={"distill_epochs": max(epochs, plan.distill_epochs)})


def likely_layers(kind: Kind, ladder: tuple[int, ...]) -> int:
    """The rung that the length of training is planned for: a choice holds lower on the ladder than a text."""
    return ladder[min(2 if kind == "choose" else 1, len(ladder) - 1)]


def student_seconds(
    shape: Shape, work: Work, speed: float, epochs: float, batch: int, layers: int, answer_speed: float | None = None
) -> float:
    """A full student: training, recovery on the grid (rounding costs half as much again), checking of its file.
    answer_speed: of the CPU, where that is not what trains."""
    whole = epochs * (1 + 1.5 * RECOVER_SHARE)
    training = train_seconds(shape, work, speed, whole, batch, layers, vocabulary=8192)
    return training + 10 + answer_seconds(shape, work, answer_speed or speed, layers, work.validation_examples)


def proof_seconds(shape: Shape, work: Work, speed: float, items: int, trials: int) -> float:
    """Exports, `items` test items answered by the teacher's files, windows of measuring, the report."""
    return STOCK_FILES * answer_seconds(shape, work, speed, shape.layers, items) + 25 + trials * 4 * 6.5


def measure_trials(max_seconds: float) -> int:
    """Windows a model gets when costs are measured: more when there is time."""
    return MOST_TRIALS if max_seconds >= 1500 else 3
