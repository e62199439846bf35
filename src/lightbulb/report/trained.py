"""What a terminal prints when a training is done."""

from __future__ import annotations

from pathlib import Path

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from lightbulb.core import units
from lightbulb.pretraining.record import TrainingRecord


def render_trained(record: TrainingRecord, folder: Path) -> RenderableType:
    """What was trained, how well it knows held-out text, and what that took."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    shape = f"{record.layers} layers of width {record.width}, {record.vocabulary:,} tokens"
    cost = record.training
    rows = [
        ("trained", f"{record.goal.architecture}, {record.parameters:,} parameters: {shape}"),
        ("read", f"{record.tokens:,} tokens of {record.text} ({record.epochs:.3g} times) in {record.steps:,} steps"),
        ("loss", f"{record.train_loss:.3f} nats a token at the end"),
        ("bits-per-byte", f"{units.text(record.score)} of {record.score_items:,} held-out documents"),
        ("training", f"{units.text(cost.joules, source=True)}, {units.quantity(cost.seconds, 's')} by the clock, "
         f"{units.text(record.joules_per_token)}"),
        ("model", str(folder / record.model)),
        ("file", f"{folder / record.gguf}, {units.text(units.counted_bytes(record.gguf_bytes))}"),
    ]  # fmt: skip
    for label, text in rows:
        grid.add_row(Text(label), Text(text))
    return grid
