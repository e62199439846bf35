"""The estimate is monotone, always has an interval, and knows the usual server processors."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightbulb.energy.estimate import HALF_LOAD_SHARE, POOLED, coverage, cpu_family, estimate_joules, watts_per_thread
from lightbulb.energy.processor import threads_held
from lightbulb.energy.tables import date_taken, read_table
from lightbulb.errors import UserError

ROWS = {
    row["family"]: {k: float(v) for k, v in row.items() if k != "family"} for row in read_table("cpu_watts_per_thread")
}
families = st.sampled_from([*ROWS, POOLED])
seconds = st.just(0.0) | st.floats(1e-9, 1e6)


def x86(vendor: str, family: int, model: int, stepping: int = 1) -> str:
    block = (
        f"vendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: some: thing\n"
        f"stepping\t: {stepping}\n\n"
    )
    return f"processor\t: 0\n{block}processor\t: 1\n{block}"


@pytest.mark.parametrize(
    ("text", "family"),
    [
        (x86("AuthenticAMD", 23, 1), "amd-epyc-gen1"),
        (x86("AuthenticAMD", 23, 0x31), "amd-epyc-gen2"),
        (x86("AuthenticAMD", 25, 1), "amd-epyc-gen3"),
        (x86("AuthenticAMD", 25, 17), "amd-epyc-gen4"),
        (x86("AuthenticAMD", 25, 0xA0), "amd-epyc-gen4"),
        (x86("AuthenticAMD", 26, 2), "amd-epyc-gen5"),
        (x86("AuthenticAMD", 25, 0x21), None),  # a desktop part
        (x86("GenuineIntel", 6, 85, 4), "intel-skylake-server"),
        (x86("GenuineIntel", 6, 85, 7), "intel-cascadelake"),
        (x86("GenuineIntel", 6, 106, 6), "intel-icelake"),
        (x86("GenuineIntel", 6, 143), "intel-sapphirerapids"),
        (x86("GenuineIntel", 6, 207), "intel-emeraldrapids"),
        (x86("GenuineIntel", 6, 173), "intel-graniterapids"),
        (x86("GenuineIntel", 15, 6), None),
        (
            "processor\t: 0\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\n\n",
            "amd-neoverse-n1",
        ),
        ("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n\n", None),
        ("processor\t: 0\nhart\t: 0\nisa\t: rv64\n\n", None),
        ("", None),
    ],
)
def test_cpu_family(tmp_path, text, family):
    (tmp_path / "cpuinfo").write_text(text)
    assert cpu_family(tmp_path / "cpuinfo") == family
    assert family is None or family in ROWS


def test_no_cpuinfo_is_an_unknown_family(tmp_path):
    assert cpu_family(tmp_path / "absent") is None


@given(cpu=seconds, more=seconds, wall=seconds, threads=st.integers(1, 512), family=families)
def test_monotone_in_cpu_seconds_and_always_with_an_interval(cpu, more, wall, threads, family):
    less, greater = (estimate_joules(c, wall, threads, family) for c in (cpu, cpu + more))
    for of in ("low", "value", "high"):
        assert getattr(less, of) <= getattr(greater, of)
    for figure in (less, greater):
        assert (figure.source, figure.scope, figure.unit) == ("estimated", "wall", "J")
        assert 0 <= figure.low <= figure.value / 1.999999 and figure.high >= figure.value * 1.999999


@pytest.mark.parametrize("family", ROWS)
def test_a_whole_server_idle_and_loaded_agrees_with_its_row(family):
    """One second of a server with 64 threads, all ours: idle, at half load and busy."""
    row, threads = ROWS[family], 64
    idle, half, full = (estimate_joules(threads * load, 1.0, threads, family) for load in (0.0, 0.5, 1.0))
    assert idle.value == pytest.approx(threads * row["idle_median"])
    assert half.value == pytest.approx(threads * HALF_LOAD_SHARE * row["full_median"], rel=0.02)
    assert 1.0 <= full.value / (threads * row["full_median"]) < 1.25
    for figure, load in ((idle, "idle"), (full, "full")):
        assert figure.low <= threads * row[f"{load}_p10"] and figure.high >= threads * row[f"{load}_p90"]


def test_an_unknown_processor_gets_the_pooled_row_and_says_so():
    pooled = estimate_joules(1.0, 1.0, 1, POOLED)
    assert "unknown family" in pooled.method
    for family in ROWS:
        known = estimate_joules(1.0, 1.0, 1, family)
        assert pooled.high / pooled.value > known.high / known.value
        assert pooled.low / pooled.value < known.low / known.value
        assert pooled.low <= known.value <= pooled.high
    assert watts_per_thread(POOLED).servers == sum(row["servers"] for row in ROWS.values())


def test_bad_input():
    with pytest.raises(UserError, match="z80"):
        estimate_joules(1.0, 1.0, 1, "z80")
    for cpu, wall, threads in ((-1.0, 1.0, 1), (1.0, -1.0, 1), (1.0, 1.0, 0)):
        with pytest.raises(ValueError, match="below 0"):
            estimate_joules(cpu, wall, threads)


def test_this_machine_has_an_estimate():
    figure = estimate_joules(1.0, 1.0, 2)
    assert figure.value > 0 and (cpu_family() or "unknown family") in figure.method


def test_threads_held_are_cut_by_the_quota_of_any_group_above(tmp_path):
    free = threads_held(tmp_path)
    assert free >= 1
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/pod/box\n")
    box = tmp_path / "sys/fs/cgroup/pod/box"
    box.mkdir(parents=True)
    (box / "cpu.max").write_text("max 100000\n")
    assert threads_held(tmp_path) == free
    (box.parent / "cpu.max").write_text("50000 100000\n")
    assert threads_held(tmp_path) == 1


@pytest.mark.parametrize("name", ["cpu_watts_per_thread", "grid_intensity"])
def test_shipped_tables_are_those_of_the_reference_and_dated(name):
    assert date_taken(name) == "2026-11-21"
    reference = Path(__file__).parents[2] / ".." / "shared" / "reference" / f"{name}.csv"
    if not reference.exists():
        pytest.skip("the folder `shared` is not beside the checkout")
    rows = [line for line in reference.read_text().splitlines() if not line.startswith("#")]
    assert [",".join(row.values()) for row in read_table(name)] == rows[1:]


def test_the_interval_covers_families_that_the_table_does_not_hold():
    """Leave one family out: how many lie inside the interval of the others. The one outside at idle is the newest."""
    found = {c.load: c for c in coverage()}
    assert {load: c.families for load, c in found.items()} == dict.fromkeys(("idle", "half", "full"), len(ROWS))
    assert {load: c.medians for load, c in found.items()} == {"idle": 16, "half": 17, "full": 17}
    assert {load: c.spreads for load, c in found.items()} == {"idle": 15, "half": 16, "full": 16}
    assert min(c.medians / c.families for c in found.values()) >= 0.9


def test_the_method_says_what_is_in_it():
    method = estimate_joules(1.0, 1.0, 1, POOLED).method
    assert "memory, disks, fans and power supply included, accelerators excluded" in method
    assert "of this process alone" in method
