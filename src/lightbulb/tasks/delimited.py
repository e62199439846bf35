"""CSV and TSV as spreadsheets, databases and people write them. No row is lost without a word.

In TSV a double quote is text, unless the lines come out right only when cells in quotes are read as in CSV. In CSV a
quote that is opened and closed some lines below swallows the rows between: those that look like all others are given
back.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lightbulb.core.errors import TaskError
from lightbulb.tasks.lines import MAX_LINE_BYTES, Table, is_utf_16, lines_of, utf_16_lines_of
from lightbulb.tasks.names import KNOWN, folded

DELIMITERS = ",;\t|"
AHEAD = 50  # lines looked at to tell a title from a header
SEVERAL = 3  # lines that all look like rows are no accident
CsvRecord = tuple[int, int, list[str]]  # first line, last line (both from 0), cells


def read_delimited(path: Path) -> Table:
    """Reads a CSV or TSV file.

    Raises:
        TaskError: it does not come out as rows of the header; names file:line
    """
    csv.field_size_limit(MAX_LINE_BYTES)
    findings: list[str] = []
    lines = _lines(path, findings)
    start, delimiter = _header(path, lines, findings)
    if start == len(lines):
        return Table(str(path), (), [])
    records = _records(path, lines, start, delimiter, findings)
    if not records:
        return Table(str(path), (), [])
    names = [name.strip() for name in records[0][2]]
    width = max((i + 1 for i, name in enumerate(names) if name), default=0)
    body = [(first, last, cells) for first, last, cells in records[1:] if any(cell.strip() for cell in cells)]
    width = max(width, min(len(names), max((_filled(cells) for _, _, cells in body), default=0)))
    if any(last > first for first, last, _ in body):
        body = _given_back(path, lines, body, {width, len(names)}, delimiter, findings)
    if again := [first for first, _, cells in body if [c.strip() for c in cells[:width]] == names[:width]]:
        findings.append(f"{_named(path, again)}: the header again, as where files were joined; left out")
        body = [record for record in body if record[0] not in again]
    columns = _columns(path, records[0][0], names[:width], body)
    rows: list[tuple[int, dict[str, Any]]] = []
    for first, last, cells in body:
        if _filled(cells) > width:
            raise _ragged(path, first, last, _filled(cells), width)
        rows.append((first + 1, {n: c for n, c in zip(columns, cells, strict=False) if n is not None}))
    return Table(str(path), tuple(n for n in columns if n is not None), rows, findings=tuple(findings))


def _lines(path: Path, findings: list[str]) -> list[str]:
    """Physical lines, their ends kept. Old spreadsheets end them with a carriage return alone."""
    if is_utf_16(path):
        findings.append(f"{path.name} is UTF-16, as spreadsheets write Unicode text: read as such")
        lines = [line for _, line in utf_16_lines_of(path)]
    else:
        lines = [line for _, line in lines_of(path)]
    if lines and "\r" in lines[0].rstrip("\r\n"):
        lines = [line for long in lines for line in re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", long)]
    return lines


def _header(path: Path, lines: Sequence[str], findings: list[str]) -> tuple[int, str]:
    """Which line is the header, and what separates cells. Above it may stand Excel's `sep=;`, blanks and a title."""
    start, delimiter = 0, None
    if lines and (declared := re.fullmatch(r'"?sep=(.)"?', lines[0].strip("\r\n"), re.IGNORECASE)):
        start, delimiter = 1, declared[1]
    while start < len(lines) and _is_blank(lines[start], delimiter):
        start += 1
    if start == len(lines):
        return start, delimiter or ","
    if header := _below_a_title(path, lines, start, delimiter):
        findings.append(f"{_named(path, header[2])} left out: a title above the header")
        return header[:2]
    return start, delimiter or _separator(path, lines[start])


def _below_a_title(
    path: Path, lines: Sequence[str], start: int, declared: str | None
) -> tuple[int, str, list[int]] | None:
    """The header's line and separator, and the lines above it, where these hold one cell each and no column's name, and
    the header names a column that is known and is as wide as the rows below."""
    seen = [i for i in range(start, min(len(lines), start + AHEAD)) if not _is_blank(lines[i], declared)]
    for n, at in enumerate(seen):
        between = declared or _separator(path, lines[at])
        names = [folded(cell) for cell in _split(lines[at], between) if cell.strip()]
        if len(names) > 1:
            wide = {len(_split(lines[i], between)) for i in seen[n : n + 3]}
            fits = len(set(names)) == len(names) and not KNOWN.isdisjoint(names) and len(wide) == 1
            return (at, between, seen[:n]) if n and fits else None
        if not names or names[0] in KNOWN or not _split(lines[at], between)[0].strip():
            return None
    return None


def _separator(path: Path, header: str) -> str:
    outside = re.sub(r'"[^"]*"', "", header)
    if path.suffix.lower() == ".tsv" and "\t" in outside:
        return "\t"
    return max(DELIMITERS, key=outside.count)


def _records(path: Path, lines: Sequence[str], start: int, delimiter: str, findings: list[str]) -> list[CsvRecord]:
    if delimiter == "\t" and (plain := _plain(path, lines, start, findings)):
        return plain
    try:
        return list(_quoted(path, lines, start, delimiter))
    except TaskError:
        if not any('\\"' in line for line in lines):
            raise
    records = list(_quoted(path, lines, start, delimiter, doublequote=False, escapechar="\\"))
    findings.append(f"{path.name}: double quotes within cells are written with a backslash: read so")
    return records


def _quoted(path: Path, lines: Sequence[str], start: int, delimiter: str, **dialect: Any) -> Iterator[CsvRecord]:
    reader = csv.reader(iter(lines[start:]), delimiter=delimiter, strict=True, **dialect)
    first = start
    try:
        for cells in reader:
            if cells:
                yield first, start + reader.line_num - 1, cells
            first = start + reader.line_num  # where the next row starts: a quoted cell may span lines
    except csv.Error as e:
        raise TaskError(
            f"the row that starts here is not CSV: {e}",
            where=f"{path}:{first + 1}",
            hint="look for a double quote that is opened and never closed, or closed too early",
        ) from e


def _plain(path: Path, lines: Sequence[str], start: int, findings: list[str]) -> list[CsvRecord]:
    """Every line of a TSV a row, quotes as text; nothing where the file comes out right only with cells in quotes."""
    quoted = [i for i in range(start, len(lines)) if '"' in lines[i]]
    records = [(i, i, _split(lines[i], "\t")) for i in range(start, len(lines)) if lines[i].strip()]
    width = len(records[0][2])
    if quoted and (all(_in_quotes(c) for c in records[0][2]) or any(len(c) != width for _, _, c in records)):
        try:
            if all(len(cells) == width for _, _, cells in _quoted(path, lines, start, "\t")):
                return []
        except TaskError:
            pass
    odd = [i for i, _, cells in records if any(c.startswith('"') and not _in_quotes(c) for c in cells)]
    if odd:
        findings.append(
            f"{_named(path, odd)}: a cell begins with a double quote and does not end with one; in a tab-separated file"
            " quotes are text"
        )
    return [(i, i, [_unquoted(cell) for cell in cells]) for i, _, cells in records]


def _in_quotes(cell: str) -> bool:
    return re.fullmatch(r'"(?:[^"]|"")*"', cell.strip()) is not None


def _unquoted(cell: str) -> str:
    """Doubled quotes in a cell in quotes are a writer's, not the text's."""
    return cell.strip()[1:-1].replace('""', '"') if '""' in cell.strip()[1:-1] and _in_quotes(cell) else cell


def _given_back(
    path: Path, lines: Sequence[str], body: list[CsvRecord], widths: set[int], delimiter: str, findings: list[str]
) -> list[CsvRecord]:
    """Rows with those that a quote swallowed, where all its lines look like rows; else these are only named. widths:
    cells of a row, with and without the empty ones at the end."""
    closed = _closed_columns([cells for first, last, cells in body if first == last], min(widths))
    given: list[CsvRecord] = []
    for first, last, cells in body:
        inner = range(first, last + 1)
        parts = [_split(lines[i], delimiter) for i in inner] if last > first and min(widths) > 1 else []
        alike = [len(p) in widths and all(p[c].strip() in known for c, known in closed.items()) for p in parts]
        span = f"{path}:{first + 1} to {last + 1}"
        if parts and closed and all(alike):
            findings.append(
                f"{span}: a double quote opens in the first of these lines and closes in the last, and each of them"
                f" is a row like the others: read as {len(parts):,} rows, these quotes as text"
            )
            given += [(i, i, part) for i, part in zip(inner, parts, strict=True)]
            continue
        if sum(alike) >= SEVERAL and (closed or all(alike)):
            findings.append(
                f"{span}: one cell in double quotes, though {sum(alike):,} of its lines look like rows: if they are, a"
                " quote is opened there and closed too late"
            )
        given.append((first, last, cells))
    return given


def _closed_columns(rows: Sequence[list[str]], width: int) -> dict[int, set[str]]:
    """Columns whose values come again and again, with these values: a line that has others is no row."""
    columns = {c: [cells[c].strip() for cells in rows if len(cells) > c] for c in range(width)}
    values = {c: set(cells) for c, cells in columns.items()}
    return {c: values[c] for c, cells in columns.items() if len(cells) > SEVERAL and 2 * len(values[c]) <= len(cells)}


def _columns(path: Path, line: int, names: list[str], body: Sequence[CsvRecord]) -> list[str | None]:
    """A name for each column that holds anything; None for an empty one that a trailing separator made."""
    named = [name for name in names if name]
    if len(set(named)) < len(named):
        raise TaskError(
            "two columns have the same name", where=f"{path}:{line + 1}", hint="give every column its own name"
        )
    filled = {c for _, _, cells in body for c in range(len(names)) if len(cells) > c and cells[c].strip()}
    return [name if name or c == 0 else f"column {c + 1}" if c in filled else None for c, name in enumerate(names)]


def _ragged(path: Path, first: int, last: int, cells: int, width: int) -> TaskError:
    over = f" in the row of lines {first + 1} to {last + 1}" if last > first else ""
    return TaskError(
        f"{cells} cells where the header names {width}{over}",
        where=f"{path}:{first + 1}",
        hint="put double quotes around cells that hold the separator"
        + (", and look for one that is opened and closed too late" if over else ""),
    )


def _filled(cells: Sequence[str]) -> int:
    """How many cells a row has without the empty ones at its end."""
    return max((i + 1 for i, cell in enumerate(cells) if cell.strip()), default=0)


def _split(line: str, delimiter: str) -> list[str]:
    return line.rstrip("\r\n").split(delimiter)


def _is_blank(line: str, delimiter: str | None) -> bool:
    return not line.strip(f' \r\n"{delimiter or DELIMITERS}')


def _named(path: Path, lines: Sequence[int]) -> str:
    shown = ", ".join(str(i + 1) for i in lines[:5]) + (f" and {len(lines) - 5:,} more" if len(lines) > 5 else "")
    return f"{path}:{shown}"
