"""Files to tables: JSON lines, CSV, Parquet and plain text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lightbulb.core.errors import TaskError
from lightbulb.tasks.delimited import read_delimited
from lightbulb.tasks.lines import Table, lines_of, open_binary

DOCUMENT_CHARACTERS = 2000
LINES, DELIMITED, PARQUET = (".jsonl", ".ndjson", ".json"), (".csv", ".tsv"), (".parquet",)
TEXT = (".txt", ".md", ".raw")
DATA_SUFFIXES = LINES + DELIMITED + PARQUET
SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")


def read_rows(path: Path) -> Table:
    """Reads one file by its suffix.

    Raises:
        TaskError: it cannot be read whole; names file:line
    """
    suffix = path.suffix.lower()
    readers = {LINES: _read_json_lines, DELIMITED: read_delimited, PARQUET: _read_parquet, TEXT: _read_text}
    for suffixes, read in readers.items():
        if suffix in suffixes:
            table = read(path)
            if not table.rows:
                raise TaskError(
                    "the file is empty" if not path.stat().st_size else "the file holds no rows",
                    where=str(path),
                    hint="give a file with one example a line, at least 8 of them",
                )
            return table
    raise TaskError(
        f"unknown kind of file: {suffix or 'no suffix'}",
        where=str(path),
        hint="save the sheet as CSV UTF-8"
        if suffix in SPREADSHEETS
        else f"give one of {', '.join(DATA_SUFFIXES + TEXT)} (rename the file if it is one of these)",
    )


def _read_json_lines(path: Path) -> Table:
    rows: list[tuple[int, dict[str, Any]]] = []
    columns: dict[str, None] = {}
    for number, line in lines_of(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as e:
            raise _not_json(e, line, path, number) from e
        if not isinstance(row, dict):
            what = "one JSON array, not one JSON object a line" if isinstance(row, list) else "not a JSON object"
            raise TaskError(
                f"the line is {what}",
                where=f"{path}:{number}",
                hint="write one object a line (for an array: jq -c '.[]' IN > OUT.jsonl)",
            )
        columns.update(dict.fromkeys(row))
        rows.append((number, row))
    return Table(str(path), tuple(columns), rows)


def _not_json(error: Exception, line: str, path: Path, number: int) -> TaskError:
    place = f"{path}:{number}"
    if number == 1 and line.strip() in ("[", "{"):
        return TaskError("JSON spread over several lines", where=place, hint="jq -c '.[]' IN > OUT.jsonl")
    if isinstance(error, RecursionError):
        return TaskError(
            "JSON nested too deeply", where=place, hint=f"repair that line, or delete it: sed -i '{number}d' {path}"
        )
    detail = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
    cut = "" if line.endswith("\n") else "; the file seems to be cut off there"
    return TaskError(
        f"the line is not JSON: {detail}{cut}",
        where=place,
        hint=f"repair that line, or delete it: sed -i '{number}d' {path}",
    )


def _read_parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_binary(path) as f:
        if not path.stat().st_size:
            return Table(str(path), (), [])
        try:
            file = pq.ParquetFile(f)
            cells = [row for batch in file.iter_batches() for row in batch.to_pylist()]
            columns = tuple(file.schema_arrow.names)
        except (pa.ArrowException, OSError, ValueError, OverflowError) as e:
            detail = (str(e).splitlines() or [type(e).__name__])[0]
            raise TaskError(
                f"the Parquet file is corrupt: {detail}", where=str(path), hint="copy or download the file again"
            ) from e
    return Table(str(path), columns, list(enumerate(cells, start=1)))


def _read_text(path: Path) -> Table:
    rows: list[tuple[int, dict[str, Any]]] = [(n, {"text": text}) for n, text in documents(lines_of(path))]
    return Table(str(path), ("text",), rows)


def documents(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Packs paragraphs (what stands between blank lines) into documents of at most DOCUMENT_CHARACTERS characters. A
    longer paragraph is cut after a sentence, or else after a word.

    Yields:
        (number of the first line, text).
    """
    start, packed = 0, ""
    for number, paragraph in _paragraphs(lines):
        for piece in _pieces(paragraph):
            if packed and len(packed) + 2 + len(piece) > DOCUMENT_CHARACTERS:
                yield start, packed
                packed = ""
            start, packed = (start, f"{packed}\n\n{piece}") if packed else (number, piece)
    if packed:
        yield start, packed


def _paragraphs(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    start, held = 0, list[str]()
    for number, line in lines:
        if line.strip():
            start = start if held else number
            held.append(line.rstrip("\r\n"))
        elif held:
            yield start, "\n".join(held)
            held = []
    if held:
        yield start, "\n".join(held)


def _pieces(paragraph: str) -> Iterator[str]:
    at = 0
    while len(paragraph) - at > DOCUMENT_CHARACTERS:
        window = paragraph[at : at + DOCUMENT_CHARACTERS]
        ends = [m.end() for m in re.finditer(r"[.!?]\s+", window)] or [m.end() for m in re.finditer(r"\s+", window)]
        step = ends[-1] if ends else DOCUMENT_CHARACTERS
        if piece := window[:step].rstrip():
            yield piece
        at += step
    if piece := paragraph[at:]:
        yield piece
