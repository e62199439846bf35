"""How near a runtime comes to what the processor can do at most (Williams, Waterman and Patterson 2009, "Roofline")."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lightbulb.core.figures import Figure
from lightbulb.doctor.record import Cache


class Roofline(BaseModel):
    """How near a runtime comes to what the machine can do, while it writes one token.

    Attributes:
        bytes: read for it, counted by the runtime
        operations: done for it, likewise
        read_speed: reached by reading as many bytes
        int8_speed: reached by multiplying int8 with all operands at hand
        place: the smallest cache that holds the bytes ("L2", "L3"), else "memory"
        bound_by: what takes the longer
        share: least seconds a token / measured seconds a token
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: Figure
    operations: Figure
    read_speed: Figure
    int8_speed: Figure
    place: str
    bound_by: Literal["bytes", "operations"]
    share: Figure


def measure_roofline(gguf: Path, threads: int, batch: int, context: int, seconds: Figure) -> Roofline:
    """Of a GGUF that filament decodes.

    Args:
        gguf: the file
        threads: of the processor
        batch: texts at a time
        context: tokens of each before it is gone on with
        seconds: a token took
    """
    import lightbulb_filament

    from lightbulb.doctor.streaming import caches

    model = lightbulb_filament.Model(gguf, threads=threads)
    step_bytes, operations = model.cost(context)
    step_bytes += (batch - 1) * (step_bytes - model.weight_bytes)  # weights are read once for all texts
    reading, multiplying = lightbulb_filament.probe(step_bytes, threads)
    found = caches(Path("/"))
    return assembled(step_bytes, batch, operations, reading, multiplying, place(step_bytes, threads, found), seconds)


def assembled(
    step_bytes: int, batch: int, operations: int, reading: float, multiplying: float, place: str, seconds: Figure
) -> Roofline:
    """The roofline that these numbers give.

    Args:
        step_bytes: read in a step of all texts
        batch: texts
        operations: of one token
        reading: bytes a second
        multiplying: operations a second
        place: that holds the bytes
        seconds: a token took
    """
    each = step_bytes / batch
    least = max(each / reading, operations / multiplying)
    method = "least time of a token (the longer of its bytes and its operations at their peaks) / measured time"
    share = Figure(value=None, unit="ratio", source="derived", method=f"{method}, which vanishes in the noise")
    if seconds.value is not None and min(b for b in (seconds.value, seconds.low) if b is not None) > 0:
        times = seconds.inverse()
        share = times.scaled(least, "ratio", method)
    counted, tried = "counted by the runtime", "fastest of several passes"
    return Roofline(
        bytes=Figure(value=each, unit="B", source="derived", method=counted),
        operations=Figure(value=operations, unit="operations", source="derived", method=counted),
        read_speed=Figure(value=reading / 1e9, unit="GB/s", scope="machine", method=tried),
        int8_speed=Figure(value=multiplying / 1e9, unit="GOP/s", scope="machine", method=tried),
        place=place,
        bound_by="bytes" if each / reading >= operations / multiplying else "operations",
        share=share,
    )


def place(count: int, threads: int, caches: Sequence[Cache]) -> str:
    """The smallest of the caches, small to large, that together hold `count` bytes that `threads` threads share."""
    for cache in caches:
        if count <= cache.bytes * -(-threads // cache.shared_by):
            return f"L{cache.level}"
    return "memory"
