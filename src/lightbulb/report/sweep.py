"""What several trainings of one text cost, and what each learned: a table, and the loss against joules as a page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from lightbulb.core import units
from lightbulb.pretraining.record import TrainingRecord
from lightbulb.report.html import environment, plotly_script

COLUMNS = ("parameters", "learning rate", "tokens", "bits per byte", "loss", "joules", "time")


def best_of(records: Sequence[TrainingRecord]) -> TrainingRecord:
    """The one that knows held-out text best."""
    return min(records, key=lambda r: float("inf") if r.score.value is None else r.score.value)


def rows_of(records: Sequence[TrainingRecord]) -> list[tuple[str, ...]]:
    """Cells of COLUMNS for each training."""
    return [
        (
            f"{r.parameters:,}",
            f"{r.goal.rate:g}",
            f"{r.tokens:,}",
            units.text(r.score) + (" *" if r is best_of(records) else ""),
            f"{r.train_loss:.3f}",
            units.text(r.training.joules, source=True),
            units.quantity(r.training.seconds, "s"),
        )
        for r in records
    ]


def render_sweep(records: Sequence[TrainingRecord]) -> Table:
    """For a terminal; the best has a star."""
    table = Table(*COLUMNS, box=None, padding=(0, 2, 0, 0), header_style="dim")
    for row in rows_of(records):
        table.add_row(*row)
    return table


def sweep_page(records: Sequence[TrainingRecord]) -> str:
    """The table and the plot as a page that needs nothing else."""
    template = environment().get_template("sweep.html.j2")
    return template.render(
        text=records[0].text, columns=COLUMNS, rows=rows_of(records), plot=loss_against(records), plotly=plotly_script()
    )


def loss_against(records: Sequence[TrainingRecord]) -> str:
    """An HTML fragment: the loss of every training over the joules it had taken, those of all steps being alike; over
    seconds where joules were not measured. Needs plotly's script on the page."""
    import plotly.graph_objects as go

    joules = [r.training.joules.value for r in records]
    costs = [r.training.seconds for r in records] if None in joules else joules
    plot = go.Figure()
    for record, cost in zip(records, costs, strict=True):
        assert cost is not None
        plot.add_scatter(
            x=[cost * done / record.steps for done, _ in record.losses],
            y=[loss for _, loss in record.losses],
            mode="lines",
            name=html.escape(f"{record.parameters:,} parameters, {record.goal.rate:g}"),
        )
    layout: dict[str, Any] = {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}
    plot.update_layout(**layout, margin={"l": 60, "r": 12, "t": 12, "b": 48}, legend={"orientation": "h", "y": -0.2})
    plot.update_xaxes(type="log", title=f"{'seconds' if None in joules else 'joules'}, log scale")
    plot.update_yaxes(title="loss, nats a token")
    return str(plot.to_html(full_html=False, include_plotlyjs=False, default_height="420px", div_id="plot-sweep"))
