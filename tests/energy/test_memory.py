from __future__ import annotations

import sys

import pytest

from lightbulb.energy.memory import begin_peak, peak_above


@pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark is Linux's")
def test_the_peak_is_of_what_came_after_and_is_forgotten_by_the_next():
    start = begin_peak()
    if start is None:
        pytest.skip("this kernel does not let the high-water mark be reset")
    block = bytearray(80_000_000)
    del block
    assert 79e6 < peak_above(start).value < 120e6
    assert peak_above(begin_peak()).value < 40e6


def test_a_system_that_does_not_tell(tmp_path):
    assert begin_peak(tmp_path) is None
    figure = peak_above(None, tmp_path)
    assert figure.value is None and figure.method
