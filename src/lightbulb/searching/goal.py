"""What a search is asked for."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict

from lightbulb.core.errors import GoalError
from lightbulb.core.figures import Figure
from lightbulb.runtimes import check_threads, runtime_class
from lightbulb.shrinking.candidate import DECODER
from lightbulb.shrinking.floor import Floor
from lightbulb.shrinking.goal import KEEP, Goal, seconds

CANDIDATES = 9
BYTES = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


class SearchGoal(BaseModel):
    """What is asked for: the cheapest student that keeps what is asked; where only limits are given, the best within
    them.

    Attributes:
        keep: least share of the parent's score
        at_least: score that it must reach, in the metric's own unit
        max_joules_per_answer: of its file, one question at a time on one thread
        max_bytes: likewise
        max_latency: seconds of an answer, likewise
        max_seconds: wall time for the whole search
        seed: the only source of randomness
        threads: of the processor, for each worker
        runtime: that the files run in
        workers: processes that carry trials out side by side
        candidates: students of the first rung
    """

    model_config = ConfigDict(frozen=True)

    keep: float | None = None
    at_least: float | None = None
    max_joules_per_answer: float | None = None
    max_bytes: int | None = None
    max_latency: float | None = None
    max_seconds: float = 3600.0
    seed: int = 0
    threads: int = 2
    runtime: str = "llamacpp"
    workers: int = 1
    candidates: int = CANDIDATES

    @staticmethod
    def parse(
        *,
        keep: float | None = None,
        at_least: float | None = None,
        max_joules_per_answer: float | None = None,
        max_bytes: str | None = None,
        max_latency: float | None = None,
        max_time: str = "1h",
        seed: int = 0,
        threads: int = 2,
        runtime: str | None = None,
        workers: int = 1,
        candidates: int = CANDIDATES,
    ) -> SearchGoal:
        """What was asked for, checked as far as that goes without the task.

        Args:
            runtime: None: filament where it is built, else llama.cpp

        Raises:
            GoalError: no task can be asked for it
        """
        for name, value in (("max_joules_per_answer", max_joules_per_answer), ("max_latency", max_latency)):
            if value is not None and not value > 0:
                raise GoalError(f"a limit is above 0, not {value:g}", where=f"`{name}`", hint="leave it out")
        for name, count, least in (("workers", workers, 1), ("candidates", candidates, 3)):
            if count < least:
                raise GoalError(
                    f"at least {least} are needed, not {count}", where=f"`{name}`", hint=f"`{name}={least}`"
                )
        check_threads(threads)
        limits = (max_joules_per_answer, max_bytes, max_latency)
        if keep is None and at_least is None and all(limit is None for limit in limits):
            keep = KEEP
        own = "filament" if runtime_class("filament").installed() else "llamacpp"
        goal = SearchGoal(
            keep=keep,
            at_least=at_least,
            max_joules_per_answer=max_joules_per_answer,
            max_bytes=None if max_bytes is None else bytes_of(max_bytes),
            max_latency=max_latency,
            max_seconds=seconds(max_time),
            seed=seed,
            threads=threads,
            runtime=runtime or own,
            workers=workers,
            candidates=candidates,
        )
        Goal.parse(keep, max_time, seed, threads, None, goal.runtime, at_least)  # or its error
        return goal

    @property
    def shrinking(self) -> Goal:
        """The same to the main job, which makes the parent."""
        return Goal(
            keep=self.keep or (KEEP if self.at_least is None else None),
            at_least=self.at_least,
            max_seconds=self.max_seconds,
            seed=self.seed,
            threads=self.threads,
            runtime=self.runtime,
            kinds=(DECODER,),
        )

    @property
    def asks_for_a_score(self) -> bool:
        """Whether the cheapest that reaches a score is asked for; else the best within the limits."""
        return self.keep is not None or self.at_least is not None

    def floor(self, metric: str) -> Floor:
        return Floor(metric, self.keep, self.at_least)

    def over_limits(self, costs: dict[str, Figure], size: int) -> str:
        """Which limit is passed, in a sentence; empty where none is."""
        limits = (
            ("joules_per_answer", self.max_joules_per_answer, "J an answer"),
            ("seconds_per_answer", self.max_latency, "s an answer"),
        )
        for name, limit, unit in limits:
            value = costs[name].value if name in costs else None
            if limit is not None and (value is None or value > limit):
                found = "not known" if value is None else f"{value:.3g} {unit}"
                return f"over the limit of {limit:g} {unit}: {found}"
        if self.max_bytes is not None and size > self.max_bytes:
            return f"over the limit of {self.max_bytes:,} bytes: {size:,}"
        return ""


def bytes_of(text: str) -> int:
    """Bytes of "20000000", "20MB", "20M", "19MiB"."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]i?|)b?", text.strip().lower())
    if found is None or not float(found[1]):
        raise GoalError(f"{text!r} is no size", where="`max_bytes`", hint="`max_bytes=20MB`")
    return int(float(found[1]) * BYTES[found[2]])
