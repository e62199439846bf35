"""How a measurement reads on a terminal. Pure: a record in, something to print out."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lightbulb.core import units
from lightbulb.core.figures import Figure
from lightbulb.measuring.record import Measured
from lightbulb.measuring.roofline import Roofline
from lightbulb.runtimes import title_of

COSTS = {"joules": "joules", "net_joules": "joules less idling", "cpu_seconds": "CPU time", "seconds": "wall time"}
UNITS = {"prompt_token": "prompt token", "output_token": "output token", "answer": "answer"}
MORE = {
    "tokens_per_second_prefill": "prefill, tokens a second",
    "tokens_per_second_decode": "decode, tokens a second",
    "seconds_to_first_token": "time to the first token",
    "peak_bytes": "peak memory above what it was before loading",
}
AS_SEEN = {"endpoint": "endpoint, as the client sees it"}


def render_measured(measured: Measured) -> RenderableType:
    """What was measured, a table of figures with their intervals (and the ratios, where there is another model), what
    idling takes, and notes. Text that comes from outside is never read as markup."""
    other = measured.against
    lines = [Text(_title(measured), style="bold")]
    if other is not None:
        lines.append(Text(f"against {_title(other)}", style="bold"))
    notes = dict.fromkeys([*_about(measured), *measured.notes, *(other.notes if other is not None else [])])
    return Group(*lines, _table(measured), *(Text(note, style="dim") for note in notes))


def _title(measured: Measured) -> str:
    size = "" if measured.model_bytes is None else f", {units.quantity(measured.model_bytes, 'B')}"
    return f"{measured.model} ({AS_SEEN.get(measured.runtime) or title_of(measured.runtime)}{size})"


def _table(measured: Measured) -> Table:
    other = measured.against
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    for heading in ("this model", "the other", "this / other") if other is not None else ("",):
        table.add_column(heading, overflow="fold")
    rows = {f"{cost}_per_{unit}": f"{label} per {of}" for cost, label in COSTS.items() for unit, of in UNITS.items()}
    for name, label in (rows | MORE).items():
        cells = [_cell(getattr(m, name)) for m in (measured, other) if m is not None]
        if other is not None:
            cells.append(_ratio(measured, name))
        table.add_row(Text(label), *map(Text, cells))
    return table


def _cell(figure: Figure) -> str:
    unit = "" if figure.unit == "tokens/s" else None
    return units.text(figure, unit) + (
        " estimated" if figure.value is not None and figure.source == "estimated" else ""
    )


def _ratio(measured: Measured, name: str) -> str:
    ratio = (measured.ratios or {}).get(name)
    if ratio is None:
        return ""
    return units.text(ratio) + (" within noise" if name in (measured.within_noise or []) else "")


def _about(measured: Measured) -> list[str]:
    """The work and the machine, in sentences."""
    work = f"test prompts of {measured.task}"
    if measured.task is None:
        work = f"prompts of {measured.context} tokens, answers of {measured.output_tokens}"
    idle, machine = measured.idle, measured.machine
    family = machine.family_from or machine.family or "of a family that has no row"
    return [
        f"{work}; {measured.batch} at a time, {machine.threads} threads; medians of {measured.trials} trials, windows "
        f"of at least {measured.window_seconds:g} s, 95% intervals; {measured.date}, lightbulb {measured.lightbulb}",
        f"idle: {units.text(idle.before)} before, {units.text(idle.after)} after ({idle.before.source}); machine: "
        f"{family}; others kept {units.text(machine.others_threads)} busy, "
        f"{units.text(units.percent(machine.stolen_share))} of its time was stolen by its host",
        f"joules: {measured.joules_per_answer.method or 'not measured'}",
        *(reached(m.roofline) for m in (measured, measured.against) if m is not None and m.roofline is not None),
    ]


def reached(roofline: Roofline) -> str:
    """How near decoding comes to what the processor can do."""
    return (
        f"decoding reaches {units.text(units.percent(roofline.share))} of the roofline, bound by {roofline.bound_by}: "
        f"{units.text(roofline.bytes)} and {units.text(roofline.operations)} a token; {roofline.place} gives "
        f"{units.text(roofline.read_speed)}, the cores {units.text(roofline.int8_speed)}"
    )
