"""What `lightbulb doctor` prints: a section for each thing it looked at, then what follows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rich.console import Console
from rich.text import Text

from lightbulb.core import units
from lightbulb.core.figures import Figure
from lightbulb.doctor.record import (
    ElectricityGrid,
    Energy,
    Examination,
    Gpu,
    Machine,
    Products,
    Software,
    Speed,
    StreamSpeed,
)

NOT_KNOWN = "not known"
_LABEL_WIDTH = 14
Line = tuple[str, str]


def print_examination(found: Examination, console: Console) -> None:
    """Lines are not wrapped, so that the commands in them can be copied. Text from the system is never markup."""
    sections = (
        ("Machine", _machine(found.machine)),
        ("Energy", _energy(found.energy)),
        ("Carbon", _grid(found.grid)),
        ("What runs", _software(found.software)),
        ("Speed: fastest repeat [median, fastest]", _speed(found.speed)),
    )
    for title, lines in sections:
        console.print(Text(title, style="bold"))
        for label, text in lines:
            console.print(Text.assemble((f"  {label:<{_LABEL_WIDTH}}", "dim"), text), soft_wrap=True)
    console.print(Text("What follows", style="bold"))
    for sentence in found.verdict:
        console.print(Text(f"  {sentence}"), soft_wrap=True)


def _machine(machine: Machine) -> Iterator[Line]:
    yield "processor", f"{machine.processor or NOT_KNOWN} ({machine.architecture})"
    yield "watts as", machine.watts_from or "a processor of unknown family: all families together, a wider interval"
    yield "threads", _threads(machine)
    limit = f"; this process may use {units.text(machine.memory_limit)}" if machine.memory_limit.value else ""
    yield "memory", f"{_known(machine.memory)}, {_known(machine.memory_available)} available{limit}"
    kind = {True: "virtual machine", False: "no virtual machine", None: NOT_KNOWN}[machine.virtual]
    yield "hardware", f"{kind} ({machine.virtual_known_by})"
    yield "steal time", f"{_known(machine.steal)} ({machine.steal.method})"
    yield "load", f"{machine.load:.2f} before the doctor's own work" if machine.load is not None else NOT_KNOWN
    yield "system", f"{machine.system}; {machine.python}"


def _threads(machine: Machine) -> str:
    present = NOT_KNOWN if machine.threads_present is None else str(machine.threads_present)
    quota = "no quota" if machine.quota_threads is None else f"quota {machine.quota_threads:.3g}"
    return f"{machine.threads_held} held, {present} present; {quota}"


def _energy(energy: Energy) -> Iterator[Line]:
    if not energy.sensors:
        yield "sensors", "none: joules are estimated"
    for sensor in energy.sensors:
        yield sensor.name, f"scope {sensor.scope}{'' if sensor.in_sum else '; not in the sum: another holds it'}"
        yield from (("", f"flaw: {limitation}") for limitation in sensor.limitations)
    yield from (("cannot read", diagnostic) for diagnostic in energy.diagnostics)
    yield (
        "estimate",
        f"idle {_known(energy.idle)}, all threads busy {_known(energy.busy)}, at the wall, for the threads held",
    )
    yield from (("can be added", source) for source in energy.add)


def _grid(grid: ElectricityGrid) -> Iterator[Line]:
    yield "zone", f"{grid.zone}: {_known(grid.intensity)}; to name yours: {grid.hint}"


def _software(software: Software) -> Iterator[Line]:
    for runtime in software.runtimes:
        missing = "not installed" + (f": {runtime.hint}" if runtime.hint else "")
        yield runtime.name, f"{runtime.version or missing} ({runtime.use})"
    yield "instructions", _instruction_sets(software.instruction_sets)
    yield "GPUs", "; ".join(_gpu(gpu) for gpu in software.gpus) or "none found"
    for disk in software.disks:
        yield "disk", f"{_known(disk.free)} free for {disk.use} ({disk.folder})"
    for model in software.models:
        there = f"{_known(model.bytes)}, {model.path}"
        yield model.name, there if model.path else f"not installed: {model.hint}"


def _instruction_sets(found: dict[str, bool] | None) -> str:
    if found is None:
        return NOT_KNOWN
    absent = ", ".join(name for name, has in found.items() if not has)
    present = ", ".join(name for name, has in found.items() if has) or "none of those that matter"
    return present + (f"; not {absent}" if absent else "")


def _gpu(gpu: Gpu) -> str:
    memory = f", {units.text(gpu.memory)}" if gpu.memory.value else ""
    return f"{gpu.vendor} {gpu.name or ''}".strip() + memory + ("" if gpu.driver else ", no driver")


def _speed(speed: Speed) -> Iterator[Line]:
    sizes = ", ".join(f"L{c.level} {units.quantity(c.bytes, 'B')} for {c.shared_by} thread(s)" for c in speed.caches)
    yield "caches", sizes or NOT_KNOWN
    for count, group in groupby(speed.streamed, key=lambda s: s.threads):
        yield "reads", f"{_thread_count(count)}: " + "; ".join(f"{s.place} {_why(s)}" for s in group)
    for product in speed.products:
        yield product.number, f"{_thread_count(product.threads)}: {_why(product)}"
    for bound in speed.decode:
        size = units.quantity(bound.bytes, "B")
        yield "decodes", f"{bound.model} ({size}): at most {_known(bound.tokens_per_second)}"


def _thread_count(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _why(measured: StreamSpeed | Products) -> str:
    figure = measured.speed
    return units.text(figure) if figure.value is not None else f"{NOT_KNOWN} ({figure.method})"


def _known(figure: Figure) -> str:
    return NOT_KNOWN if figure.value is None else units.text(figure)
