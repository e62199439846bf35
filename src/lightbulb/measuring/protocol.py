"""How a cost is measured: warm-up, windows of seconds, blocks of mirrored trials with models opened anew."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lightbulb.core.figures import Figure
from lightbulb.energy.meter import Meter, Reading

WINDOW_SECONDS = 5.0
MOST_PROMPTS = 64
FEWEST_PROMPTS = 8  # of a task, whose prompts differ in length
BLOCK = 2  # trials with models opened once: one order, then its mirror image
PAUSE = 0.05  # of a window: the longest before one
STEADY = 0.05  # warm-up ends when two rounds agree as well as this
WARM_UP_ROUNDS = 10  # or after so many
# What the main job measures its files with: the most that it takes, and the least that has an interval worth its name
# (the t interval of 4 blocks is 1.5 times as wide as that of 5 at the same spread, that of 3 twice).
MOST_TRIALS, LONGEST_WINDOW = 10, 3.0
FEWEST_TRIALS, SHORTEST_WINDOW = 8, 1.0
# Seen with files of SmolLM2-135M on one thread (docs/lab-notes.md): opening one, rounds until its calls are steady,
# seconds of a window / those asked for (it ends with a whole round of prompts), and of two answers of some 20 tokens.
OPENING_SECONDS, WARMING, OVER, ROUND_SECONDS = 0.3, 2, 1.3, 0.8


@dataclass(frozen=True)
class Subject:
    """Something that answers prompts.

    Attributes:
        name: for the samples
        prompts: whatever `answer` takes: texts, or `batch` of them to be answered in one call
        answer: returns the tokens read and written
        batch: prompts of a call
        first_tokens: where the answers tell it, `answer` appends each one's seconds to its first token
    """

    name: str
    prompts: Sequence[Any]
    answer: Callable[[Any], tuple[int, int]]
    batch: int = 1
    first_tokens: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one window held.

    Attributes:
        answers: how many
        prompt_tokens: of all of them
        output_tokens: likewise
        reading: what they took
        first_token_seconds: the median over its answers, where the subject tells it
    """

    answers: int
    prompt_tokens: int
    output_tokens: int
    reading: Reading
    first_token_seconds: float | None = None


def measuring_seconds(files: int, trials: int, window_seconds: float, round_seconds: float = ROUND_SECONDS) -> float:
    """Seconds that `measure_blocks` takes for `files` models.

    Args:
        files: models measured side by side, each with one subject.
        trials: windows of each.
        window_seconds: least seconds of a window.
        round_seconds: what a round of two prompts takes, mean over the files: no window is shorter.
    """
    window = max(OVER * window_seconds, round_seconds)
    opening = OPENING_SECONDS + WARMING * max(window_seconds / 10, round_seconds / 2)
    return files * (trials * window + -(-trials // BLOCK) * opening)


def windows_within(seconds: float, files: int) -> tuple[int, float]:
    """Trials and seconds of a window with which `files` models are measured in about `seconds`: the most that fit, and
    never fewer or shorter than what gives an interval."""
    if measuring_seconds(files, MOST_TRIALS, LONGEST_WINDOW) <= seconds:
        return MOST_TRIALS, LONGEST_WINDOW
    one, two = (measuring_seconds(files, FEWEST_TRIALS, window) for window in (1.0, 2.0))
    window = math.floor(10 * (1 + (seconds - one) / (two - one))) / 10
    return FEWEST_TRIALS, min(LONGEST_WINDOW, max(SHORTEST_WINDOW, window))


def measure_blocks(
    opened: Callable[[], AbstractContextManager[Sequence[Subject]]],
    meter: Meter,
    *,
    trials: int,
    seed: int,
    fewest_prompts: int = 1,
    window_seconds: float | None = None,
    advance: Callable[[float, str], None] = lambda done, note: None,
) -> list[dict[str, Sample]]:
    """One table of samples by subject's name for each trial.

    Trials come in blocks of BLOCK. Each block opens the subjects anew and warms them up, so that what only a fresh
    start draws (where pages lie, which core a thread gets) is drawn again; its order is random, and every second trial
    mirrors the one before, so that a steady drift cancels. Random pauses keep windows out of step with any clock. A
    window holds whole rounds of the same prompts for all subjects of one batch; each block goes on with the prompts
    after those of the block before, so that short windows see many of them, too. Subjects of another batch have prompts
    of their own, in rounds of as many calls as fill their own window: a call of 500 cheap answers and one of a single
    dear answer share nothing but the block.

    Args:
        opened: opens all subjects anew.
        meter: reads the windows.
        trials: windows of each subject.
        seed: decides orders and pauses.
        fewest_prompts: of a window's round, where prompts differ in length.
        window_seconds: least seconds of a window; None: WINDOW_SECONDS.
        advance: is told (trials done, the subject's name) after each window.
    """
    window_seconds = WINDOW_SECONDS if window_seconds is None else window_seconds
    rng, counts = random.Random(seed), dict[int, int]()  # calls of a round, by batch
    tables: list[dict[str, Sample]] = []
    while len(tables) < trials:
        with opened() as subjects:
            for batch, slowest in _slowest(subjects, window_seconds).items():  # decided once, the same in all blocks
                counts.setdefault(batch, _round(slowest, fewest_prompts, window_seconds))
            block = len(tables) // BLOCK
            order = rng.sample(list(subjects), len(subjects))
            for _ in range(min(BLOCK, trials - len(tables))):
                table: dict[str, Sample] = {}
                for done, subject in enumerate(order):
                    time.sleep(rng.uniform(0, PAUSE * window_seconds))
                    count = counts[subject.batch]
                    prompts = _turned(subject.prompts, block * count, count)
                    table[subject.name] = _sample(subject, prompts, meter, window_seconds)
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


def warm_up(subject: Subject, window_seconds: float) -> float:
    """Seconds of one call once calls are steady: rounds of the same prompts, of a tenth of a window, until the last two
    agree."""
    calls, begin = 0, time.perf_counter()
    while not calls or time.perf_counter() - begin < window_seconds / 10:
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


def _slowest(subjects: Sequence[Subject], window_seconds: float) -> dict[int, float]:
    """Warms all up: seconds of the longest call, by batch."""
    slowest = dict[int, float]()
    for subject in subjects:
        slowest[subject.batch] = max(slowest.get(subject.batch, 0.0), warm_up(subject, window_seconds))
    return slowest


def _round(slowest_seconds: float, fewest: int, window_seconds: float) -> int:
    """Calls of one round: as many as fill a window of the slowest subject."""
    return max(fewest, min(MOST_PROMPTS, round(window_seconds / slowest_seconds)))


def _turned(prompts: Sequence[Any], start: int, count: int) -> list[Any]:
    """`count` prompts from number `start` on, after the last one the first; all of them where there are fewer."""
    return [prompts[(start + n) % len(prompts)] for n in range(min(count, len(prompts)))]


def _sample(subject: Subject, prompts: Sequence[Any], meter: Meter, window_seconds: float) -> Sample:
    """Whole rounds of `prompts` for at least `window_seconds`."""
    calls = read = written = 0
    subject.first_tokens.clear()
    with meter.window(f"measure {subject.name}") as window:
        begin = time.perf_counter()
        while time.perf_counter() - begin < window_seconds:
            for prompt in prompts:
                more_read, more_written = subject.answer(prompt)
                read, written = read + more_read, written + more_written
            calls += len(prompts)
    first = float(np.median(subject.first_tokens)) if subject.first_tokens else None
    return Sample(calls * subject.batch, read, written, window.reading, first)
