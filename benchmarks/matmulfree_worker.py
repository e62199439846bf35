"""A process of benchmarks/matmulfree_speed.py: one model in one runtime, one context; times itself."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from filament_worker import ENGINES, Engine, Ours, timed

WARM = 8  # tokens written before any is timed
TICKS = os.sysconf("SC_CLK_TCK")


def main(runtime: str, path: str, threads: str, context: str, windows: str, written: str) -> int:
    """Prints what reading `context` tokens took, then `windows` times `written` of them written after it."""
    from lightbulb.energy.memory import begin_peak, peak_above
    from lightbulb.energy.meter import Meter

    read, each, times = int(context), int(written), int(windows)
    start = begin_peak()
    engine: Engine = ENGINES[runtime](path, int(threads), read + times * each + WARM + 8)
    meter, rng = Meter(threads=int(threads)), random.Random(0)
    prompt = [rng.randrange(259, 32000) for _ in range(read)]
    found: dict[str, Any] = {"write": []}
    took: dict[str, Any] = {}
    begun = other_work()
    with timed(meter, took, "read", read):
        engine.read(prompt)
    found["read"] = took["read"]
    engine.write(WARM)
    for _ in range(times):
        with timed(meter, took, "write", each):
            engine.write(each)
        fastest = {"fastest": engine.fastest} if isinstance(engine, Ours) else {}
        found["write"].append(took["write"] | fastest)
    found["others"] = cores_taken(begun, other_work())
    found["peak"] = peak_above(start).value
    found["least"] = engine.least(read + times * each // 2) if isinstance(engine, Ours) else None  # takes memory, too
    meter.close()
    print(json.dumps(found), flush=True)
    return 0


def other_work() -> tuple[float, float]:
    """(now, seconds that processors worked on other processes, or were taken from this machine)."""
    times = [int(n) / TICKS for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    user, nice, system, _, _, irq, softirq, steal = times[:8]
    return time.perf_counter(), user + nice + system + irq + softirq + steal - time.process_time()


def cores_taken(before: tuple[float, float], after: tuple[float, float]) -> float:
    return (after[1] - before[1]) / (after[0] - before[0])


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
