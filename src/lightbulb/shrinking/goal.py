"""What the user asks for."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from lightbulb.core.errors import GoalError
from lightbulb.models.kinds.encoder_source import resolve_encoder
from lightbulb.runtimes import check_ships, check_threads
from lightbulb.shrinking.abstain import Abstain
from lightbulb.shrinking.kinds import check_kinds
from lightbulb.tasks.chance import BITS_OF_A_BYTE
from lightbulb.tasks.metrics import BITS_PER_BYTE

KEEP = 0.97  # where nothing else is asked
UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


class Goal(BaseModel):
    """What is asked for.

    Attributes:
        keep: the least share of the best reference's score that the result must hold, 0 < keep <= 1; the reference is
            the adapted teacher, or a candidate that beat it on validation
        at_least: the score that it must reach, in the metric's own unit, which needs no reference; an upper bound
            where lower is better. Without either `keep` is KEEP; where both are given both must hold
        max_seconds: wall time for the whole run
        seed: the only source of randomness
        threads: of the processor
        zone: where it runs, for carbon
        runtime: the one that the model will be used in, where all files are scored and measured; files of our own
            architectures run in filament
        kinds: of student that may be tried; None: all that are installed
        encoder: folder or short name of an encoder to try; None: a packaged one, where it is installed
        abstain: what must hold of the answers that are given, where questions may go without one; scores are of all
            answers all the same
        elastic: students are cut from a teacher that learned together with them
    """

    model_config = ConfigDict(frozen=True)

    keep: float | None = None
    at_least: float | None = None
    max_seconds: float = 3600.0
    seed: int = 0
    threads: int = 2
    zone: str | None = None
    runtime: str = "llamacpp"
    kinds: tuple[str, ...] | None = None
    encoder: str | None = None
    abstain: Abstain | None = None
    elastic: bool = False

    @model_validator(mode="before")
    @classmethod
    def _something_is_asked(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("keep") is None and values.get("at_least") is None:
            return {**values, "keep": KEEP}
        return values

    @staticmethod
    def parse(
        keep: float | None,
        max_time: str,
        seed: int,
        threads: int,
        zone: str | None,
        runtime: str = "llamacpp",
        at_least: float | None = None,
        kinds: tuple[str, ...] | None = None,
        encoder: str | None = None,
        abstain: str | None = None,
        elastic: bool = False,
    ) -> Goal:
        """What was asked for, checked as far as that goes without the task; what the metric says to `at_least`,
        `check_for` knows.

        Raises:
            GoalError: no task can be asked for it
        """
        if keep is not None and not 0 < keep <= 1:
            raise GoalError(
                f"keep is a share of the best score that was trained, between 0 and 1, not {keep:g}",
                where="`keep`",
                hint=f"`keep={keep / 100:g}`" if 2 <= keep <= 100 else f"`keep={KEEP:g}`",
            )
        check_threads(threads)
        check_ships(runtime)
        check_kinds(kinds)
        if encoder is not None:
            resolve_encoder(encoder)
        return Goal(
            keep=keep,
            at_least=at_least,
            max_seconds=seconds(max_time),
            seed=seed,
            threads=threads,
            zone=zone,
            runtime=runtime,
            kinds=kinds,
            encoder=encoder,
            abstain=None if abstain is None else Abstain.parse(abstain),
            elastic=elastic,
        )

    def check_for(self, metric: str) -> None:
        """That `at_least` can be asked of a task that `metric` scores.

        Raises:
            GoalError: it is no score of `metric` that says anything
        """
        if self.at_least is None:
            return
        asked, bits = self.at_least, metric == BITS_PER_BYTE
        if bits and not 0 < asked < BITS_OF_A_BYTE:
            raise GoalError(
                f"bits per byte of a model that has learned something are between 0 and {BITS_OF_A_BYTE:g}, and fewer "
                f"are better, not {asked:g}",
                where="`at_least`",
                hint="`at_least=1.2` (an upper bound), or `keep=0.97`",
            )
        if not bits and not 0 < asked <= 1:
            raise GoalError(
                f"{metric} is a score between 0 and 1, not {asked:g}",
                where="`at_least`",
                hint=f"`at_least={asked / 100:g}`" if 2 <= asked <= 100 else "`at_least=0.9`",
            )


def seconds(text: str) -> float:
    """Seconds of "90", "45s", "30m", "1h", "1h30m"."""
    part = r"(\d+(?:\.\d+)?)\s*(min|[smhd])\s*"
    parts = re.findall(part, text)
    if re.fullmatch(r"\d+(\.\d+)?", text.strip()):
        parts = [(text.strip(), "s")]
    elif not parts or re.sub(part, "", text).strip():
        raise GoalError(f"{text!r} is not a time", where="`max_time`", hint="`max_time=45m` (or 90s, 1h, 1h30m)")
    total = sum(float(n) * UNITS[unit] for n, unit in parts)
    if total < 10:
        raise GoalError(f"{total:g} seconds are too few to make anything", where="`max_time`", hint="`max_time=15m`")
    return total
