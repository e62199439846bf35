"""Kept versus cost as a picture: plotly figures whose colours come from the page, so that they follow its dark mode."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

from lightbulb.core import units
from lightbulb.core.figures import Figure
from lightbulb.report import words
from lightbulb.shrinking import savings
from lightbulb.shrinking.candidate import DECODER
from lightbulb.shrinking.floor import Floor
from lightbulb.shrinking.record import Quantity, Result, Scored

# Readable on light and dark
COLOURS = {"teacher": "#8a8f98", "stock": "#3b82c4", "student": "#d97706", "refused": "#b5b9bf"}
TITLES: dict[str, str] = {
    "cpu_seconds_per_answer": "CPU time per answer",
    "joules_per_answer": "energy per answer",
    "bytes": "size of the model file",
}
_UNITS = {"cpu_seconds_per_answer": "s", "joules_per_answer": "J", "bytes": "B"}


def short_names(names: list[str]) -> list[str]:
    """Names without the comma-separated parts that all of them share: labels must be short."""
    parts = [[p.strip() for p in name.split(",")] for name in names]
    shared = set.intersection(*map(set, parts)) if len(parts) > 1 else set()
    return [", ".join(p for p in each if p not in shared) or name for each, name in zip(parts, names, strict=True)]


def points(result: Result, quantity: Quantity) -> list[tuple[str, str, Scored, Figure]]:
    """(role, label, model, cost) of every model whose score and cost were measured."""
    roles = words.roles(result)
    found = []
    for role, label, model in zip(roles, labels(result, roles), result.models, strict=True):
        cost = savings.figure_of(model, quantity)
        if cost is not None and cost.value is not None and cost.value > 0 and model.score.value is not None:
            found.append((role, label, model, cost))
    return found


def labels(result: Result, roles: Sequence[str]) -> list[str]:
    """Short names of all models. Decoders are called what they are: the student, or the one that is not handed out."""
    short = iter(short_names([m.name for m in result.baselines]))

    def label(role: str, model: Scored) -> str:
        if role in ("teacher", "stock"):
            return role if role == "teacher" else next(short)
        if model.kind not in (None, DECODER):
            return model.name
        return "student" if role == "student" else f"student, {model.why and 'refused' or words.not_handed(result)}"

    return [label(role, model) for role, model in zip(roles, result.models, strict=True)]


def quantities(result: Result) -> list[Quantity]:
    """What the score is drawn against: CPU seconds, which are measured, or else joules; and bytes. Each where two
    models or more have it."""
    costs: tuple[Quantity, ...] = ("cpu_seconds_per_answer", "joules_per_answer")
    drawn = [q for q in costs if len(points(result, q)) >= 2][:1]
    return [*drawn, "bytes"] if len(points(result, "bytes")) >= 2 else drawn


def needed_score(result: Result) -> float | None:
    """The score that was needed; from the teacher's in records that do not tell it."""
    if result.floor is not None:
        return result.floor
    best = result.teacher.score.value if result.teacher else None
    return None if best is None else Floor(result.metric, result.keep, result.at_least).score(best)


def ticks(low: float, high: float, unit: str) -> tuple[list[float], list[str]]:
    """1, 2 and 5 of each decade between low and high, in human units; fewer where a phone has no room for them."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    wide = math.log10(high / low)
    steps = (1, 2, 5) if wide < 1.7 else (1, 3) if wide < 2.7 else (1,)
    values = [step * 10.0**d for d in decades for step in steps if low <= step * 10.0**d <= high]
    scaled = [(v, *units.scale(v * 1.0000001, unit)) for v in values]
    return values, [f"{v / factor:.3g} {symbol}".strip() for v, factor, symbol in scaled]


def error_bars(figure: Figure) -> dict[str, Any] | None:
    """Error bars from the value to the ends of its interval; None without an interval."""
    if figure.value is None or figure.low is None or figure.high is None:
        return None
    return {
        "type": "data",
        "symmetric": False,
        "array": [figure.high - figure.value],
        "arrayminus": [figure.value - figure.low],
        "thickness": 1.2,
        "width": 3,
    }


def _hover(label: str, model: Scored, quantity: Quantity, cost: Figure) -> str:
    lines = [
        f"<b>{html.escape(label)}</b> {html.escape(model.name)}",
        f"score {units.text(model.score)}",
        f"{TITLES[quantity]} {units.text(cost)}",
        f"file {units.quantity(model.bytes, 'B')}",
    ]
    return "<br>".join(lines) + "<extra></extra>"


def _diameter(model: Scored, largest: int) -> float:
    """Marker area follows the size of the file, down to a dot that can still be seen."""
    return 12.0 if not model.bytes or not largest else max(8.0, 34 * math.sqrt(model.bytes / largest))


def levels(costs: list[float], apart: float = 0.5) -> list[int | None]:
    """How high the label of each point stands, for labels that extend to the left: a point within `apart` decades of
    its left neighbour stands one level above it; None where a point has no neighbour, so that it needs no stacking."""
    order = sorted(range(len(costs)), key=lambda i: costs[i])
    found: list[int | None] = [None] * len(costs)
    for left, right in zip(order, order[1:], strict=False):
        if math.log10(costs[right] / costs[left]) < apart:
            found[left] = found[left] or 0
            found[right] = (found[left] or 0) + 1
    return found


def score_against(result: Result, quantity: Quantity) -> str:
    """An HTML fragment: score with intervals over `quantity` on a log axis. Needs plotly's script on the page.

    Circles: area follows bytes. Dashed line: the floor that was asked for.
    """
    import plotly.graph_objects as go

    found = points(result, quantity)
    plot = go.Figure()
    largest = max((m.bytes or 0 for _, _, m, _ in found), default=0)
    for role, label, model, cost in found:
        colour = COLOURS[role]
        bars = [error_bars(model.score), error_bars(cost)]
        y_bars, x_bars = [{**b, "color": colour} if b else None for b in bars]
        plot.add_scatter(
            x=[cost.value],
            y=[model.score.value],
            mode="markers",
            showlegend=False,
            error_y=y_bars,
            error_x=x_bars,
            name=html.escape(label),
            hovertemplate=_hover(label, model, quantity, cost),
            marker={"size": _diameter(model, largest), "color": colour, "opacity": 0.85, "line": {"width": 0}},
        )
    costs = [cost.value for *_, cost in found if cost.value is not None]
    stacked = levels(costs)
    low, high = score_range(result, quantity, max((level or 0 for level in stacked), default=0))
    _add_labels(plot, found, stacked, low, high, sizes=quantity != "bytes")
    _add_axes(plot, result, quantity, costs, [low, high])
    return str(
        plot.to_html(
            full_html=False,
            include_plotlyjs=False,
            default_height="380px",
            div_id=f"plot-{quantity}",
            config={"displayModeBar": False, "responsive": True, "scrollZoom": False},
        )
    )


def _add_labels(
    plot: Any,
    found: list[tuple[str, str, Scored, Figure]],
    stacked: list[int | None],
    low: float,
    high: float,
    sizes: bool,
) -> None:
    """A lone point is named right above its interval; neighbours are named at the top, each with a line down to it.
    sizes: whether the names say how large the file is."""
    line_height = 0.06 * (high - low)
    top = high - line_height * (1 + max((level or 0 for level in stacked), default=0))
    left, right = _ends([cost.value for *_, cost in found if cost.value])
    for (role, label, model, cost), level in zip(found, stacked, strict=True):
        text = html.escape(label) + (f", {units.quantity(model.bytes, 'B')}" if sizes and model.bytes else "")
        score, x = model.score, cost.value or 1.0
        above = score.high if score.high is not None else (score.value or 0.0)
        y = above if level is None else top + level * line_height
        if level is not None:
            plot.add_shape(
                type="line",
                x0=x,
                x1=x,
                y0=above,
                y1=y + line_height / 2,
                layer="below",
                line={"color": COLOURS[role], "width": 1, "dash": "dot"},
            )
        across = math.log(x / left) / math.log(right / left)
        anchor = "right" if level is not None or across > 0.7 else "left" if across < 0.3 else "center"
        plot.add_annotation(
            x=math.log10(x),
            y=y,
            text=text,
            showarrow=False,
            yanchor="bottom",
            xanchor=anchor,
            xshift=-3 if level is not None else {"left": -10, "center": 0, "right": 10}[anchor],
        )


def _ends(costs: list[float]) -> tuple[float, float]:
    """Ends of the cost axis: room for the labels of the outermost points."""
    return min(costs) / 2, max(costs) * 1.5


def _add_axes(plot: Any, result: Result, quantity: Quantity, costs: list[float], scores: list[float]) -> None:
    low, high = _ends(costs)
    values, texts = ticks(low, high, _UNITS[quantity])
    plot.update_layout(
        margin={"l": 60, "r": 12, "t": 12, "b": 48},
        paper_bgcolor="rgba(0,0,0,0)",
        dragmode=False,
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "inherit", "size": 13},
    )
    plot.update_xaxes(
        type="log",
        range=[math.log10(low), math.log10(high)],
        tickvals=values,
        ticktext=texts,
        tickangle=0,
        title=f"{TITLES[quantity]}, log scale",
        fixedrange=True,
        zeroline=False,
    )
    plot.update_yaxes(title=html.escape(words.name_of_metric(result)), fixedrange=True, zeroline=False, range=scores)
    at = needed_score(result)
    if at is not None:
        plot.add_hline(
            y=at,
            line={"dash": "dash", "width": 1.3, "color": "#8a8f98"},
            annotation_text=f"floor: {words.floor_text(result)}" + (" of the best" if result.keep is not None else ""),
            annotation_position="bottom right" if result.student else "top left",  # where no point is
        )


def score_range(result: Result, quantity: Quantity, label_lines: int) -> tuple[float, float]:
    """Ends of the score axis: all intervals and the floor, room below for the floor's label and above for the names."""
    ends = [
        x
        for _, _, m, _ in points(result, quantity)
        for x in (m.score.low, m.score.value, m.score.high)
        if x is not None
    ]
    at = needed_score(result)
    ends += [at] if at is not None else []
    span = max(ends) - min(ends) or abs(max(ends)) * 0.1 or 1.0
    return min(ends) - span / 5, max(ends) + span * (0.2 + 0.09 * label_lines)
