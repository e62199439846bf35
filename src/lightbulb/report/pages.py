"""The pages of a run folder: the report and the model card."""

from __future__ import annotations

from pathlib import Path

from lightbulb.report.card import render_card
from lightbulb.report.html import render_html
from lightbulb.report.record import Result
from lightbulb.store import write_text


def write_pages(folder: Path, result: Result) -> None:
    write_text(folder / "README.md", render_card(result))
    write_text(folder / "report.html", render_html(result))
