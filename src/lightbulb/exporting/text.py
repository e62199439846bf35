"""How an export reads on a terminal. Pure: a record in, something to print out."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lightbulb.core import units
from lightbulb.exporting.record import Checked, Export


def render_exported(record: Export, folder: Path) -> RenderableType:
    """Where it lies, how it was checked, what it takes, and the boards that have that. Text that comes from outside is
    never read as markup."""
    files = ", ".join(f"{name} ({units.quantity(part.bytes, 'B')})" for name, part in record.files.items())
    lines = [f"{folder}: {files}", _means(record), checked_text(record.checked)]
    if record.flash is None or record.ram is None:
        return Group(*map(Text, lines))
    lines.append(f"takes {units.text(record.flash)} of flash and {units.text(record.ram)} of stack, whatever the text")
    return Group(*map(Text, lines), _boards(record))


def _means(record: Export) -> str:
    if record.fields is not None:
        most = f"; texts of at most {record.tokens:,} words, numbers and signs" if record.tokens else ""
        return f"fills in {record.fields:,} fields by {record.features:,} features{most}"
    chooses = f"chooses one of {record.answers:,} answers by"
    if record.ngrams is not None:
        return f"{chooses} {record.ngrams:,} n-grams with {record.width:,} numbers each"
    return f"{chooses} an encoder of {record.layers} layers, {record.width:,} wide; takes token ids, by tokenizer.json"


def checked_text(checked: Checked) -> str:
    """How an export was checked, in a line."""
    if checked.items is None:
        return f"not checked on test items: {checked.why_not}"
    if checked.score is not None and checked.source_score is not None:
        return (
            f"checked: {units.text(checked.score)} on all {checked.items:,} test items, where the model file has "
            f"{units.text(checked.source_score)}; {checked.differ:,} answered otherwise ({checked.runtime})"
        )
    return f"checked: the same answer as the model file on all {checked.items:,} test items ({checked.runtime})"


def _boards(record: Export) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("board", "core", "flash", "RAM", ""):
        table.add_column(heading, overflow="fold")
    for board in record.boards:
        sizes = (units.quantity(n, "B") for n in (board.flash_bytes, board.ram_bytes))
        table.add_row(*map(Text, (board.label, board.core, *sizes, "fits" if board.fits else "too small")))
    return table
