"""How the rows of a CSV file that is there are written, so that another can follow them: delimiter, line ends, decimal
sign, encoding, order of the columns. Spreadsheets change all of them when they save a file."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightbulb.core.errors import UserError

Cell = str | float | None
DELIMITERS = ",;\t|"
_SEP = re.compile(r"\s*\"?sep=(.)\"?\s*", re.IGNORECASE)  # the first line of files for Excel
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+([eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class Sheet:
    """How the rows of a CSV file are written.

    Attributes:
        header: the columns as they are there
        delimiter: between fields
        newline: between rows
        decimal: "." or ","
        encoding: of the file
        ended: whether the last row has a line end
    """

    header: Sequence[str]
    delimiter: str = ","
    newline: str = "\n"
    decimal: str = "."
    encoding: str = "utf-8"
    ended: bool = True

    def line(self, cells: Sequence[Cell]) -> str:
        """A row with its line end; None is an empty field."""
        text = io.StringIO()
        writer = csv.writer(text, delimiter=self.delimiter, lineterminator=self.newline)
        writer.writerow(["" if c is None else self._number(c) if isinstance(c, float | int) else c for c in cells])
        return text.getvalue()

    def _number(self, number: float) -> str:
        return str(number).replace(".", self.decimal)


def read_sheet(path: Path, needed: Collection[str]) -> Sheet | None:
    """Finds out how a file is written.

    Args:
        path: of the file
        needed: columns that it must have, in lower case

    Returns:
        None for a file without any row.

    Raises:
        UserError: its columns are not `needed`, or no row can follow
    """
    text, encoding = _text(path)
    if not text.strip():
        if text and not text.isascii():
            raise _refused(path, "it holds nothing but blanks")
        return None
    first, newline = _first_line(text)
    body, delimiters, line = text, DELIMITERS, 1
    if (declared := _SEP.fullmatch(first)) is not None:
        body, delimiters, line = text[text.index(newline) + len(newline) :] if newline in text else "", declared[1], 2
    for delimiter in delimiters:
        rows = list(csv.reader(io.StringIO(body, newline=""), delimiter=delimiter))
        header = next((row for row in rows if row), [])
        if {name.strip().casefold() for name in header} >= set(needed):
            break
    else:
        header = next(csv.reader(io.StringIO(body, newline="")), [])
        missing = ", ".join(sorted(set(needed) - {name.strip().casefold() for name in header}))
        raise UserError(
            f"not an emissions.csv: it has no columns {missing}",
            where=f"{path}:{line}",
            hint="choose another file with csv=",
        )
    if text.count('"') % 2:
        raise _refused(path, "a quoted field of it is not closed")
    cells = [cell for row in rows[1:] for cell in row]
    comma = delimiter != "," and any(map(_DECIMAL_COMMA.fullmatch, cells))
    return Sheet(header, delimiter, newline, "," if comma else ".", encoding, text.endswith(("\n", "\r")))


def _text(path: Path) -> tuple[str, str]:
    """All of a file without its byte order mark, and the encoding in which more can follow."""
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content:
        raise _refused(path, "it is not in UTF-8 (UTF-16, or no text)")
    try:
        return content.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError:
        return content.decode("latin-1"), "latin-1"


def _first_line(text: str) -> tuple[str, str]:
    """The first line, and how lines end."""
    match = re.search(r"\r\n|\n|\r", text)
    return (text, "\n") if match is None else (text[: match.start()], match[0])


def _refused(path: Path, why: str) -> UserError:
    return UserError(
        f"no row can be added to this file: {why}",
        where=str(path),
        hint="save it as CSV in UTF-8, or choose another file with csv=",
    )
