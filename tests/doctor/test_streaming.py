"""What is read is what is claimed, and what cannot be measured is not."""

from __future__ import annotations

import sys
import time

import pytest
from machines import cache, server, write

from lightbulb.doctor import streaming

AVAILABLE = 4e9


@pytest.fixture
def caught(monkeypatch):
    """Bytes that the jobs of each reading would touch, each job being taken for a repeat of one second."""
    touched = []

    def repeat(pool, jobs, seconds):
        touched.append([job.args[0].nbytes for job in jobs])
        return [2.0, 1.0, 4.0]

    monkeypatch.setattr(streaming, "_repeat", repeat)
    return touched


def test_data_caches_small_to_large(tmp_path):
    found = streaming.caches(server(tmp_path))
    assert [(c.level, c.bytes, c.shared_by) for c in found] == [(1, 32 << 10, 1), (2, 128 << 10, 1), (3, 1 << 20, 4)]
    assert streaming.caches(tmp_path / "none") == ()


def test_speed_is_bytes_of_the_views_over_the_fastest_repeat(tmp_path, caught):
    speed = streaming.measure_speed(server(tmp_path), 2, AVAILABLE, 0.0)
    readings = [nbytes for nbytes in caught if nbytes[0] != streaming.PRODUCT_WIDTH**2 * 4]
    assert [(s.place, s.threads) for s in speed.streamed] == [
        (place, n) for n in (1, 2) for place in ("L2", "L3", "memory")
    ]
    for streamed, nbytes in zip(speed.streamed, readings, strict=True):
        assert len(nbytes) == streamed.threads and min(nbytes) >= streaming.READ_BYTES / streamed.threads
        assert streamed.speed.value == streamed.speed.high == pytest.approx(sum(nbytes) / 1e9)
        assert streamed.speed.low == pytest.approx(sum(nbytes) / 2e9)  # the median repeat
        assert streamed.speed.source == "measured"


def test_working_sets_lie_in_the_cache_that_they_name(tmp_path, caught):
    speed = streaming.measure_speed(server(tmp_path), 2, AVAILABLE, 0.0)
    sets = {(s.place, s.threads): s.working_set for s in speed.streamed}
    assert sets["L2", 1] == 64 << 10 and sets["L2", 2] == 128 << 10  # an L2 for each thread
    assert sets["L3", 1] == sets["L3", 2] == 512 << 10  # one L3 for both
    assert sets["memory", 1] >= 4 << 20 and sets["memory", 2] >= 4 << 20


def test_a_share_no_larger_than_the_cache_below_is_not_measured(tmp_path, caught):
    write(server(tmp_path), cache(3, 3, "Unified", "128K", "0-3"))
    level_3 = [s for s in streaming.measure_speed(tmp_path, 2, AVAILABLE, 0.0).streamed if s.place == "L3"]
    assert all(s.speed.value is None and "share of L3" in s.speed.method for s in level_3)


def test_without_room_for_the_array_memory_is_not_measured(tmp_path, caught):
    speed = streaming.measure_speed(server(tmp_path), 1, 4e6, 0.0)
    (memory,) = [s for s in speed.streamed if s.place == "memory"]
    assert memory.speed.value is None and "no room" in memory.speed.method
    assert all(b.tokens_per_second.value is None for b in speed.decode)


def test_where_caches_are_not_known_their_size_is_assumed_and_said(tmp_path, caught, monkeypatch):
    monkeypatch.setattr(streaming, "UNKNOWN_CACHE_BYTES", 1 << 20)
    speed = streaming.measure_speed(tmp_path, 1, None, 0.0)
    assert speed.caches == () and [s.place for s in speed.streamed] == ["memory"]
    assert "size assumed" in speed.streamed[0].speed.method


@pytest.mark.parametrize("built", [True, False])
def test_int8_is_not_measured_rather_than_wrong(tmp_path, caught, built, monkeypatch):
    """Measured where filament is built."""
    if built:
        pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
    else:
        monkeypatch.setitem(sys.modules, "lightbulb_filament", None)
    numbers = {p.number: p.speed.value for p in streaming.measure_speed(server(tmp_path), 1, AVAILABLE, 0.0).products}
    assert numbers["float32"] == pytest.approx(2 * streaming.PRODUCT_WIDTH**3 / 1e9)
    assert (numbers["int8"] is not None) == built


def test_decoding_is_bound_by_bytes_a_second(tmp_path, caught):
    speed = streaming.measure_speed(server(tmp_path), 2, AVAILABLE, 0.0)
    memory = max(s.speed.value for s in speed.streamed if s.place == "memory")
    for bound in speed.decode:
        figure = bound.tokens_per_second
        assert figure.value * bound.bytes == pytest.approx(memory * 1e9) and figure.source == "derived"
    assert [b.bytes for b in speed.decode] == sorted((b.bytes for b in speed.decode), reverse=True)


def test_the_size_of_smollm2_is_that_of_its_shape():
    width, layers, vocabulary, key_value, feed_forward = 576, 30, 49_152, 192, 1536
    layer = 2 * width * width + 2 * width * key_value + 3 * width * feed_forward + 2 * width
    assert vocabulary * width + layers * layer + width == streaming.SMOLLM2_WEIGHTS


def test_repeats_run_side_by_side_and_the_warm_up_is_dropped():
    calls = []
    with streaming.ThreadPoolExecutor(2) as pool:
        begin = time.perf_counter()
        durations = streaming._repeat(pool, [lambda: (calls.append(1), time.sleep(0.01))] * 2, 0.0)
        wall = time.perf_counter() - begin
    assert len(durations) == streaming.LEAST_REPEATS and len(calls) == 2 * (streaming.LEAST_REPEATS + 1)
    assert min(durations) >= 0.01 and sum(durations) < wall
