from __future__ import annotations

import pytest

from lightbulb.core.figures import Figure
from lightbulb.doctor.record import Cache
from lightbulb.measuring.roofline import assembled, place

CACHES = [Cache(level=1, bytes=32 << 10, shared_by=1), Cache(level=2, bytes=1 << 20, shared_by=1)]
CACHES += [Cache(level=3, bytes=32 << 20, shared_by=8)]


@pytest.mark.parametrize(
    "count, threads, where",
    [
        (1000, 1, "L1"),
        (40_000, 1, "L2"),
        (40_000, 2, "L1"),
        (2 << 20, 1, "L3"),
        (2 << 20, 2, "L2"),
        (1 << 30, 2, "memory"),
    ],
)
def test_the_cache_that_holds_the_bytes(count, threads, where):
    assert place(count, threads, CACHES) == where
    assert place(count, threads, []) == "memory"


def test_the_longer_of_bytes_and_operations_bounds():
    seconds = Figure(value=0.02, low=0.01, high=0.04, unit="s")
    slow_memory = assembled(10_000_000, 1, 1000, 1e9, 1e12, "memory", seconds)
    assert slow_memory.bound_by == "bytes"
    assert [slow_memory.share.low, slow_memory.share.value, slow_memory.share.high] == pytest.approx([0.25, 0.5, 1.0])
    together = assembled(10_000_000, 10, 1_000_000, 1e9, 1e8, "memory", seconds)
    assert together.bound_by == "operations" and together.bytes.value == 1_000_000
    assert together.share.value == pytest.approx(0.5)
    assert assembled(1, 1, 1, 1e9, 1e9, "L1", Figure(value=None, unit="s", method="no")).share.value is None
