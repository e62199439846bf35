"""The dozen lines that a terminal prints when a run is done."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from lightbulb.core import units
from lightbulb.report import words
from lightbulb.shrinking import savings
from lightbulb.shrinking.record import Quantity, Result, Scored

_STYLES = {"kept": "bold green", "within-noise": "bold yellow", "not-shrunk": "bold yellow", "not-kept": "bold red"}


def render_summary(result: Result, *, report: Path | str | None = None) -> RenderableType:
    """Verdict, what was kept, what it costs, the making, pay-back, the page. Before and after only of a student that is
    handed out. Text from data is never read as markup. The command that uses the model is not in it, because tables
    wrap: `print_summary` adds it."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    rows = _shrunk(result) if result.shrunk else _not_shrunk(result)
    if abstaining := words.abstaining_text(result):
        rows.append(("abstaining", abstaining))
    rows.append(("making", _making(result)))
    if result.shrunk and result.stock:
        rows.append(("pay-back", words.pay_back(result)))
    if report is not None:
        rows.append(("report", str(report)))
    for label, text in rows:
        grid.add_row(Text(label), Text(text))
    return Group(_first_line(result), grid)


def _first_line(result: Result) -> Text:
    heading, style = words.heading(result), _STYLES[result.verdict]
    return Text(f"{heading}: {result.reason}" if result.reason and not result.shrunk else heading, style=style)


def _shrunk(result: Result) -> list[tuple[str, str]]:
    student = result.shrunk
    assert student is not None
    before = savings.compared(result)
    if result.teacher is None or before is None:
        return _alone(result, student)
    kept = f"{units.text(units.percent(result.retention))} of {words.whose(result)}"
    scores = f"{units.text(result.teacher.score)} adapted teacher, {units.text(student.score)} student"
    rows = [
        ("kept", f"{kept} (asked for {words.floor_text(result)})"),
        *([("kind", words.of_kind(result))] if words.of_kind(result) else []),
        (words.name_of_metric(result), scores),
        ("before", before.name),
    ]
    rows += [(words.LABELS[quantity], _before_after(before, result, student, quantity)) for quantity in words.COSTS]
    for quantity in words.per_right(result)[-1:]:
        costs = [units.text(savings.figure_of(m, quantity)) for m in (before, student)]
        rows.append((words.LABELS[quantity], " -> ".join(costs)))
    return rows


def _alone(result: Result, student: Scored) -> list[tuple[str, str]]:
    """A student beside which no language model was made."""
    rows = [
        ("asked for", words.floor_text(result)),
        ("kind", words.of_kind(result)),
        (words.name_of_metric(result), units.text(student.score)),
    ]
    for quantity in (*words.COSTS, *words.per_right(result)[-1:]):
        rows.append((words.LABELS[quantity], units.text(savings.figure_of(student, quantity), source=True)))
    return rows


def _not_shrunk(result: Result) -> list[tuple[str, str]]:
    """What is handed out instead, if anything does, and the student that is not."""
    rows = [("asked for", words.floor_text(result))]
    models = []
    if handed := words.handed_stock(result):
        models.append((str(handed.path), handed, savings.in_a_sentence(handed)))
    elif best := words.best_stock(result):
        models.append(("best stock file", best, savings.in_a_sentence(best)))
    if result.below:
        models.append((str(result.below.path), result.below, f"{result.below.name}: {words.not_handed(result)}"))
    for file, model, what in models:
        costs = [f"{units.text(savings.figure_of(model, q))} {_UNIT[q]}".strip() for q in words.COSTS]
        rows.append((file, what))
        rows.append(("", f"{words.name_of_metric(result)} {units.text(model.score)}; {', '.join(costs)}"))
        for quantity in words.per_right(result)[-1:]:
            rows.append(("", f"{words.LABELS[quantity]} {units.text(savings.figure_of(model, quantity))}"))
    return rows


_UNIT = {"cpu_seconds_per_answer": "of CPU time", "joules_per_answer": "an answer", "bytes": ""}


def print_summary(result: Result, console: Console, *, report: Path | str | None = None) -> None:
    """Prints the summary, then the command that uses the model, never wrapped, so that it can be copied."""
    console.print(render_summary(result, report=report))
    for command in result.use[:1]:
        console.print(Text(command, style="bold"), soft_wrap=True)


def _before_after(baseline: Scored, result: Result, student: Scored, quantity: Quantity) -> str:
    before, after = (units.text(savings.figure_of(m, quantity)) for m in (baseline, student))
    figure = savings.figure_of(student, quantity)
    times = savings.ratio(result, quantity)
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
