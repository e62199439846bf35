"""What the meter itself costs: CPU seconds of opening and closing a window, and of the sampler while one is open.

    python benchmarks/meter_overhead.py [--seconds 10]

Four meters: without a counter (the estimate), the null sensor, a replayed series, and a synthetic RAPL tree of two
sockets (packages, cores, dram; ordinary files, which read about as fast as sysfs) with a polled rail at 10 Hz. CPU time
and not wall time is counted, so that a busy machine does not matter. Wanted: under 1 ms a window, under 0.5% of a core.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from lightbulb.energy.meter import Meter
from lightbulb.energy.sensors import Sensor, rapl
from lightbulb.energy.sensors.base import read_number
from lightbulb.energy.sensors.readers import PolledSensor
from lightbulb.energy.sensors.replay import NullSensor, ReplaySensor

MOST_WINDOW_SECONDS, MOST_SAMPLER_SHARE = 1e-3, 5e-3
WINDOWS = 500


def synthetic_rapl(root: Path) -> tuple[Sensor, ...]:
    """Seven domains of two sockets, and a file of microwatts polled ten times a second."""
    zones = {f"intel-rapl:{socket}": f"package-{socket}" for socket in (0, 1)}
    zones |= {f"intel-rapl:{s}:{n}": name for s in (0, 1) for n, name in enumerate(("core", "dram"))}
    zones["intel-rapl:2"] = "psys"
    for number, (zone, name) in enumerate(zones.items()):
        folder = root / "sys/class/powercap" / zone
        folder.mkdir(parents=True)
        for file, value in (("name", name), ("max_energy_range_uj", 262143328850), ("energy_uj", 10**9 * number)):
            (folder / file).write_text(f"{value}\n")
    rail = root / "power1_input"
    rail.write_text("20000000\n")
    polled = PolledSensor("rail", "chip", ("Synthetic.",), lambda: read_number(rail) / 1e6)
    return (*rapl.find(root).sensors, polled)


def window_seconds(meter: Meter) -> float:
    """CPU seconds of this thread to open and close one window, inside another so that no thread is started."""
    with meter.window("outer"):
        begin = time.thread_time()
        for _ in range(WINDOWS):
            with meter.window("part"):
                pass
        return (time.thread_time() - begin) / WINDOWS


def first_window_seconds(meter: Meter) -> float:
    """CPU seconds of this thread for an outermost window, which starts the sampler."""
    begin = time.thread_time()
    for _ in range(WINDOWS // 10):
        with meter.window("outer"):
            pass
    return (time.thread_time() - begin) / (WINDOWS // 10)


def sampler_share(meter: Meter, seconds: float) -> float:
    """CPU seconds of the process per second while it only waits inside a window."""
    with meter.window("idle"):
        time.sleep(0.1)
        begin, cpu = time.perf_counter(), time.process_time()
        time.sleep(seconds)
        return (time.process_time() - cpu) / (time.perf_counter() - begin)


def measure(sensors: Sequence[Sensor], seconds: float) -> tuple[float, float, float]:
    meter = Meter(sensors)
    figures = window_seconds(meter), first_window_seconds(meter), sampler_share(meter, seconds)
    meter.close()
    return figures


def render(rows: dict[str, tuple[float, float, float]]) -> str:
    lines = [
        f"{platform.processor() or platform.machine()}, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, {date.today()}",
        "",
        "| meter | a window, µs of CPU | an outermost window, µs of CPU | sampler, % of a core | within the limits |",
        "|---|---|---|---|---|",
    ]
    for name, (window, first, share) in rows.items():
        good = max(window, first) < MOST_WINDOW_SECONDS and share < MOST_SAMPLER_SHARE
        lines.append(f"| {name} | {window * 1e6:.0f} | {first * 1e6:.0f} | {share:.3%} | {'yes' if good else 'NO'} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="how long the sampler is watched")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        meters: dict[str, Sequence[Sensor]] = {
            "no counter (estimate)": (),
            "null": (NullSensor(),),
            "replay": (ReplaySensor([(0.0, 0.0), (1e12, 1e12)], time.perf_counter),),
            "RAPL tree and a rail at 10 Hz": synthetic_rapl(Path(folder)),
        }
        print(render({name: measure(sensors, seconds) for name, sensors in meters.items()}))


if __name__ == "__main__":
    main()
