"""The estimate is monotone, always has an interval, and knows the usual server processors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import beside

from lightbulb.core.errors import UserError
from lightbulb.energy.estimate import HALF_LOAD_SHARE, POOLED, coverage, estimate_joules, watts_per_thread
from lightbulb.energy.family import Family, family_here
from lightbulb.energy.processor import threads_held
from lightbulb.energy.tables import date_taken, read_table

ROWS = {
    row["family"]: {k: float(v) for k, v in row.items() if k != "family"} for row in read_table("cpu_watts_per_thread")
}
families = st.sampled_from([*ROWS, POOLED])
seconds = st.just(0.0) | st.floats(1e-9, 1e6)


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
    assert watts_per_thread().servers == sum(row["servers"] for row in ROWS.values())


def test_bad_input():
    with pytest.raises(UserError, match="z80"):
        estimate_joules(1.0, 1.0, 1, "z80")
    for cpu, wall, threads in ((-1.0, 1.0, 1), (1.0, -1.0, 1), (1.0, 1.0, 0)):
        with pytest.raises(ValueError, match="below 0"):
            estimate_joules(cpu, wall, threads)


def test_this_machine_has_an_estimate():
    figure = estimate_joules(1.0, 1.0, 2)
    family = family_here()
    assert figure.value > 0 and family.known_by in figure.method and all(row in ROWS for row in family.rows)


def test_several_families_are_pooled_and_named():
    """As wide as each of them at least, and narrower than all of the table."""
    rows = ("intel-sapphirerapids", "intel-emeraldrapids", "intel-graniterapids")
    pooled = estimate_joules(1.0, 1.0, 1, Family(rows, "Sapphire Rapids or later, from flags amx_tile"))
    assert all(row in pooled.method for row in rows) and "from flags amx_tile" in pooled.method
    assert f"{sum(ROWS[row]['servers'] for row in rows):.0f} servers" in pooled.method
    each, every = [estimate_joules(1.0, 1.0, 1, row) for row in rows], estimate_joules(1.0, 1.0, 1, POOLED)
    assert pooled.low <= min(f.low for f in each) and pooled.high >= max(f.high for f in each)
    assert min(f.value for f in each) <= pooled.value <= max(f.value for f in each)
    assert pooled.high / pooled.low < every.high / every.low


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
    rows = [line for line in beside(f"reference/{name}.csv").read_text().splitlines() if not line.startswith("#")]
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
