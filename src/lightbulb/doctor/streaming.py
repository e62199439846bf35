"""How fast this machine reads memory and its caches, and multiplies: a few seconds of numpy.

Decoding one token reads every weight once, so bytes a second bound tokens a second. The reader is `np.maximum.reduce`
over int8: numpy has wide vector loops for it on x86 and Arm, so it waits for memory, not for arithmetic. `np.sum` of
float32 does not do: its pairwise summation is slower than memory. A BLAS dot product of an array with itself comes
near, but loads each vector twice, which halves what a cache can show. One numpy call reads its block many times
through a view with stride 0, without the interpreter's lock.

As in STREAM (McCalpin 1995) an array for memory is four times the last-level caches, and the figure is the fastest of
many short repeats, because other work only ever slows one down; its interval begins at the median repeat, which is what
one gets at the moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from lightbulb.core.figures import Figure
from lightbulb.core.files import text_of
from lightbulb.doctor.machine import count_listed
from lightbulb.doctor.record import Cache, DecodeBound, Products, Speed, StreamSpeed
from lightbulb.formats.gguf.quant_types import QUANT_TYPES

PROBE_SECONDS = 0.35
LEAST_REPEATS = 5
READ_BYTES = 64 << 20  # by each thread in one repeat: milliseconds, well above the cost of waking a thread
TIMES_LAST_LEVEL = 4
UNKNOWN_CACHE_BYTES = 64 << 20  # assumed of the last level where the system does not tell
MOST_BYTES = 1 << 30
PRODUCT_WIDTH = 384  # three such float32 matrices take 1.8 MB
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
SMOLLM2_WEIGHTS = 134_515_008  # of SmolLM2-135M; the head is tied to the embedding


def measure_speed(root: Path, threads: int, available_bytes: float | None, seconds: float = PROBE_SECONDS) -> Speed:
    """Speeds of one thread and of all of them together.

    Args:
        root: where the file system begins
        threads: how many
        available_bytes: memory that may be used, of which a quarter is taken at most
        seconds: for each of at most ten probes
    """
    from threadpoolctl import threadpool_limits

    found = caches(root)
    streamed, products = [], []
    with threadpool_limits(1):  # the threads are ours: BLAS must not start its own in each
        for count in sorted({1, threads}):
            with ThreadPoolExecutor(count) as pool:
                streamed += [_cache_speed(pool, found, i, count, seconds) for i, c in enumerate(found) if c.level > 1]
                streamed.append(_memory_speed(pool, found, count, available_bytes, seconds))
                products.append(_product_speed(pool, count, seconds))
    products.append(_int8(threads))
    memory = max((s.speed for s in streamed if s.place == "memory"), key=lambda speed: speed.value or 0.0)
    return Speed(caches=found, streamed=tuple(streamed), products=tuple(products), decode=_bounds(memory))


def caches(root: Path) -> tuple[Cache, ...]:
    """Data caches of processor 0, small to large, as the system reports them; empty where it does not."""
    found = []
    for index in sorted((root / "sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size, shared = (text_of(index / f) for f in ("level", "type", "size", "shared_cpu_list"))
        if level and size and kind in ("Data", "Unified"):
            count = int(size.rstrip("KMG")) * _UNITS.get(size[-1], 1)
            found.append(Cache(level=int(level), bytes=count, shared_by=count_listed(shared) if shared else 1))
    return tuple(sorted(found, key=lambda cache: cache.level))


def _share(cache: Cache, threads: int) -> int:
    """Bytes of a cache for each of the threads that we run on it."""
    return cache.bytes // min(cache.shared_by, threads)


def _cache_speed(
    pool: ThreadPoolExecutor, found: Sequence[Cache], index: int, threads: int, seconds: float
) -> StreamSpeed:
    cache = found[index]
    place, block = f"L{cache.level}", _share(cache, threads) // 2
    if index and block < 1.5 * _share(found[index - 1], threads):
        method = f"a thread's share of {place} is hardly larger than the cache below it"
        return StreamSpeed(
            place=place, threads=threads, working_set=None, speed=Figure(value=None, unit="GB/s", method=method)
        )
    return _read_speed(pool, place, block, threads, seconds, f"half of each thread's share of {place}")


def _memory_speed(
    pool: ThreadPoolExecutor, found: Sequence[Cache], threads: int, available_bytes: float | None, seconds: float
) -> StreamSpeed:
    last = found[-1] if found else Cache(level=0, bytes=UNKNOWN_CACHE_BYTES, shared_by=threads)
    all_caches = last.bytes * -(-threads // last.shared_by)
    room = MOST_BYTES if available_bytes is None else min(MOST_BYTES, int(available_bytes / 4))
    total = min(room, max(READ_BYTES, TIMES_LAST_LEVEL * all_caches))
    if total < 2 * all_caches:
        method = f"no room for an array of twice the last-level caches ({2 * all_caches >> 20} MB)"
        return StreamSpeed(
            place="memory", threads=threads, working_set=None, speed=Figure(value=None, unit="GB/s", method=method)
        )
    what = f"{total / all_caches:.2g} times the last-level caches{'' if found else ' (size assumed)'}"
    return _read_speed(pool, "memory", total // threads, threads, seconds, what)


def _read_speed(
    pool: ThreadPoolExecutor, place: str, block_bytes: int, threads: int, seconds: float, what: str
) -> StreamSpeed:
    """Each thread fills a block of its own, so that it lies in the memory next to it, and reads it again and again."""
    rounds = max(1, -(-READ_BYTES // block_bytes))
    blocks = pool.map(lambda _: np.ones(block_bytes, np.int8), range(threads))
    views = [np.broadcast_to(block, (rounds, block_bytes)) for block in blocks]
    durations = _repeat(pool, [partial(np.maximum.reduce, view, axis=1) for view in views], seconds)
    gigabytes = threads * rounds * block_bytes / 1e9
    speed = _fastest(gigabytes, durations, "GB/s", f"numpy reads {what}, {_threads(threads)}")
    return StreamSpeed(place=place, threads=threads, working_set=threads * block_bytes, speed=speed)


def _product_speed(pool: ThreadPoolExecutor, threads: int, seconds: float) -> Products:
    n = PRODUCT_WIDTH
    matrices = [(np.full((n, n), 0.5, np.float32), np.empty((n, n), np.float32)) for _ in range(threads)]
    durations = _repeat(pool, [partial(np.matmul, x, x, out=out) for x, out in matrices], seconds)
    what = f"products of {n} x {n} in numpy's BLAS, {_threads(threads)}"
    return Products(
        number="float32", threads=threads, speed=_fastest(threads * 2 * n**3 / 1e9, durations, "GFLOP/s", what)
    )


def _int8(threads: int) -> Products:
    try:
        from lightbulb_filament import probe
    except ImportError:
        method = "numpy has no fast product of int8; `make filament` brings one"
        return Products(number="int8", threads=threads, speed=Figure(value=None, unit="GOP/s", method=method))
    _, operations = probe(READ_BYTES, threads)
    method = f"products of bytes at hand in filament, {_threads(threads)}; the fastest of several passes"
    speed = Figure(value=operations / 1e9, unit="GOP/s", scope="machine", method=method)
    return Products(number="int8", threads=threads, speed=speed)


def _repeat(pool: ThreadPoolExecutor, jobs: Sequence[Callable[[], object]], seconds: float) -> list[float]:
    """Wall seconds of each repeat, in which all jobs run side by side. The first repeat warms up and is dropped."""
    durations: list[float] = []
    end = time.perf_counter() + seconds
    while len(durations) <= LEAST_REPEATS or time.perf_counter() < end:
        begin = time.perf_counter()
        for done in [pool.submit(job) for job in jobs]:
            done.result()
        durations.append(time.perf_counter() - begin)
    return durations[1:]


def _fastest(amount: float, durations: Sequence[float], unit: str, what: str) -> Figure:
    best = amount / min(durations)
    method = f"{what}; fastest of {len(durations)} repeats, interval from the median one"
    return Figure(value=best, low=amount / median(durations), high=best, unit=unit, scope="machine", method=method)


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"


def _bounds(memory: Figure) -> tuple[DecodeBound, ...]:
    """Tokens a second of SmolLM2-135M if reading its weights were all that decoding takes."""
    bounds = []
    for name in ("f16", "q8_0", "q4_0"):
        size = round(SMOLLM2_WEIGHTS * QUANT_TYPES[name].bits_per_weight / 8)
        method = "upper bound: speed of memory / bytes of the weights, one sequence at a time"
        figure = memory.scaled(1e9 / size, "tokens/s", method if memory.value is not None else memory.method)
        bounds.append(DecodeBound(model=f"smollm2-135m {name}", bytes=size, tokens_per_second=figure))
    return tuple(bounds)
