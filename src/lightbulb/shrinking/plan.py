"""How to spend the time: a plan from what real steps and answers take, the size of the task and the time given.

Pure arithmetic. The chooser of today; a search on measured energy will take its place behind the same call.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lightbulb.core.errors import GoalError
from lightbulb.measuring.protocol import FEWEST_PROMPTS, measuring_seconds, windows_within
from lightbulb.shrinking.times import Times
from lightbulb.tasks.task import TaskKind

Precision = Literal["q4_0", "q8_0", "f16"]  # of the layers of an exported student
Method = Literal["distill", "plain"]
METHODS: tuple[Method, ...] = ("distill", "plain")

# (epochs, share of layers frozen) for the teacher, best first
TEACHER_MENU = ((3, 0.0), (3, 0.4), (2, 0.4), (1.5, 0.5), (1, 0.5), (0.7, 0.5), (0.5, 0.6), (0.3, 0.6), (0.15, 0.6))
STUDENT_MENU = (12, 10, 8, 6, 5, 4, 3, 2, 1.5, 1, 0.75, 0.5, 0.35, 0.2, 0.1)  # epochs of a student, best first
LADDER = {
    "choose": (1 / 30, 1 / 15, 0.1, 2 / 15, 0.2, 4 / 15, 0.4, 0.6),
    "generate": (0.2, 4 / 15, 0.4, 0.6, 0.8),
    "text": (0.4, 0.6, 0.8),
}  # shares of the layers, bold first
LEAST_STEPS = 300  # a student of fewer optimizer steps, and of less than an epoch, has no chance
TEACHER_SHARE = 0.45  # of the time that is not needed for exporting and proving
PROOF_SHARE = 0.35  # of the time: beyond it fewer test items are answered
FEWEST_TESTED = 50
CHECK_SHARE = 0.08  # of the time for the teacher's score on validation: beyond it fewer items are answered
FEWEST_CHECKED = 200
STUDENT_SHARE = 0.45  # of the time left after the teacher, for one full student
STOCK_FILES = 2.4  # answering with f16, q8_0 and q4_0 / with f16 alone, seen in the ledgers of five finished runs
ALONE = 2.0  # writing one answer at a time, as on validation / several side by side
MEASURED_FILES = 4  # a student, f16, q8_0, q4_0
MEASURE_SHARE = 0.1  # of the time, for measuring costs
BATCH_SIZES = ((32, 5000), (16, 500), (8, 0))  # (batch, from how many examples on): few examples need many steps
PROBE_SHARE = 0.25  # a probe trains for this share of the epochs
RECOVER_SHARE = 0.2  # quantization-aware training, likewise (ParetoQ and Gemma use about a tenth)
ROUNDING = 1.5  # a step on rounded weights / a plain one
CANDIDATE_COST = 1.45  # seconds of a rung / of a full student: its probe and a second grid, too
BELIEVED_SECONDS = 60.0
SAFETY = 0.93  # plan to be done at this share of the time given
REPORT_SECONDS = 10.0
NO_LOGITS, NO_SECOND_TRY, NO_STUDENT = "the teacher's logits", "room for a second try", "a student"


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


class Plan(BaseModel):
    """What was decided before anything was trained. `ladder`: numbers of layers to try, bold first; empty where the
    time does not allow a student that has a chance.

    work: with the validation items that are answered. Seconds that each phase is planned with: teacher_seconds its
    training; check_seconds its score on validation; logits_seconds; student_seconds the likely student, whole;
    proof_seconds exports, measuring, test items answered by teacher and baselines, report; answering_seconds: of these,
    what hangs on the machine's speed. gave_up: what more time would have allowed. enough_seconds: the time that would
    do for a student, where this one does not.
    """

    model_config = ConfigDict(frozen=True)

    times: Times
    shape: Shape
    stats: TaskStats
    batch_size: int
    teacher_epochs: float
    freeze_layers: int
    depth_schedule: tuple[int, ...]
    grids: tuple[Precision, ...] = ("q4_0", "q8_0")  # to try, bold first
    methods: tuple[Method, ...] = METHODS  # of training a student, to be compared
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
    def told(self) -> list[str]:
        """The plan in lines for a person."""
        times = self.times
        parts = [
            f"the teacher trains {self.teacher_epochs:g} epochs, {self.freeze_layers} of {times.layers} layers frozen, "
            f"{self.teacher_seconds:,.0f} s; exports, measuring and test {self.proof_seconds:,.0f} s"
        ]
        if self.depth_schedule:
            parts.append(
                f"students of {', '.join(map(str, self.depth_schedule))} layers are tried in this order, the likely "
                f"one with {self.distill_epochs:g} epochs, {self.student_seconds:,.0f} s"
            )
        return [*parts, *self.missed]

    @property
    def missed(self) -> list[str]:
        """What it gave up, in a line."""
        if not self.gave_up:
            return []
        more = f"; about {self.enough_seconds / 60:.0f} minutes would do" if self.enough_seconds else ""
        return [f"the time does not allow {' or '.join(self.gave_up)}{more}"]

    def slowdown(self, seconds: float, steps: int) -> float:
        """How many times slower than planned the machine is, when `steps` steps of the teacher took `seconds`. A
        minute as planned is believed beforehand: a teacher of seconds is mostly overheads, which tell little."""
        epochs = steps / self.stats.steps(1)
        planned = teacher_training_seconds(self.times, self.stats, epochs, self.freeze_layers)
        return (seconds + BELIEVED_SECONDS) / (planned + BELIEVED_SECONDS)

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


def teacher_training_seconds(times: Times, stats: TaskStats, epochs: float, frozen: int) -> float:
    return times.pass_seconds + stats.steps(epochs) * times.teacher_step(frozen, epochs)


def file_check_seconds(times: Times, stats: TaskStats, layers: int) -> float:
    """Answering validation with a student's file, one question at a time."""
    each = times.answer_file * times.share(layers) * (ALONE if stats.kind == "generate" else 1.0)
    return each * stats.validation_examples


def student_seconds(times: Times, stats: TaskStats, epochs: float, layers: int) -> float:
    """A full student: cut, training, recovery on the grid, export, and what it answers on validation in torch and from
    its file."""
    training = stats.steps(epochs) * (1 + ROUNDING * RECOVER_SHARE) * times.student_step(layers)
    in_torch = times.answer_folder * times.share(layers) * stats.validation_examples
    return 3 * times.pass_seconds + training + in_torch + file_check_seconds(times, stats, layers)


def longest_student(times: Times, stats: TaskStats, layers: int, seconds: float) -> tuple[float, float]:
    """Epochs of the longest training of a student that takes at most `seconds`, else the shortest; and its seconds."""
    for epochs in STUDENT_MENU:
        if (takes := student_seconds(times, stats, epochs, layers)) <= seconds:
            break
    return epochs, takes


def likely_layers(kind: TaskKind, depth_schedule: tuple[int, ...]) -> int:
    """The rung that the length of training is planned for: a choice holds lower on the ladder than a text."""
    return depth_schedule[min(2 if kind == "choose" else 1, len(depth_schedule) - 1)]


def epochs_for(plan: Plan, layers: int) -> float:
    """Epochs of a student of so many layers: one bolder than the likely rung trains for as long, so for more."""
    stats, epochs = plan.stats, plan.distill_epochs
    likely = likely_layers(stats.kind, plan.depth_schedule)
    if layers >= likely:
        return epochs
    alike = student_seconds(plan.times, stats, epochs, likely)
    return max(epochs, longest_student(plan.times, stats, layers, alike)[0])


def measuring(max_seconds: float) -> tuple[int, float]:
    """Trials, and seconds of a window, when the costs of a student and of the stock files are measured."""
    return windows_within(MEASURE_SHARE * max_seconds, MEASURED_FILES)


@dataclass(frozen=True)
class Shares:
    """What is decided before the teacher: how many items are checked and tested, and what that takes.

    planned: seconds kept for check and proof when teacher and student are chosen. They rise with the time given more
    slowly than it does, so that more time never gives less to the training.
    """

    available: float
    checked: int
    check: float
    tested: int
    fixed: float
    answering: float
    planned: float

    @staticmethod
    def of(times: Times, stats: TaskStats, max_seconds: float, spent: float) -> Shares:
        available = SAFETY * max_seconds - spent
        answer = ALONE * times.answer_file * STOCK_FILES / MEASURED_FILES  # one thread, one at a time, the mean file
        windows = measuring_seconds(MEASURED_FILES, *measuring(max_seconds), FEWEST_PROMPTS * answer)
        fixed = 5 * times.pass_seconds + windows + REPORT_SECONDS
        check = _items(times.answer_folder, stats.validation_examples, CHECK_SHARE * available, FEWEST_CHECKED)
        room = PROOF_SHARE * available - fixed
        tested = _items(STOCK_FILES * times.answer_file, stats.test_examples, room, FEWEST_TESTED)
        answering = STOCK_FILES * times.answer_file * tested
        check_seconds = times.answer_folder * check
        return Shares(
            available, check, check_seconds, tested, fixed, answering, planned=check_seconds + fixed + answering
        )


def _items(each: float, items: int, seconds: float, fewest: int) -> int:
    """How many of `items` take at most `seconds` at `each` an item; at least `fewest`, where there are as many."""
    return min(items, max(fewest, int(seconds / each) if each > 0 else items))


def make_plan(times: Times, shape: Shape, stats: TaskStats, max_seconds: float, spent: float = 0.0) -> Plan:
    """The best teacher beside which a student has a chance and room to back off; where there is none, first the room to
    back off is given up, then the student.

    spent: of `max_seconds`, before this plan. Raises GoalError when even the shortest teacher and proof take longer.
    """
    plan = next(drafts(times, shape, stats, max_seconds, spent), None)
    if plan is not None and plan.depth_schedule:
        return plan
    enough = enough_seconds(times, shape, stats, max_seconds, spent, student=plan is not None)
    if plan is not None:
        return plan.model_copy(update={"enough_seconds": enough})
    raise GoalError(
        f"this takes longer than {max_seconds:,.0f} s on this machine, even with the shortest training and no student",
        where="`max_time`",
        hint=f"`max_time={math.ceil(enough / 60)}m`",
    )


def enough_seconds(
    times: Times, shape: Shape, stats: TaskStats, max_seconds: float, spent: float, student: bool
) -> float:
    """The least time (in whole minutes, to a tenth) that has a plan; with `student` one with a student."""
    minutes = math.ceil((max_seconds + 1) / 60)
    while not (plan := next(drafts(times, shape, stats, 60.0 * minutes, spent), None)) or (
        student and not plan.depth_schedule
    ):
        minutes = math.ceil(1.1 * minutes)
    return 60.0 * minutes


def drafts(times: Times, shape: Shape, stats: TaskStats, max_seconds: float, spent: float) -> Iterator[Plan]:
    """Plans that fit, best first."""
    draft = Draft(times, shape, stats, Shares.of(times, stats, max_seconds, spent))
    left = draft.shares.available - draft.shares.planned
    teachers = [(epochs, round(shape.layers * share)) for epochs, share in TEACHER_MENU]
    takes = {teacher: teacher_training_seconds(times, stats, *teacher) for teacher in teachers}
    for room, gave_up in ((STUDENT_SHARE, ()), (1 / CANDIDATE_COST, (NO_SECOND_TRY,))):
        for teacher in (t for t in teachers if takes[t] <= TEACHER_SHARE * left):
            for methods in (METHODS, METHODS[1:]):
                if plan := draft.with_student(teacher, methods, room, gave_up):
                    yield plan
    yield from (draft.plan(t, (), METHODS[1:], 0.0, (NO_STUDENT,)) for t in teachers if takes[t] <= left)


@dataclass(frozen=True)
class Draft:
    """Plans of one job. teacher: (epochs, frozen layers)."""

    times: Times
    shape: Shape
    stats: TaskStats
    shares: Shares

    @property
    def checked(self) -> TaskStats:
        return replace(self.stats, validation_examples=self.shares.checked)

    def logits_seconds(self, methods: tuple[Method, ...]) -> float:
        return self.times.read_example * self.stats.train_examples if "distill" in methods else 0.0

    def with_student(
        self, teacher: tuple[float, int], methods: tuple[Method, ...], room: float, gave_up: tuple[str, ...]
    ) -> Plan | None:
        """A plan with this teacher, if a student trained in `room` of the time that it leaves has a chance."""
        kind, logits = self.stats.kind, self.logits_seconds(methods)
        depth_schedule = tuple(sorted({max(1, round(self.shape.layers * share)) for share in LADDER[kind]}))
        left = self.shares.available - self.shares.planned - logits
        left -= teacher_training_seconds(self.times, self.stats, *teacher)
        for rungs in (
            (depth_schedule, depth_schedule[1:] or depth_schedule) if kind == "generate" else (depth_schedule,)
        ):
            epochs, student = longest_student(self.times, self.checked, likely_layers(kind, rungs), room * left)
            if epochs >= 1:  # writing needs steps: the boldest rung has never been near in so few
                break
        if student > room * left or not self.stats.has_a_chance(epochs) or logits > student:
            return None  # reading for longer than a student trains: more epochs do more (docs/lab-notes.md)
        return self.plan(teacher, rungs, methods, epochs, gave_up if "distill" in methods else (NO_LOGITS, *gave_up))

    def plan(
        self,
        teacher: tuple[float, int],
        depth_schedule: tuple[int, ...],
        methods: tuple[Method, ...],
        epochs: float,
        gave_up: tuple[str, ...],
    ) -> Plan:
        times, stats, shares = self.times, self.checked, self.shares
        limit = None if shares.checked == self.stats.validation_examples else shares.checked
        student = (
            student_seconds(times, stats, epochs, likely_layers(stats.kind, depth_schedule)) if depth_schedule else 0.0
        )
        return Plan(
            times=times,
            shape=self.shape,
            stats=stats,
            batch_size=stats.batch_size,
            teacher_epochs=teacher[0],
            freeze_layers=teacher[1],
            depth_schedule=depth_schedule,
            grids=("q4_0", "q8_0") if self.shape.fits_blocks else ("f16",),
            methods=methods,
            distill_epochs=epochs,
            validation_limit=limit,
            probe_limit=min(FEWEST_CHECKED, shares.checked) if stats.kind == "generate" else limit,
            teacher_seconds=teacher_training_seconds(times, stats, *teacher),
            check_seconds=shares.check,
            logits_seconds=self.logits_seconds(methods),
            student_seconds=student,
            proof_seconds=shares.fixed + shares.answering,
            answering_seconds=shares.answering,
            gave_up=gave_up,
        )
