"""The dozen lines that a terminal prints when a run is done."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from lightbulb.report import units, words
from lightbulb.report.record import Quantity, Result

_STYLES = {"kept": "bold green", "within-noise": "bold yellow", "not-kept": "bold red"}


def render_summary(result: Result, *, report: Path | str | None = None) -> RenderableType:
    """Verdict, what was kept, cost before and after, the making, pay-back, the page. Text from data is never read as
    markup. The command that uses the model is not in it, because tables wrap: `print_summary` adds it."""
    rival = words.compared(result)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")

    def line(label: str, text: str) -> None:
        grid.add_row(Text(label), Text(text))

    line(
        "kept",
        f"{units.text(units.percent(result.retention))} of the adapted teacher (asked for {words.floor_text(result)})",
    )
    line(
        words.name_of_metric(result),
        f"{units.text(result.teacher.score)} adapted teacher, {units.text(result.student.score)} student",
    )
    line("before", rival.name)
    for quantity in ("bytes", "cpu_seconds_per_answer", "joules_per_answer"):
        line(words.LABELS[quantity], _before_after(result, quantity))
    line("making", _making(result))
    line("pay-back", words.pay_back(result))
    if report is not None:
        line("report", str(report))
    return Group(_first_line(result), grid)


def _first_line(result: Result) -> Text:
    if result.refused:
        return Text(f"{words.heading(result)}: {result.refused}", style=_STYLES["not-kept"])
    return Text(words.heading(result), style=_STYLES[result.verdict])


def print_summary(result: Result, console: Console, *, report: Path | str | None = None) -> None:
    """Prints the summary, then the command that uses the model (of a refused run: the stock file), never wrapped, so
    that it can be copied."""
    console.print(render_summary(result, report=report))
    for command in result.use[:1]:
        console.print(Text(command, style="bold"), soft_wrap=True)


def _before_after(result: Result, quantity: Quantity) -> str:
    rival = words.compared(result)
    before, after = (units.text(words.figure_of(m, quantity)) for m in (rival, result.student))
    figure = words.figure_of(result.student, quantity)
    times = words.ratio(result, quantity)
    gain = ""
    if times.value:
        more = times.value < 1
        gain = f", {units.text(times.inverse() if more else times, '')} times {'as much' if more else 'less'}"
    estimated = ", estimated" if figure is not None and figure.source == "estimated" else ""
    return f"{before} -> {after}{gain}{estimated}"


def _making(result: Result) -> str:
    made = result.making
    parts = [
        units.text(made.joules, source=True),
        f"{units.text(made.cpu_seconds)} of CPU time",
        f"{units.quantity(made.seconds, 's')} by the clock",
        units.text(made.grams_co2e),
    ]
    return ", ".join(
        p for p, known in zip(parts, (True, made.cpu_seconds, made.seconds, made.grams_co2e), strict=True) if known
    )
