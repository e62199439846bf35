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

The interval is value/2 .. value*2, and in each term at least the family's 10th to 90th percentile. It holds power
supply and fans, not accelerators. Two processes that meter the same idle machine both count its idle share.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from statistics import median

from lightbulb.energy.processor import cpu_family
from lightbulb.energy.tables import date_taken, read_table
from lightbulb.errors import UserError
from lightbulb.figures import Figure

__all__ = ["POOLED", "Watts", "cpu_family", "estimate_joules", "watts_per_thread"]

POOLED = "pooled"  # the row for processors that the table does not know
HALF_LOAD_SHARE = 0.67  # of full power, at half load
SPREAD = 2.0  # least ratio of either bound to the value
_TABLE = "cpu_watts_per_thread"


@dataclass(frozen=True, slots=True)
class Watts:
    """Wall watts per hardware thread, each (low, value, high): idle of a thread held, and added by a busy one."""

    family: str
    servers: int
    idle: tuple[float, float, float]
    busy: tuple[float, float, float]


def estimate_joules(cpu_seconds: float, wall_seconds: float, threads: int, family: str | None = None) -> Figure:
    """Joules at the wall of `cpu_seconds` of work within `wall_seconds` on a machine of which we hold `threads`.

    family: a row of the table or "pooled"; None is this machine's, pooled when unknown.
    Raises ValueError for negative seconds or no threads, UserError for a family that is not in the table.
    """
    if cpu_seconds < 0 or wall_seconds < 0 or threads < 1:
        raise ValueError(f"seconds below 0 or no threads: {cpu_seconds=}, {wall_seconds=}, {threads=}")
    watts = watts_per_thread(family or _own_family() or POOLED)
    low, value, high = (
        idle * threads * wall_seconds + busy * cpu_seconds for idle, busy in zip(watts.idle, watts.busy, strict=True)
    )
    return Figure(
        value=value, low=low, high=high, unit="J", source="estimated", scope="wall", method=_method(watts, threads)
    )


@cache
def watts_per_thread(family: str) -> Watts:
    """The coefficients of one family, or of all of them together ("pooled": their median, and the widest bounds)."""
    rows = [row for row in read_table(_TABLE) if family in (row["family"], POOLED)]
    if not rows:
        raise UserError(
            f"no power figures for the CPU family {family!r}",
            mend=f"choose one of {', '.join(row['family'] for row in read_table(_TABLE))}, {POOLED}",
        )
    idle, full = (median(float(row[f"{load}_median"]) for row in rows) for load in ("idle", "full"))
    idle_p10, full_p10 = (min(float(row[f"{load}_p10"]) for row in rows) for load in ("idle", "full"))
    idle_p90, full_p90 = (max(float(row[f"{load}_p90"]) for row in rows) for load in ("idle", "full"))
    return Watts(
        family,
        sum(int(row["servers"]) for row in rows),
        _widened(idle_p10, idle, idle_p90),
        _widened(_busy_watts(idle, full_p10), _busy_watts(idle, full), _busy_watts(idle, full_p90)),
    )


def _busy_watts(idle: float, full: float) -> float:
    return max((HALF_LOAD_SHARE * full - idle) / 0.5, full - idle)


def _widened(low: float, value: float, high: float) -> tuple[float, float, float]:
    return min(low, value / SPREAD), value, max(high, value * SPREAD)


@cache
def _own_family() -> str | None:
    return cpu_family()


def _method(watts: Watts, threads: int) -> str:
    of = f"{watts.family}, {watts.servers} servers"
    if watts.family == POOLED:
        of = f"CPU of unknown family: pooled over {len(read_table(_TABLE))} families, hence the wider interval"
    return (
        f"no counter: share of a server's wall power, {watts.idle[1]:.3g} W idle x {threads} threads held x wall "
        f"seconds + {watts.busy[1]:.3g} W x CPU seconds ({of}; SPECpower via ccf-coefficients, "
        f"taken {date_taken(_TABLE)}); accelerators excluded"
    )
