"""From what steps and answers take, the size of the task and the time given to a plan. Pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from lightbulb.core.errors import GoalError
from lightbulb.measuring.protocol import FEWEST_PROMPTS, measuring_seconds, windows_within
from lightbulb.shrinking.candidate import METHODS, Method
from lightbulb.shrinking.cost_model import ALONE, CANDIDATE_COST, CostModel, TaskStats
from lightbulb.shrinking.plan import Plan, Shape
from lightbulb.shrinking.space import SearchSpace
from lightbulb.shrinking.times import Times

# (epochs, share of layers frozen) for the teacher, best first
TEACHER_MENU = ((3, 0.0), (3, 0.4), (2, 0.4), (1.5, 0.5), (1, 0.5), (0.7, 0.5), (0.5, 0.6), (0.3, 0.6), (0.15, 0.6))
TEACHER_SHARE = 0.45  # of the time that is not needed for exporting and proving
PROOF_SHARE = 0.35  # of the time: beyond it fewer test items are answered
FEWEST_TESTED = 50
CHECK_SHARE = 0.08  # of the time for the teacher's score on validation: beyond it fewer items are answered
FEWEST_CHECKED = 200
REFERENCE_EPOCHS = 1  # of a teacher that another kind is held against: of fewer it says little
STUDENT_SHARE = 0.45  # of the time left after the teacher, for one full student
STOCK_FILES = 2.4  # answering with f16, q8_0 and q4_0 / with f16 alone, seen in the ledgers of five finished runs
MEASURED_FILES = 4  # a student, f16, q8_0, q4_0
MEASURE_SHARE = 0.1  # of the time, for measuring costs
SAFETY = 0.93  # plan to be done at this share of the time given
REPORT_SECONDS = 10.0
NO_LOGITS, NO_SECOND_TRY, NO_STUDENT = "the teacher's logits", "room for a second try", "a student"


def make_plan(
    times: Times,
    shape: Shape,
    stats: TaskStats,
    max_seconds: float,
    spent: float = 0.0,
    others: int = 0,
    elastic: bool = False,
    reference_first: bool = False,
) -> Plan:
    """The best teacher beside which a student has a chance and room to back off; where there is none, first the room to
    back off is given up, then the student.

    Args:
        spent: seconds of `max_seconds`, before this plan
        others: files of other kinds that are measured, too
        elastic: the teacher learns together with the students, if there is one
        reference_first: a student is given up before the teacher learns for less than REFERENCE_EPOCHS

    Raises:
        GoalError: even the shortest teacher and proof take longer
    """
    of = partial(
        drafts, times, shape, stats, spent=spent, others=others, elastic=elastic, reference_first=reference_first
    )
    plan = next(of(max_seconds), None)
    if plan is not None and plan.space.depths:
        return plan
    enough = enough_seconds(of, max_seconds, student=plan is not None)
    if plan is not None:
        return plan.model_copy(update={"enough_seconds": enough})
    raise GoalError(
        f"this takes longer than {max_seconds:,.0f} s on this machine, even with the shortest training and no student",
        where="`max_time`",
        hint=f"`max_time={math.ceil(enough / 60)}m`",
    )


def enough_seconds(of: Callable[[float], Iterator[Plan]], max_seconds: float, student: bool) -> float:
    """The least time (in whole minutes, to a tenth) that has a plan; with `student` one with a student. of: the plans
    of a time."""
    minutes = math.ceil((max_seconds + 1) / 60)
    while True:
        plan = next(of(60.0 * minutes), None)
        if plan is not None and (plan.space.depths or not student):
            return 60.0 * minutes
        minutes = math.ceil(1.1 * minutes)


def drafts(
    times: Times,
    shape: Shape,
    stats: TaskStats,
    max_seconds: float,
    spent: float,
    others: int,
    elastic: bool = False,
    reference_first: bool = False,
) -> Iterator[Plan]:
    """Plans that fit, best first."""
    draft = Draft(times, shape, stats, Shares.of(times, stats, max_seconds, spent, others), elastic)
    left = draft.shares.available - draft.shares.planned
    alone = [(epochs, round(shape.layers * share)) for epochs, share in TEACHER_MENU]
    teachers = list(dict.fromkeys((epochs, 0) for epochs, _ in alone)) if elastic else alone  # students need all layers
    if reference_first:
        yield from draft.with_students([t for t in teachers if t[0] >= REFERENCE_EPOCHS], left)
        yield from draft.without([t for t in alone if t[0] >= REFERENCE_EPOCHS], left)
    yield from draft.with_students(teachers, TEACHER_SHARE * left)
    yield from draft.without(alone, left)


def measuring_windows(max_seconds: float, files: int) -> tuple[int, float]:
    """Trials, and seconds of a window, when the costs of so many files are measured."""
    return windows_within(MEASURE_SHARE * max_seconds, files)


@dataclass(frozen=True)
class Shares:
    """What is decided before the teacher: how many items are checked and tested, and what that takes.

    Attributes:
        planned: seconds kept for check and proof when teacher and student are chosen. They rise with the time given
            more slowly than it does, so that more time never gives less to the training.
    """

    available: float
    checked: int
    check: float
    tested: int
    fixed: float
    answering: float
    planned: float

    @staticmethod
    def of(times: Times, stats: TaskStats, max_seconds: float, spent: float, others: int) -> Shares:
        """The shares of `max_seconds`, less what is `spent`.

        Args:
            others: files of other kinds, which answer in next to no time, but whose windows last as long
        """
        available = SAFETY * max_seconds - spent
        answer = ALONE * times.answer_file * STOCK_FILES / MEASURED_FILES  # one thread, one at a time, the mean file
        files = MEASURED_FILES + others
        windows = measuring_seconds(files, *measuring_windows(max_seconds, files), FEWEST_PROMPTS * answer)
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


@dataclass(frozen=True)
class Draft:
    """Plans of one job. teacher: (epochs, frozen layers)."""

    times: Times
    shape: Shape
    stats: TaskStats
    shares: Shares
    elastic: bool = False

    @property
    def costs(self) -> CostModel:
        """With the validation items that are answered."""
        return CostModel(self.times, replace(self.stats, validation_examples=self.shares.checked))

    @property
    def space(self) -> SearchSpace:
        return SearchSpace.of(self.shape.layers, self.stats.kind, self.shape.fits_blocks)

    @property
    def least(self) -> int | None:
        """Layers of the smallest student that an elastic teacher learns together with."""
        return self.space.depths[0] if self.elastic else None

    def teacher_seconds(self, teacher: tuple[float, int], least: int | None = None) -> float:
        return self.costs.teacher_training(*teacher, least)

    def with_students(self, teachers: Sequence[tuple[float, int]], most_seconds: float) -> Iterator[Plan]:
        """Plans with the teachers that take so long at most: first those that leave room to back off."""
        for room, gave_up in ((STUDENT_SHARE, ()), (1 / CANDIDATE_COST, (NO_SECOND_TRY,))):
            for teacher in (t for t in teachers if self.teacher_seconds(t, self.least) <= most_seconds):
                for methods in (METHODS[:1] if self.elastic else METHODS, METHODS[1:]):
                    if plan := self.with_student(teacher, methods, room, gave_up):
                        yield plan

    def without(self, teachers: Sequence[tuple[float, int]], most_seconds: float) -> Iterator[Plan]:
        """Likewise, without any student."""
        nothing = self.space.without_students()
        fit = (t for t in teachers if self.teacher_seconds(t) <= most_seconds)
        yield from (self.plan(t, nothing, 0.0, (NO_STUDENT,)) for t in fit)

    def with_student(
        self, teacher: tuple[float, int], methods: tuple[Method, ...], room: float, gave_up: tuple[str, ...]
    ) -> Plan | None:
        """A plan with this teacher, if a student trained in `room` of the time that it leaves has a chance."""
        costs, stats = self.costs, self.stats
        space = self.space.with_methods(methods)
        logits = costs.logits() if "distill" in methods else 0.0
        left = self.shares.available - self.shares.planned - logits - self.teacher_seconds(teacher, self.least)
        epochs, student = costs.longest_student(space.likely, room * left)
        if epochs < 1 and stats.kind == "generate":  # writing needs steps: the boldest has never been near in so few
            space = space.without_boldest(stats.kind)
            epochs, student = costs.longest_student(space.likely, room * left)
        if student > room * left or not stats.has_a_chance(epochs) or logits > student:
            return None  # reading for longer than a student trains: more epochs do more (docs/lab-notes.md)
        return self.plan(teacher, space, epochs, gave_up if "distill" in methods else (NO_LOGITS, *gave_up))

    def plan(self, teacher: tuple[float, int], space: SearchSpace, epochs: float, gave_up: tuple[str, ...]) -> Plan:
        costs, shares, elastic = self.costs, self.shares, self.least if space.depths else None
        limit = None if shares.checked == self.stats.validation_examples else shares.checked
        return Plan(
            times=self.times,
            shape=self.shape,
            stats=costs.stats,
            batch_size=self.stats.batch_size,
            teacher_epochs=teacher[0],
            freeze_layers=teacher[1],
            elastic=elastic,
            space=space,
            distill_epochs=epochs,
            validation_limit=limit,
            probe_limit=min(FEWEST_CHECKED, shares.checked) if self.stats.kind == "generate" else limit,
            teacher_seconds=self.teacher_seconds(teacher, elastic),
            check_seconds=shares.check,
            logits_seconds=costs.logits() if "distill" in space.methods else 0.0,
            student_seconds=costs.student(epochs, space.likely) if space.depths else 0.0,
            proof_seconds=shares.fixed + shares.answering,
            answering_seconds=shares.answering,
            gave_up=gave_up,
        )
