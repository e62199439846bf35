"""How a cost is measured: warm-up, windows of seconds, interleaved in random order, intervals over trials."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from lightbulb.energy.meter import Meter
from lightbulb.figures import Figure, bootstrap

WINDOW_SECONDS = 5.0
MOST_PROMPTS = 64


@dataclass(frozen=True)
class Subject:
    """Something that answers prompts: `answer(prompt)` returns the tokens read and written."""

    name: str
    prompts: Sequence[str]
    answer: Callable[[str], tuple[int, int]]


@dataclass
class Trials:
    """One entry a window, in the order of the trials: per answer, and tokens a second."""

    cpu_seconds: list[float] = field(default_factory=list)
    joules: list[Figure] = field(default_factory=list)
    wall_seconds: list[float] = field(default_factory=list)
    tokens_per_second: list[float] = field(default_factory=list)


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
    slowest = max(_seconds_per_answer(s) for s in subjects)  # also the warm-up
    count = max(8, min(MOST_PROMPTS, round(WINDOW_SECONDS / slowest)))
    results = {s.name: Trials() for s in subjects}
    for trial in range(trials):
        for done, subject in enumerate(rng.sample(list(subjects), len(subjects))):
            _window(subject, subject.prompts[:count], meter, results[subject.name])
            advance(trial * len(subjects) + done + 1, subject.name)
    return results


def _seconds_per_answer(subject: Subject) -> float:
    begin = time.perf_counter()
    for prompt in subject.prompts[:8]:
        subject.answer(prompt)
    return (time.perf_counter() - begin) / len(subject.prompts[:8])


def _window(subject: Subject, prompts: Sequence[str], meter: Meter, into: Trials) -> None:
    answers = tokens = 0
    with meter.window(f"measure {subject.name}") as window:
        begin = time.perf_counter()
        while time.perf_counter() - begin < WINDOW_SECONDS:
            for prompt in prompts:
                tokens += sum(subject.answer(prompt))
            answers += len(prompts)
    reading = window.reading
    into.cpu_seconds.append((reading.cpu_seconds.value or 0.0) / answers)
    into.joules.append(reading.joules.scaled(1 / answers, "J/answer"))
    into.wall_seconds.append(reading.wall_seconds / answers)
    into.tokens_per_second.append(tokens / reading.wall_seconds)


def summarise(trials: Trials) -> dict[str, Figure]:
    """cpu_seconds_per_answer, joules_per_answer, seconds_per_answer and tokens_per_second: medians over trials with 95%
    bootstrap intervals. An estimate of joules keeps the wider of its own interval and that of the trials."""
    windows = f"{len(trials.cpu_seconds)} interleaved windows of at least {WINDOW_SECONDS:g} s"
    how = f"median of {windows}, one prompt at a time"
    return {
        "cpu_seconds_per_answer": _measured(trials.cpu_seconds, "s", how),
        "seconds_per_answer": _measured(trials.wall_seconds, "s", how),
        "joules_per_answer": _median_joules(trials.joules, how),
        "tokens_per_second": _measured(trials.tokens_per_second, "tokens/s", how + "; tokens read and written"),
    }


def ratio(numerator: Sequence[float], denominator: Sequence[float], method: str) -> Figure:
    """Median of the ratios trial by trial, with its bootstrap interval over trials."""
    middle, low, high = _median([a / b for a, b in zip(numerator, denominator, strict=True)])
    return Figure(value=middle, low=low, high=high, unit="ratio", source="derived", method=method)


def _median(values: Sequence[float]) -> tuple[float, float, float]:
    """The median and its 95% bootstrap interval."""
    low, high = bootstrap([values], lambda x: np.median(x, axis=-1))
    return float(np.median(values)), low, high


def _measured(values: Sequence[float], unit: str, method: str) -> Figure:
    middle, low, high = _median(values)
    return Figure(value=middle, low=low, high=high, unit=unit, scope="process", method=method)


def _median_joules(figures: Sequence[Figure], how: str) -> Figure:
    first = figures[0]
    values = [f.value for f in figures if f.value is not None]
    if len(values) < len(figures):
        return Figure(value=None, unit="J", method=first.method)
    middle, low, high = _median(values)
    lows, highs = ([end for f in figures if (end := getattr(f, side)) is not None] for side in ("low", "high"))
    if lows and highs:  # an estimate: its own interval, if that is the wider one
        low, high = min(low, *lows), max(high, *highs)
    return Figure(
        value=middle,
        low=low,
        high=high,
        unit="J",
        source=first.source,
        scope=first.scope,
        method=f"{first.method}; {how}",
    )
