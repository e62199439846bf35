"""What the user asks for."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict

from lightbulb.errors import GoalError
from lightbulb.runtimes import GgufRuntime, check_installed

UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


class Goal(BaseModel):
    """keep: the least share of the adapted teacher's score that the student must hold, 0 < keep <= 1.
    max_seconds: wall time for the whole run. zone: where it runs, for carbon. runtime: the one that the model will be
    used in, where all files are scored and measured."""

    model_config = ConfigDict(frozen=True)

    keep: float = 0.97
    max_seconds: float = 3600.0
    seed: int = 0
    threads: int = 2
    zone: str | None = None
    runtime: GgufRuntime = "llamacpp"

    @staticmethod
    def parse(
        keep: float, max_time: str, seed: int, threads: int, zone: str | None, runtime: GgufRuntime = "llamacpp"
    ) -> Goal:
        if not 0 < keep <= 1:
            raise GoalError(
                f"keep is a share of the teacher's score, between 0 and 1, not {keep:g}",
                where="--keep",
                mend=f"--keep {keep / 100:g}" if 2 <= keep <= 100 else "--keep 0.97",
            )
        check_threads(threads)
        check_installed(runtime)
        return Goal(keep=keep, max_seconds=seconds(max_time), seed=seed, threads=threads, zone=zone, runtime=runtime)


def check_threads(threads: int) -> None:
    if threads < 1:
        raise GoalError(f"{threads} threads cannot work", where="--threads", mend="--threads 2")


def seconds(text: str) -> float:
    """Seconds of "90", "45s", "30m", "1h", "1h30m"."""
    part = r"(\d+(?:\.\d+)?)\s*(min|[smhd])\s*"
    parts = re.findall(part, text)
    if re.fullmatch(r"\d+(\.\d+)?", text.strip()):
        parts = [(text.strip(), "s")]
    elif not parts or re.sub(part, "", text).strip():
        raise GoalError(f"{text!r} is not a time", where="--max-time", mend="--max-time 45m (or 90s, 1h, 1h30m)")
    total = sum(float(n) * UNITS[unit] for n, unit in parts)
    if total < 10:
        raise GoalError(f"{total:g} seconds are too few to make anything", where="--max-time", mend="--max-time 15m")
    return total


def check_zone(zone: str | None) -> str | None:
    """The zone that is asked for or that LIGHTBULB_ZONE names. Raises UserError now, rather than after an hour, when
    there is no grid of that name."""
    from lightbulb.energy.carbon import own_zone

    return own_zone(zone)
