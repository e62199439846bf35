"""The terminal page of the doctor: nothing unknown is a number, nothing from the system is markup."""

from __future__ import annotations

import io

from rich.console import Console

from lightbulb.core.figures import Figure
from lightbulb.doctor.record import (
    Cache,
    DecodeBound,
    Disk,
    ElectricityGrid,
    Energy,
    Examination,
    FoundRuntime,
    FoundSensor,
    Gpu,
    Machine,
    ShortModel,
    Software,
    Speed,
    StreamSpeed,
)
from lightbulb.report.doctor import print_examination

BYTES = Figure(value=None, unit="B")
SPEED = Figure(value=30.0, low=20.0, high=30.0, unit="GB/s")
WATTS = Figure(value=4.0, low=2.0, high=8.0, unit="W", source="estimated", scope="wall")
REMARK = "CPU: only root may read. Type: sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj " + "x" * 100


def examination(**machine: object) -> Examination:
    unknown = dict.fromkeys(("processor", "watts_row", "threads_present", "quota_threads", "virtual", "load"))
    figures = dict.fromkeys(("memory", "memory_available", "memory_limit"), BYTES)
    described = {"threads_held": 2, "virtual_known_by": "nothing", "steal": Figure(value=None, unit="%")}
    described |= {"architecture": "riscv64", "system": "Some OS", "python": "CPython 3.11"}
    sensor = FoundSensor(name="package-0", scope="chip", limitations=("Counts all.",), in_sum=False)
    missing = Figure(value=None, unit="GB/s", method="no room")
    return Examination(
        machine=Machine(**{**unknown, **figures, **described, **machine}),
        energy=Energy(sensors=(sensor,), diagnostics=(REMARK,), idle=WATTS, busy=WATTS, add=("a plug",)),
        grid=ElectricityGrid(zone="World", intensity=Figure(value=473, unit="g CO2e/kWh"), hint="--zone FRA"),
        software=Software(
            runtimes=(
                FoundRuntime(name="torch", package="torch", use="trains", version=None, hint="pip install torch"),
            ),
            instruction_sets=None,
            gpus=(Gpu(vendor="NVIDIA", name=None, memory=BYTES, driver=False),),
            disks=(Disk(use="runs", folder="/[bold]here", free=Figure(value=5e9, unit="B")),),
            models=(ShortModel(name="small", path=None, bytes=BYTES, hint="pip install small"),),
        ),
        speed=Speed(
            caches=(Cache(level=2, bytes=1_000_000, shared_by=1),),
            streamed=(
                StreamSpeed(place="L2", threads=1, working_set=None, speed=missing),
                StreamSpeed(place="memory", threads=1, working_set=1, speed=SPEED),
            ),
            products=(),
            decode=(DecodeBound(model="small q8_0", bytes=10**8, tokens_per_second=missing),),
        ),
        verdict=("Joules here are estimates.",),
    )


def page(found: Examination) -> str:
    out = io.StringIO()
    print_examination(found, Console(file=out, width=60, highlight=False))
    return out.getvalue()


def test_what_is_not_known_says_so():
    lines = {line[2:16].strip(): line[16:] for line in page(examination()).splitlines() if line.startswith("  ")}
    assert lines["processor"] == "not known (riscv64)"
    assert lines["memory"] == "not known, not known available" and lines["load"] == "not known"
    assert lines["threads"] == "2 held, not known present; no quota"
    assert lines["hardware"] == "not known (nothing)" and lines["instructions"] == "not known"
    assert lines["decodes"].endswith("at most not known")
    assert "L2 not known (no room); memory 30.0\N{NO-BREAK SPACE}GB/s [20.0, 30.0]" in lines["reads"]


def test_what_to_type_stands_unbroken_on_one_line():
    text = page(examination())
    assert f"{REMARK}\n" in text
    assert "not installed: pip install torch" in text and "not installed: pip install small" in text
    assert "NVIDIA, no driver" in text and "not in the sum" in text and "flaw: Counts all." in text


def test_text_from_the_system_is_not_markup():
    text = page(examination(processor="[red]CPU[/red] [/]"))
    assert "[red]CPU[/red] [/] (riscv64)" in text and "/[bold]here" in text
