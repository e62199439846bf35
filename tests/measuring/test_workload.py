"""Cheap runtimes are measured in bulk: all test items, many in a call."""

from __future__ import annotations

import random
from contextlib import nullcontext

import pytest
from simulated_clock import Clock, meter_on

from lightbulb.measuring import protocol, workload
from lightbulb.measuring.protocol import measure_blocks
from lightbulb.measuring.workload import CALL_SECONDS, MOST_IN_A_CALL, Workload, bulk_subject, subjects
from lightbulb.runtimes.base import Capabilities
from lightbulb.runtimes.exchange import Answers
from lightbulb.tasks.task import Example, Task


class Bulk:
    """Each prompt takes `seconds`, and each call ten microseconds of its own."""

    capabilities = Capabilities(closed_set=True, generates=False, bulk=True)

    def __init__(self, clock: Clock, seconds: float):
        self.clock, self.seconds, self.seen = clock, seconds, list[list[str]]()

    def render(self, messages):
        return messages[-1]["content"]

    def answer(self, prompts, answers):
        self.clock.work(1e-5 + self.seconds * len(prompts))
        self.seen.append(list(prompts))
        return Answers([answers[0]] * len(prompts), sum(len(p.split()) for p in prompts), len(prompts))


def task_of(items: int) -> Task:
    rng = random.Random(0)
    rows = tuple(Example(f"question {n}" + " word" * rng.randrange(9), "ab"[n % 2]) for n in range(items))
    return Task("t", "choose", "accuracy", rows, rows, rows, ("a", "b"))


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    for module in (protocol, workload):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.mark.parametrize(
    "items, seconds, size, calls",
    [
        (3080, 1e-5, 440, 7),
        (512, 1e-5, 512, 1),
        (513, 1e-5, 257, 2),
        (3, 1e-5, 3, 1),
        (1000, 1e-3, 48, 21),
        (40, 1.0, 1, 40),
    ],
)
def test_calls_are_alike_and_together_hold_all_test_items(clock, items, seconds, size, calls):
    runtime = Bulk(clock, seconds)
    subject = bulk_subject("read", runtime, task_of(items))
    assert subject.batch == size <= MOST_IN_A_CALL and len(subject.prompts) == calls
    assert all(len(batch) == size for batch in subject.prompts)
    assert {p for batch in subject.prompts for p in batch} == {e.prompt for e in task_of(items).test}
    assert size == 1 or size * seconds <= 1.01 * CALL_SECONDS
    words = sum(len(p.split()) for p in subject.prompts[0])
    assert subject.answer(subject.prompts[0]) == (words, size)


def test_costs_of_an_answer_are_those_of_its_share_of_a_call(clock):
    runtime = Bulk(clock, 1e-5)
    work = Workload(task_of(3080), 1, 128, 16, 1, seed=0)

    def opened():
        return nullcontext(subjects(runtime, work))

    tables = measure_blocks(opened, meter_on(clock), trials=4, seed=0, window_seconds=1.0)
    for sample in (table["read"] for table in tables):
        assert sample.answers % 3080 == 0
        assert sample.reading.cpu_seconds.value / sample.answers == pytest.approx(1e-5 + 1e-5 / 440)


def test_who_says_how_many_side_by_side_gets_so_many(clock):
    (subject,) = subjects(Bulk(clock, 1e-5), Workload(task_of(100), 4, 128, 16, 1, seed=0))
    assert subject.batch == 4 and all(len(batch) == 4 for batch in subject.prompts)
