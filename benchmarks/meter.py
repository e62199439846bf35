"""What energy meters say about the same work on this machine, and what they cost.

    python benchmarks/meter.py --venvs ../meters [--seconds 20] [--repeats 3] [--write]

lightbulb, CodeCarbon, carbontracker, Zeus and pyJoules each measure a sleep, one busy thread and two, for the same
seconds, in random order, each run in a process of its own, with the tool's defaults (CodeCarbon's offline tracker, so
that no look-up is timed). Runs without a meter stand beside them for the slowdown. Who crashes gets a row too. --write
puts it into docs/benchmarks.md. --venvs is a folder with a virtual environment for each tool; none needs torch:

    for tool in codecarbon==3.3.2 carbontracker==2.4.7 zeus==0.16.0 pyJoules==0.5.1; do
        name=$(echo "${tool%%==*}" | tr A-Z a-z)
        python -m venv ../meters/$name && ../meters/$name/bin/pip install $tool
    done

The busy work is SHA-256 over blocks of 256 KiB: it computes without the interpreter's lock and comes back to it some
thousand times a second, as training does. A sampler's CPU time is that of the process less that of the work's threads.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import random
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# The tools' own interpreters run this file too: what is not of the standard library is imported where it is used.
ROOT = Path(__file__).resolve().parents[1]
HEADING = "## The meter beside others"
WORKLOADS = {"asleep": 0, "one thread": 1, "two threads": 2}
BLOCK = bytes(256 << 10)
ANSWER = "answer: "
PATIENCE_SECONDS = 300.0  # for starting and stopping

Said = dict[str, Any]  # joules, low, high, source
Row = dict[str, Any]  # one run of one tool; "error" in place of the rest where it failed


# Each tool is started, yields, and is asked what it has to say.
def none() -> Iterator[Said]:
    yield {}
    yield {}


def lightbulb() -> Iterator[Said]:
    from lightbulb.energy.standalone import meter

    with meter(quiet=True) as m:
        yield {}
    joules = m.joules
    source = f"{joules.source}, {joules.scope}: {joules.method.split(' (')[0]}"
    yield {"joules": joules.value, "low": joules.low, "high": joules.high, "source": source}


def codecarbon() -> Iterator[Said]:
    from codecarbon import OfflineEmissionsTracker

    tracker = OfflineEmissionsTracker(country_iso_code="FRA", save_to_file=False, log_level="error")
    tracker.start()
    yield {}
    tracker.stop()
    data = tracker.final_emissions_data
    watts = f"CPU {data.cpu_power:.3g} W, memory {data.ram_power:.3g} W, GPU {data.gpu_power:.3g} W"
    parts = "; ".join(str(part) for part in tracker._conf["hardware"])
    yield {"joules": data.energy_consumed * 3.6e6, "source": f"{parts}: {watts}"}


def carbontracker() -> Iterator[Said]:
    from carbontracker import constants
    from carbontracker.tracker import CarbonTracker

    tracker = CarbonTracker(epochs=1, epochs_before_pred=0, verbose=0)
    thread = tracker.tracker
    tracker.epoch_start()
    yield {}
    tracker.epoch_end()  # of the only epoch: it stops and forgets its thread
    joules = float(thread.total_energy_per_epoch().sum()) * 3.6e6
    told = [(type(c.handler).__name__, [w for usage in c.power_usages for w in usage]) for c in thread.components]
    parts = [f"{name} {watts[-1]:.3g} W" for name, watts in told if watts]
    yield {"joules": joules, "source": f"{', '.join(parts) or 'nothing'}, times a PUE of {constants.PUE_2023}"}


def zeus() -> Iterator[Said]:
    from zeus.monitor import ZeusMonitor

    monitor = ZeusMonitor()
    monitor.begin_window("work")
    yield {}
    told = monitor.end_window("work")
    parts = {"GPU": told.gpu_energy, "CPU": told.cpu_energy, "DRAM": told.dram_energy}
    read = [name for name, joules in parts.items() if joules]
    joules = told.total_energy + sum(sum((parts[name] or {}).values()) for name in ("CPU", "DRAM"))
    yield {"joules": joules, "source": " + ".join(read) or "no device found"}


def pyjoules() -> Iterator[Said]:
    from pyJoules.energy_meter import EnergyContext
    from pyJoules.handler import EnergyHandler

    class Keep(EnergyHandler):
        def process(self, trace: Any) -> None:
            self.energy = trace[0].energy

    keep = Keep()
    with EnergyContext(handler=keep):
        yield {}
    used = {name: value for name, value in keep.energy.items() if name.startswith(("package", "dram", "nvidia"))}
    joules = sum(value / (1e3 if name.startswith("nvidia") else 1e6) for name, value in used.items())  # mJ, µJ
    yield {"joules": joules, "source": " + ".join(used)}


TOOLS: dict[str, Callable[[], Iterator[Said]]] = {
    f.__name__: f for f in (none, lightbulb, codecarbon, carbontracker, zeus, pyjoules)
}


def measure(tool: str, workload: str, seconds: float) -> Row:
    """One run, in this process. Times are seconds; `sampler` is a share of one core."""
    stage, begin = "start", time.perf_counter()
    try:
        running = TOOLS[tool]()
        next(running)
        started, cpu = time.perf_counter(), cpu_seconds()
        rounds, own = work(WORKLOADS[workload], seconds)
        ended, sampler = time.perf_counter(), cpu_seconds() - cpu - own
        stage = "stop"
        said = next(running)
        stopped = time.perf_counter()
    except (Exception, SystemExit) as e:
        text = (str(e).strip() or "no message").splitlines()[0]
        return {"error": f"crashed: {type(e).__name__} at {stage}: {text}", "version": version(tool)}
    return said | {
        "version": version(tool),
        "wall": ended - started,
        "start": started - begin,
        "stop": stopped - ended,
        "sampler": max(0.0, sampler) / (ended - started),
        "rate": rounds / (ended - started),
    }


def work(threads: int, seconds: float) -> tuple[int, float]:
    """(rounds, CPU seconds of the threads that did them)."""
    if threads == 0:
        time.sleep(seconds)
        return 0, 0.0
    done: list[tuple[int, float]] = []

    def hash_on() -> None:
        end, rounds = time.perf_counter() + seconds, 0
        while time.perf_counter() < end:
            hashlib.sha256(BLOCK).digest()
            rounds += 1
        done.append((rounds, time.thread_time()))

    crew = [threading.Thread(target=hash_on) for _ in range(threads)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    return sum(rounds for rounds, _ in done), sum(cpu for _, cpu in done)


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(p.ru_utime + p.ru_stime for p in parts)


def version(tool: str) -> str:
    try:
        return importlib.metadata.version(tool)
    except importlib.metadata.PackageNotFoundError:
        return ""


def main() -> int:
    if sys.argv[1:2] == ["--worker"]:
        row = measure(sys.argv[2], sys.argv[3], float(sys.argv[4]))
        print("\n" + ANSWER + json.dumps(row), flush=True)
        return 0
    sys.path.insert(0, str(ROOT / "src"))
    asked = arguments()
    section = provenance(asked, *run_all(asked))
    print(f"\n{section}")
    if asked.write:
        from sections import put

        put("meter", section, HEADING)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venvs", type=Path, required=True, help="folder with a virtual environment for each tool")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between runs")
    parser.add_argument("--seed", type=int, default=0, help="of the order")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    return parser.parse_args()


def run_all(asked: argparse.Namespace) -> tuple[list[Row], str]:
    """Every run, and who else was at work meanwhile."""
    rows, rng, begin, clock = [], random.Random(asked.seed), machine_times(), time.perf_counter()
    for repeat in range(asked.repeats):
        runs = [(tool, workload) for tool in TOOLS for workload in WORKLOADS if (tool, workload) != ("none", "asleep")]
        rng.shuffle(runs)
        for at, (tool, workload) in enumerate(runs):
            time.sleep(asked.pause)
            row = run_one(asked, tool, workload) | {"tool": tool, "workload": workload, "repeat": repeat}
            rows.append(row)
            told = row.get("error") or f"{row.get('joules')} J"
            print(f"{repeat + 1}/{asked.repeats} {at + 1}/{len(runs)} {tool}, {workload}: {told}", file=sys.stderr)
    if begin is None or (end := machine_times()) is None:
        return rows, "how busy others were is not known"
    others, stolen = ((b - a) / (time.perf_counter() - clock) for a, b in zip(begin, end, strict=True))
    return rows, f"others kept {max(0.0, others):.2f} threads busy, the host stole {stolen:.2f}"


def machine_times() -> tuple[float, float] | None:
    """CPU seconds of everyone but us, and those that other virtual machines stole: /proc/stat, proc(5)."""
    try:
        fields = Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq, stolen = (int(x) / os.sysconf("SC_CLK_TCK") for x in fields)
    return user + nice + system + irq + softirq - cpu_seconds(), stolen


def run_one(asked: argparse.Namespace, tool: str, workload: str) -> Row:
    python = asked.venvs.absolute() / tool / "bin" / "python"
    if tool in ("none", "lightbulb"):
        python = Path(sys.executable)
    if not python.exists():
        return {"error": "not installed", "version": ""}
    command = [str(python), str(Path(__file__).resolve()), "--worker", tool, workload, str(asked.seconds)]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src") if tool == "lightbulb" else ""}
    with tempfile.TemporaryDirectory() as folder:  # some leave files where they run
        try:
            done = subprocess.run(
                command, cwd=folder, env=env, capture_output=True, text=True, timeout=asked.seconds + PATIENCE_SECONDS
            )
        except subprocess.TimeoutExpired:
            return {"error": f"crashed: no answer within {PATIENCE_SECONDS:g} s of the work's end", "version": ""}
    for line in reversed(done.stdout.splitlines()):
        if line.startswith(ANSWER):
            return dict(json.loads(line.removeprefix(ANSWER)))
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return {"error": f"crashed: exit code {done.returncode}: {last}", "version": ""}


def render(rows: list[Row]) -> str:
    """Both tables: what each tool says, and what it costs."""
    lines = [
        "| what it says | asleep | one thread | two threads | interval | source that it claims |",
        "|---|--:|--:|--:|---|---|",
        *(says(tool, [r for r in rows if r["tool"] == tool]) for tool in TOOLS if tool != "none"),
        "",
        "| what it costs | start | stop | CPU asleep | CPU at work | slower, one thread | slower, two threads |",
        "|---|--:|--:|--:|--:|--:|--:|",
        *(costs(tool, rows) for tool in TOOLS if tool != "none"),
        "",
        spread(rows),
    ]
    return "\n".join(lines)


def says(tool: str, rows: list[Row]) -> str:
    """Watts and joules: medians over the repeats. How a run failed is told in the last column."""
    name = f"{tool} {next((r['version'] for r in rows if r['version']), '')}".strip()
    cells = []
    for workload in WORKLOADS:
        told = [r for r in rows if r["workload"] == workload and "error" not in r]
        cells.append(watts_and_joules(told) if told else "")
    answered = [r for r in rows if "error" not in r]
    errors = sorted({r["error"] for r in rows if "error" in r})
    interval = "yes" if any(r.get("low") is not None for r in answered) else "no" if answered else ""
    claims = [answered[-1]["source"]] if answered else []
    return f"| {name} | {' | '.join(cells)} | {interval} | {plain('; '.join(claims + errors))} |"


def watts_and_joules(rows: list[Row]) -> str:
    from lightbulb.core import units
    from lightbulb.core.figures import Figure

    if any(r["joules"] is None for r in rows):
        return units.NOT_MEASURED

    def median(side: str) -> float | None:
        values = [r.get(side) for r in rows]
        return None if None in values else statistics.median(r[side] / r["wall"] for r in rows)

    watts = Figure(value=median("joules"), low=median("low"), high=median("high"), unit="W")
    return f"{units.text(watts)}, {units.quantity(statistics.median(r['joules'] for r in rows), 'J')}"


def costs(tool: str, rows: list[Row]) -> str:
    """Medians [least, most] over the runs that ended."""
    own = [r for r in rows if r["tool"] == tool and "error" not in r]
    if not own:
        return f"| {tool} |" + " |" * 6
    rest = [r for r in own if r["workload"] == "asleep"]
    busy = [r for r in own if r["workload"] != "asleep"]
    cells = [
        cell([r["start"] for r in own], "s"),
        cell([r["stop"] for r in own], "s"),
        cell([100 * r["sampler"] for r in rest], "%"),
        cell([100 * r["sampler"] for r in busy], "%"),
        *(cell(slowdowns(tool, workload, rows), "%") for workload in ("one thread", "two threads")),
    ]
    return f"| {tool} | {' | '.join(cells)} |"


def slowdowns(tool: str, workload: str, rows: list[Row]) -> list[float]:
    """Per cent fewer rounds a second than without a meter in the same repeat."""
    rates = {(r["tool"], r["repeat"]): r["rate"] for r in rows if r["workload"] == workload and "error" not in r}
    pairs = [(rate, rates.get(("none", repeat))) for (name, repeat), rate in rates.items() if name == tool]
    return [100 * (1 - rate / alone) for rate, alone in pairs if alone]


def cell(values: list[float], unit: str) -> str:
    from lightbulb.core import units
    from lightbulb.core.figures import Figure

    if not values:
        return units.NOT_MEASURED
    low, high = (min(values), max(values)) if len(values) > 1 else (None, None)
    return units.text(Figure(value=statistics.median(values), low=low, high=high, unit=unit))


def spread(rows: list[Row]) -> str:
    """How far apart the tools are on one busy thread."""
    watts: dict[str, list[float]] = {}
    for r in rows:
        if r["workload"] == "one thread" and r.get("joules") is not None:
            watts.setdefault(r["tool"], []).append(r["joules"] / r["wall"])
    said = sorted((statistics.median(values), tool) for tool, values in watts.items())
    above = [pair for pair in said if pair[0] > 0]
    zeros = [tool for value, tool in said if value == 0]
    text = f"On one busy thread {', '.join(zeros)} said 0 W. " if zeros else ""
    if len(above) > 1:
        (least, least_tool), (most, most_tool) = above[0], above[-1]
        text += (
            f"Of those that said more than 0 W about one busy thread, {most_tool} said {most / least:.3g} times what "
            f"{least_tool} said."
        )
    return text


def plain(text: str) -> str:
    """Text that breaks no table."""
    return " ".join(text.split()).replace("|", "\\|")


def provenance(asked: argparse.Namespace, rows: list[Row], others: str) -> str:
    from datetime import date

    from sections import commit

    from lightbulb.energy.processor import processor_name

    command = [f"--{name}={getattr(asked, name)}" for name in ("venvs", "seconds", "repeats", "pause", "seed")]
    text = shlex.join(["python", "benchmarks/meter.py", *command, "--write"])
    machine = f"{processor_name()}, {os.cpu_count()} threads"
    return f"```\n{text}\n```\nRun: {date.today()}, commit {commit()}. Machine: {machine}; {others}.\n\n{render(rows)}"


if __name__ == "__main__":
    sys.exit(main())
