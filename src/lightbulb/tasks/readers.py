"""Files to tables: JSON lines, CSV, Parquet and plain text. A broken or hostile file costs one clear error.

Lines are read in binary and with a limit, so a file of one endless line is refused before it fills the memory.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lightbulb.errors import TaskError

MAX_LINE_BYTES = 8 * 2**20
DOCUMENT_CHARACTERS = 2000
LINES, DELIMITED, PARQUET = (".jsonl", ".ndjson", ".json"), (".csv", ".tsv"), (".parquet",)
TEXT = (".txt", ".md", ".raw")
DATA_SUFFIXES = LINES + DELIMITED + PARQUET


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one source: `columns` in order of first sight, `rows` as (line or row number from 1, cells by column).
    whole: they are pieces of one document, which stay on one side of a split."""

    where: str
    columns: tuple[str, ...]
    rows: list[tuple[int, dict[str, Any]]]
    whole: bool = False

    def place(self, line: int) -> str:
        return f"{self.where}:{line}"


def read_table(path: Path) -> Table:
    """Reads one file by its suffix. Raises TaskError (with file:line) for whatever cannot be read whole."""
    suffix = path.suffix.lower()
    readers = {LINES: _read_json_lines, DELIMITED: _read_delimited, PARQUET: _read_parquet, TEXT: _read_text}
    for suffixes, read in readers.items():
        if suffix in suffixes:
            table = read(path)
            if not table.rows:
                raise TaskError(
                    "the file is empty" if not path.stat().st_size else "the file holds no rows",
                    where=str(path),
                    mend="give a file with one example a line, at least 8 of them",
                )
            return table
    raise TaskError(
        f"unknown kind of file: {suffix or 'no suffix'}",
        where=str(path),
        mend=f"give one of {', '.join(DATA_SUFFIXES + TEXT)} (rename the file if it is one of these)",
    )


def open_binary(path: Path) -> BinaryIO:
    try:
        if os.path.exists(path) and not path.is_file():
            raise TaskError("not a regular file", where=str(path), mend="give a file or a folder of files")
        return path.open("rb")
    except PermissionError as e:
        raise TaskError("no permission to read the file", where=str(path), mend=f"chmod u+r {path}") from e
    except OSError as e:
        raise TaskError(f"cannot read the file: {e.strerror}", where=str(path), mend="give another file") from e


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines as text, line ends kept. A UTF-8 byte order mark is dropped."""
    with open_binary(path) as f:
        number = offset = 0
        while raw := f.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(raw) > MAX_LINE_BYTES:
                raise TaskError(
                    f"a line longer than {MAX_LINE_BYTES // 2**20} MB",
                    where=f"{path}:{number}",
                    mend="write one example a line (for a JSON array: jq -c '.[]' IN > OUT.jsonl)",
                )
            yield number, _decoded(raw, path, number, offset)
            offset += len(raw)


def _decoded(raw: bytes, path: Path, number: int, offset: int) -> str:
    if number == 1 and raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise TaskError(
            "the file is UTF-16, not UTF-8",
            where=f"{path}:1",
            mend=f"iconv -f UTF-16 -t UTF-8 {path} > OUT{path.suffix}",
        )
    try:
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as e:
        raise TaskError(
            f"not UTF-8: byte 0x{e.object[e.start]:02x} at offset {offset + e.start:,} of the file",
            where=f"{path}:{number}",
            mend=f"iconv -f WINDOWS-1252 -t UTF-8 {path} > OUT{path.suffix}, or repair that line",
        ) from e
    if "\0" in text:
        raise TaskError(
            f"not text: a NUL byte at offset {offset + raw.index(0):,} of the file",
            where=f"{path}:{number}",
            mend="give a text file in UTF-8",
        )
    return text


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
                mend="write one object a line (for an array: jq -c '.[]' IN > OUT.jsonl)",
            )
        columns.update(dict.fromkeys(row))
        rows.append((number, row))
    return Table(str(path), tuple(columns), rows)


def _not_json(error: Exception, line: str, path: Path, number: int) -> TaskError:
    place = f"{path}:{number}"
    if number == 1 and line.strip() in ("[", "{"):
        return TaskError("JSON spread over several lines", where=place, mend="jq -c '.[]' IN > OUT.jsonl")
    if isinstance(error, RecursionError):
        return TaskError(
            "JSON nested too deeply", where=place, mend=f"repair that line, or delete it: sed -i '{number}d' {path}"
        )
    detail = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
    cut = "" if line.endswith("\n") else "; the file seems to be cut off there"
    return TaskError(
        f"the line is not JSON: {detail}{cut}",
        where=place,
        mend=f"repair that line, or delete it: sed -i '{number}d' {path}",
    )


def _read_delimited(path: Path) -> Table:
    csv.field_size_limit(MAX_LINE_BYTES)
    lines = (line for _, line in lines_of(path))
    first = next(lines, "")
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(_after(first, lines), delimiter=delimiter, strict=True)
    rows: list[tuple[int, dict[str, Any]]] = []
    line = 1
    try:
        header = [name.strip() for name in next(reader, [])]
        if len(set(header)) < len(header):
            raise TaskError("two columns have the same name", where=f"{path}:1", mend="give every column its own name")
        while True:
            line = reader.line_num + 1  # where the row starts: a quoted cell may span lines
            cells = next(reader, None)
            if cells is None:
                return Table(str(path), tuple(header), rows)
            if len(cells) > len(header):
                raise TaskError(
                    f"{len(cells)} cells where the header names {len(header)}",
                    where=f"{path}:{line}",
                    mend="put double quotes around cells that hold the separator",
                )
            if cells:
                rows.append((line, dict(zip(header, cells, strict=False))))
    except csv.Error as e:
        raise TaskError(
            f"the row that starts here is not CSV: {e}",
            where=f"{path}:{line}",
            mend="look for a double quote that is opened and never closed, or closed too early",
        ) from e


def _after(first: str, rest: Iterable[str]) -> Iterator[str]:
    yield first
    yield from rest


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
                f"the Parquet file is corrupt: {detail}", where=str(path), mend="copy or download the file again"
            ) from e
    return Table(str(path), columns, list(enumerate(cells, start=1)))


def _read_text(path: Path) -> Table:
    rows: list[tuple[int, dict[str, Any]]] = [(n, {"text": text}) for n, text in documents(lines_of(path))]
    return Table(str(path), ("text",), rows)


def documents(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Packs paragraphs (what stands between blank lines) into documents of at most DOCUMENT_CHARACTERS characters.

    Yields (number of the first line, text). A longer paragraph is cut after a sentence, or else after a word.
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
