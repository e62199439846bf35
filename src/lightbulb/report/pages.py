"""The pages of a run folder: the report and the model card."""

from __future__ import annotations

from pathlib import Path

from lightbulb.core.files import write_text
from lightbulb.report.card import render_card
from lightbulb.report.html import render_html
from lightbulb.shrinking.record import Result


def write_pages(folder: Path, result: Result) -> None:
    write_text(folder / "README.md", render_card(result))
    write_text(folder / "report.html", render_html(result))
