"""What a search found: the terminal's table, and one page with the front."""

from __future__ import annotations

import html
import shlex
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lightbulb.core import units
from lightbulb.core.figures import Figure
from lightbulb.core.files import write_text
from lightbulb.report import plots
from lightbulb.report.html import environment, plotly_script
from lightbulb.searching.record import Point, SearchRecord

PAGE, RECIPE = "search.html", "recipe.toml"
TITLES = {"joules_per_answer": "energy per answer", "cpu_seconds_per_answer": "CPU time per answer"}
COLOURS = {"chosen": "#d97706", "front": "#3b82c4", "parent": "#8a8f98", "other": "#b5b9bf"}


def render_searched(record: SearchRecord, folder: Path) -> RenderableType:
    """The front, what was chosen, and why the others were not."""
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("", "model", f"{record.metric} on validation", "an answer", "file", "why not"):
        table.add_column(column, overflow="fold", no_wrap=column in ("", "an answer", "file"))
    for point in in_order(record):
        mark = ">" if point.chosen else "*" if point.front else ""
        style = "bold" if point.chosen else "" if point.front else "dim"
        table.add_row(
            mark,
            Text(point.name),
            units.text(point.score) if point.score else "not tried",
            units.text(point.cost(record.currency)) + ("" if point.measured else " by the table"),
            units.quantity(point.bytes, "B"),
            Text("chosen" if point.chosen else point.why),
            style=style,
        )
    made = [f"to make it: {making(folder / RECIPE)}"] if record.chosen else []
    return Group(table, *(Text(line) for line in ("", *sentences(record), *made, f"page: {folder / PAGE}")))


def in_order(record: SearchRecord) -> list[Point]:
    """The chosen one, the front, the parent, those that were tried, the others; each by cost."""

    def place(point: Point) -> tuple[int, float]:
        cost = point.cost(record.currency)
        rank = 0 if point.chosen else 1 if point.front else 2 if point.stage == "parent" else 3 + (point.score is None)
        return rank, cost.value if cost and cost.value is not None else 0.0

    return sorted(record.points, key=place)


def sentences(record: SearchRecord) -> list[str]:
    """What was chosen, how near the table came, what the search cost."""
    chosen, goal = record.chosen, record.goal
    asked = goal.floor(record.metric).text if goal.asks_for_a_score else "the best within the limits"
    found = []
    if chosen is None:
        found.append("chosen: nothing keeps to the limits")
    else:
        held = "" if record.reached else f"; nothing holds what was asked ({asked}): it is what scores best"
        found.append(f"chosen: {chosen.name}{held}")
        for check in record.checks:
            off = "not known" if check.off is None else f"{check.off:+.1%}"
            name = check.name.replace("_per_answer", "").replace("_", " ")
            found.append(
                f"{name} an answer: {units.text(check.predicted)} by the table, {units.text(check.measured)} measured "
                f"({off})"
            )
    cost = record.making
    found.append(f"the search took {units.quantity(cost.seconds, 's')} and {units.text(cost.joules, source=True)}")
    return found


def making(recipe: Path) -> str:
    """What to type to make the chosen student."""
    return f"lightbulb run {shlex.quote(str(recipe))} --out FOLDER"


def write_page(folder: Path, record: SearchRecord) -> None:
    """One HTML file that needs nothing else."""
    template = environment().get_template("search.html.j2")
    text = template.render(
        record=record,
        points=in_order(record),
        cost=lambda point: point.cost(record.currency),
        title=TITLES.get(record.currency, record.currency),
        sentences=sentences(record),
        plotly=plotly_script(),
        plot=front_plot(record),
        command=making(Path(RECIPE)),
    )
    write_text(folder / PAGE, text)


def front_plot(record: SearchRecord) -> str:
    """An HTML fragment: score over cost with intervals on a log axis; what is not on the front is grey. Needs plotly's
    script on the page."""
    import plotly.graph_objects as go

    drawn = [(p, p.score, c) for p in record.points if p.score and (c := p.cost(record.currency)) and c.value]
    plot = go.Figure()
    for point, score, cost in drawn:
        role = (
            "chosen" if point.chosen else "front" if point.front else "parent" if point.stage == "parent" else "other"
        )
        plot.add_scatter(
            x=[cost.value],
            y=[score.value],
            mode="markers",
            showlegend=False,
            name=html.escape(point.name),
            error_x=_bars(cost, COLOURS[role]),
            error_y=_bars(score, COLOURS[role]),
            marker={
                "size": 13 if point.chosen else 10,
                "color": COLOURS[role],
                "symbol": "circle" if point.measured else "circle-open",
            },
            hovertemplate=_hover(point, cost),
        )
    line = sorted((c.value, s.value) for p, s, c in drawn if p.front and c.value is not None and s.value is not None)
    plot.add_scatter(
        x=[x for x, _ in line],
        y=[y for _, y in line],
        mode="lines",
        line={"color": COLOURS["front"], "width": 1, "shape": "hv"},
        showlegend=False,
        hoverinfo="skip",
    )
    _add_axes(plot, record, [c.value for _, _, c in drawn if c.value is not None])
    return str(
        plot.to_html(
            full_html=False,
            include_plotlyjs=False,
            default_height="420px",
            div_id="front",
            config={"displayModeBar": False, "responsive": True, "scrollZoom": False},
        )
    )


def _add_axes(plot: Any, record: SearchRecord, costs: list[float]) -> None:
    plot.update_layout(
        margin={"l": 60, "r": 12, "t": 12, "b": 48},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        dragmode=False,
        font={"family": "inherit", "size": 13},
    )
    unit = "J" if "joules" in record.currency else "s"
    if costs:
        low, high = min(costs) / 1.5, max(costs) * 1.5
        values, texts = plots.ticks(low, high, unit)
        plot.update_xaxes(type="log", tickvals=values, ticktext=texts)
    title = TITLES.get(record.currency, record.currency)
    plot.update_xaxes(title=f"{title}, log scale", fixedrange=True, zeroline=False)
    plot.update_yaxes(title=html.escape(f"{record.metric} on validation"), fixedrange=True, zeroline=False)
    if record.needed is not None:
        plot.add_hline(
            y=record.needed,
            line={"dash": "dash", "width": 1.3, "color": COLOURS["parent"]},
            annotation_text="asked",
            annotation_position="bottom right",
        )


def _bars(figure: Figure, colour: str) -> dict[str, Any] | None:
    bars = plots.error_bars(figure)
    return {**bars, "color": colour} if bars else None


def _hover(point: Point, cost: Figure) -> str:
    lines = [
        f"<b>{html.escape(point.name)}</b>",
        f"score {units.text(point.score)}",
        f"{units.text(cost)}{'' if point.measured else ' by the table'}",
        f"file {units.quantity(point.bytes, 'B')}",
        html.escape("chosen" if point.chosen else point.why),
    ]
    return "<br>".join(lines) + "<extra></extra>"
