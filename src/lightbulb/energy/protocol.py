"""How a cost is measured: warm-up, windows of seconds, interleaved in random order, intervals over trials."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lightbulb.energy.meter import Meter, Reading
from lightbulb.energy.statistics import cases, median_figure, ratio
from lightbulb.figures import Figure

__all__ = ["Sample", "Subject", "Trials", "idle_watts", "measure_answers", "measure_blocks", "ratio", "summarise"]

WINDOW_SECONDS = 5.0
MOST_PROMPTS = 64
FEWEST_PROMPTS = 8  # of a task, whose prompts differ in length
BLOCK = 2  # trials with models opened once: one order, then its mirror image
STEADY = 0.05  # warm-up ends when two rounds agree as well as this
WARM_UP_ROUNDS = 10  # or after so many


@dataclass(frozen=True)
class Subject:
    """Something that answers prompts: `answer(prompt)` returns the tokens read and written.

    A prompt is whatever `answer` takes: a text, or `batch` of them to be answered side by side. Where the answers tell
    it, `answer` appends each one's seconds to its first token to `first_tokens`.
    """

    name: str
    prompts: Sequence[Any]
    answer: Callable[[Any], tuple[int, int]]
    batch: int = 1
    first_tokens: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one window held. first_token_seconds: the median over its answers, where the subject tells it."""

    answers: int
    prompt_tokens: int
    output_tokens: int
    reading: Reading
    first_token_seconds: float | None = None


@dataclass
class Trials:
    """One entry a window, in the order of the trials: per answer, and tokens a second."""

    cpu_seconds: list[float] = field(default_factory=list)
    joules: list[Figure] = field(default_factory=list)
    wall_seconds: list[float] = field(default_factory=list)
    tokens_per_second: list[float] = field(default_factory=list)

    def add(self, sample: Sample) -> None:
        reading = sample.reading
        self.cpu_seconds.append((reading.cpu_seconds.value or 0.0) / sample.answers)
        self.joules.append(reading.joules.scaled(1 / sample.answers, "J/answer"))
        self.wall_seconds.append(reading.wall_seconds / sample.answers)
        self.tokens_per_second.append((sample.prompt_tokens + sample.output_tokens) / reading.wall_seconds)


def measure_answers(
    subjects: Sequence[Subject],
    meter: Meter,
    *,
    trials: int,
    seed: int,
    advance: Callable[[float, str], None] = lambda done, note: None,
) -> dict[str, Trials]:
    """Every subject answers the same prompts, one at a time, in windows of at least WINDOW_SECONDS.

    Each trial visits all subjects in a fresh random order, so that drift of the machine hits them alike; windows hold
    whole rounds of the prompts, so that all see the same lengths.
    """
    rng = random.Random(seed)
    count = _round(max(warm_up(s) for s in subjects), FEWEST_PROMPTS)
    results = {s.name: Trials() for s in subjects}
    for trial in range(trials):
        for done, subject in enumerate(rng.sample(list(subjects), len(subjects))):
            results[subject.name].add(_sample(subject, count, meter))
            advance(trial * len(subjects) + done + 1, subject.name)
    return results


def measure_blocks(
    opened: Callable[[], AbstractContextManager[Sequence[Subject]]],
    meter: Meter,
    *,
    trials: int,
    seed: int,
    fewest_prompts: int = 1,
    advance: Callable[[float, str], None] = lambda done, note: None,
) -> list[dict[str, Sample]]:
    """One table of samples by subject's name for each trial.

    Trials come in blocks of BLOCK. Each block opens the subjects anew and warms them up, so that what only a fresh
    start draws (where pages lie, which core a thread gets) is drawn again; its order is random, and every second trial
    mirrors the one before, so that a steady drift cancels. Random pauses keep windows out of step with any clock.
    `fewest_prompts`: of a window's round, where prompts differ in length.
    """
    rng, count = random.Random(seed), 0
    tables: list[dict[str, Sample]] = []
    while len(tables) < trials:
        with opened() as subjects:
            slowest = max(warm_up(s) for s in subjects)
            count = count or _round(slowest, fewest_prompts)  # decided once: all blocks see the same prompts
            order = rng.sample(list(subjects), len(subjects))
            for _ in range(min(BLOCK, trials - len(tables))):
                table: dict[str, Sample] = {}
                for done, subject in enumerate(order):
                    time.sleep(rng.uniform(0, WINDOW_SECONDS / 20))
                    table[subject.name] = _sample(subject, count, meter)
                    advance(len(tables) + (done + 1) / len(order), subject.name)
                tables.append(table)
                order.reverse()
    return tables


def idle_watts(meter: Meter) -> Figure:
    """Watts of a window in which this process sleeps. Where joules are an estimate, what its formula says."""
    with meter.window("idle") as window:
        time.sleep(WINDOW_SECONDS)
    joules = window.reading.joules
    return joules.scaled(1 / window.reading.wall_seconds, "W", f"{joules.method}; this process asleep")


def warm_up(subject: Subject) -> float:
    """Seconds of one call once calls are steady: rounds of the same prompts until the last two agree."""
    calls, begin = 0, time.perf_counter()
    while not calls or time.perf_counter() - begin < WINDOW_SECONDS / 10:
        subject.answer(subject.prompts[calls % len(subject.prompts)])
        calls += 1
    before = now = (time.perf_counter() - begin) / calls
    for _ in range(WARM_UP_ROUNDS):
        begin = time.perf_counter()
        for call in range(calls):
            subject.answer(subject.prompts[call % len(subject.prompts)])
        now = (time.perf_counter() - begin) / calls
        if abs(now - before) <= STEADY * before:
            break
        before = now
    return now


def _round(slowest_seconds: float, fewest: int) -> int:
    """Prompts of one round: as many as fill a window of the slowest subject."""
    return max(fewest, min(MOST_PROMPTS, round(WINDOW_SECONDS / slowest_seconds)))


def _sample(subject: Subject, count: int, meter: Meter) -> Sample:
    """Whole rounds of the first `count` prompts for at least WINDOW_SECONDS."""
    prompts = subject.prompts[:count]
    calls = read = written = 0
    subject.first_tokens.clear()
    with meter.window(f"measure {subject.name}") as window:
        begin = time.perf_counter()
        while time.perf_counter() - begin < WINDOW_SECONDS:
            for prompt in prompts:
                more_read, more_written = subject.answer(prompt)
                read, written = read + more_read, written + more_written
            calls += len(prompts)
    first = float(np.median(subject.first_tokens)) if subject.first_tokens else None
    return Sample(calls * subject.batch, read, written, window.reading, first)


def summarise(trials: Trials) -> dict[str, Figure]:
    """cpu_seconds_per_answer, joules_per_answer, seconds_per_answer and tokens_per_second: medians over trials with 95%
    bootstrap intervals. An estimate of joules keeps the wider of its own interval and that of the trials."""
    windows = f"{len(trials.cpu_seconds)} interleaved windows of at least {WINDOW_SECONDS:g} s"
    how = f"median of {windows}, one prompt at a time"
    both = how + "; tokens read and written"
    return {
        "cpu_seconds_per_answer": median_figure(trials.cpu_seconds, "s", how, scope="process"),
        "seconds_per_answer": median_figure(trials.wall_seconds, "s", how, scope="process"),
        "joules_per_answer": _median_joules(trials.joules, how),
        "tokens_per_second": median_figure(trials.tokens_per_second, "tokens/s", both, scope="process"),
    }


def _median_joules(figures: Sequence[Figure], how: str) -> Figure:
    first = figures[0]
    table = [row for f in figures if (row := cases(f)) is not None]
    if len(table) < len(figures):
        return Figure(value=None, unit="J", method=first.method)
    how = f"{first.method}; {how}"
    return median_figure(np.array(table), "J", how, source=first.source, scope=first.scope)
