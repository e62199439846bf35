"""Joules where no counter can be read: our share of a server's wall power.

SPECpower results give, for each CPU family, the wall watts of an idle and of a fully loaded server divided by its
hardware threads. In between, power is a concave curve: 67% of full power at half load. A process sees its own load,
not the server's, so the curve is not evaluated at our utilisation: a busy thread is charged its part of the dynamic
power of a server at half load,

    joules = idle_watts * threads * wall_seconds + busy_watts * cpu_seconds
    busy_watts = (0.67 * full_watts - idle_watts) / 0.5

never less than full_watts - idle_watts, which a straight line would give (a concave curve lies above it). The first
term is the idle power of the threads that we hold, busy or not; the second is the power that our work adds. Both are
linear, so the joules and the interval of two windows add up to those of the window that holds both.

What is in it: SPECpower_ssj2008 measures the whole server at the wall, so memory, disks, fans and power supply are
included, and accelerators are not (the servers have none). CPU seconds are our own: what other processes or, by steal
time, other virtual machines used is not charged. Two processes that meter the same idle machine both count its idle
share.

The interval is value/2 .. value*2, and in each term at least the family's 10th to 90th percentile. For a processor that
can be of several families (`energy.family`) it holds the interval of each of them, and for an unknown one it spans the
table. How well that covers a family that the table does not hold is checked by `coverage`: each family is left out in
turn and compared with the interval of the others. Inside lie the medians of 16 of 17
families at idle and of 17 at half and full load; with their 10th and 90th percentiles 15, 16 and 16. The median outside
is that of the newest family (amd-epyc-gen5), whose servers idle lower than any before: on newer processors still, an
idle share that is too high must be expected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import median

from lightbulb.core.errors import UserError
from lightbulb.core.figures import Figure
from lightbulb.energy.family import Family, family_here
from lightbulb.energy.tables import date_taken, read_table

__all__ = ["POOLED", "Coverage", "Watts", "coverage", "estimate_joules", "watts_per_thread"]

POOLED = "pooled"  # the row for processors that the table does not know
HALF_LOAD_SHARE = 0.67  # of full power, at half load
SPREAD = 2.0  # least ratio of either bound to the value
_TABLE = "cpu_watts_per_thread"
OWN = "this process alone"  # whose CPU seconds an estimate is usually of


@dataclass(frozen=True, slots=True)
class Watts:
    """Wall watts per hardware thread.

    Attributes:
        families: of processors, that they are of
        servers: how many were measured
        idle: (low, value, high) of a thread held
        busy: (low, value, high) added by a busy one
    """

    families: tuple[str, ...]
    servers: int
    idle: tuple[float, float, float]
    busy: tuple[float, float, float]


def estimate_joules(
    cpu_seconds: float, wall_seconds: float, threads: int, family: str | Family | None = None, whose: str = OWN
) -> Figure:
    """Joules at the wall of work whose CPU seconds are known.

    Args:
        cpu_seconds: of the work
        wall_seconds: within which it was done
        threads: hardware threads that we hold
        family: a row of the table, "pooled", or what `energy.family` found; None is this machine's
        whose: CPU seconds they are, for the method

    Returns:
        An estimate, with its interval.

    Raises:
        ValueError: negative seconds or no threads
        UserError: a family that is not in the table
    """
    if cpu_seconds < 0 or wall_seconds < 0 or threads < 1:
        raise ValueError(f"seconds below 0 or no threads: {cpu_seconds=}, {wall_seconds=}, {threads=}")
    if family is None:
        family = _own_family()
    if isinstance(family, str):
        family = Family(() if family == POOLED else (family,), "as asked")
    watts = watts_per_thread(family.rows)
    low, value, high = (
        idle * threads * wall_seconds + busy * cpu_seconds for idle, busy in zip(watts.idle, watts.busy, strict=True)
    )
    return Figure(
        value=value,
        low=low,
        high=high,
        unit="J",
        source="estimated",
        scope="wall",
        method=_method(watts, threads, family, whose),
    )


@cache
def watts_per_thread(families: tuple[str, ...] = ()) -> Watts:
    """The coefficients of one family, or of several together (their median, and the widest bounds); none given are all
    of the table.

    Raises:
        UserError: a family that is not in the table
    """
    rows = read_table(_TABLE)
    known = [row["family"] for row in rows]
    if strangers := [family for family in families if family not in known]:
        raise UserError(
            f"no power figures for the CPU family {strangers[0]!r}", hint=f"choose one of {', '.join(known)}, {POOLED}"
        )
    if not families:
        return _watts(rows)
    chosen = [row for row in rows if row["family"] in families]
    together, each = _watts(chosen), [_watts([row]) for row in chosen]
    return replace(
        together,
        idle=_around(together.idle[1], [watts.idle for watts in each]),
        busy=_around(together.busy[1], [watts.busy for watts in each]),
    )


def _around(value: float, each: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    """With ends that hold the interval of each family."""
    return min([value / SPREAD, *(low for low, _, _ in each)]), value, max([value * SPREAD, *(h for _, _, h in each)])


def _watts(rows: Sequence[Mapping[str, str]]) -> Watts:
    idle, full = (median(float(row[f"{load}_median"]) for row in rows) for load in ("idle", "full"))
    idle_p10, full_p10 = (min(float(row[f"{load}_p10"]) for row in rows) for load in ("idle", "full"))
    idle_p90, full_p90 = (max(float(row[f"{load}_p90"]) for row in rows) for load in ("idle", "full"))
    return Watts(
        tuple(row["family"] for row in rows),
        sum(int(row["servers"]) for row in rows),
        _widened(idle_p10, idle, idle_p90),
        _widened(_busy_watts(idle, full_p10), _busy_watts(idle, full), _busy_watts(idle, full_p90)),
    )


def _busy_watts(idle: float, full: float) -> float:
    return max((HALF_LOAD_SHARE * full - idle) / 0.5, full - idle)


def _widened(low: float, value: float, high: float) -> tuple[float, float, float]:
    return min(low, value / SPREAD), value, max(high, value * SPREAD)


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many families, each left out in turn, lie inside the interval of the others.

    Attributes:
        load: of the server
        families: how many there are
        medians: how many lie inside by the median of their servers
        spreads: how many with their 10th and 90th percentile too
    """

    load: str
    families: int
    medians: int
    spreads: int


def coverage() -> tuple[Coverage, ...]:
    """Leave-one-family-out check of the pooled interval: watts of a whole server at idle, half and full load."""
    rows = read_table(_TABLE)
    found = []
    for load, busy, at, share in (
        ("idle", 0.0, "idle", 1.0),
        ("half", 0.5, "full", HALF_LOAD_SHARE),
        ("full", 1.0, "full", 1.0),
    ):
        medians = spreads = 0
        for left_out in rows:
            watts = _watts([row for row in rows if row is not left_out])
            low, high = (watts.idle[end] + busy * watts.busy[end] for end in (0, 2))
            p10, median_, p90 = (share * float(left_out[f"{at}_{of}"]) for of in ("p10", "median", "p90"))
            medians += low <= median_ <= high
            spreads += low <= p10 and p90 <= high
        found.append(Coverage(load, len(rows), medians, spreads))
    return tuple(found)


@cache
def _own_family() -> Family:
    return family_here()


def _method(watts: Watts, threads: int, family: Family, whose: str) -> str:
    of = f"{family}, {watts.servers} servers"
    if not family.rows:
        of = (
            f"CPU of unknown family ({family.known_by}): pooled over {len(watts.families)} families, "
            "hence the wider interval"
        )
    return (
        f"no counter: share of a server's wall power, {watts.idle[1]:.3g} W idle x {threads} threads held x wall "
        f"seconds + {watts.busy[1]:.3g} W x CPU seconds of {whose} ({of}; SPECpower via ccf-coefficients, "
        f"taken {date_taken(_TABLE)}); memory, disks, fans and power supply included, accelerators excluded"
    )
