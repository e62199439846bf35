"""Numbered lines of a file, and the tables that readers make of them. A broken or hostile file costs one clear error.

Lines are read in binary and with a limit, so a file of one endless line is refused before it fills the memory.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lightbulb.core.errors import TaskError

MAX_LINE_BYTES = 8 * 2**20
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one source.

    Attributes:
        where: the file, or what names it
        columns: in order of first sight
        rows: (line or row number from 1, cells by column)
        whole: they are pieces of one document, which stay on one side of a split
        findings: what reading had to decide
    """

    where: str
    columns: tuple[str, ...]
    rows: list[tuple[int, dict[str, Any]]]
    whole: bool = False
    findings: tuple[str, ...] = ()

    def place(self, line: int) -> str:
        """file:line, for errors."""
        return f"{self.where}:{line}"


def open_binary(path: Path) -> BinaryIO:
    """Opens a file to read.

    Raises:
        TaskError: it cannot be read
    """
    try:
        if os.path.exists(path) and not path.is_file():
            raise TaskError("not a regular file", where=str(path), hint="give a file or a folder of files")
        return path.open("rb")
    except PermissionError as e:
        raise TaskError("no permission to read the file", where=str(path), hint=f"chmod u+r {path}") from e
    except OSError as e:
        raise TaskError(f"cannot read the file: {e.strerror}", where=str(path), hint="give another file") from e


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines as text, line ends kept. A UTF-8 byte order mark is dropped.

    Raises:
        TaskError: the file cannot be read, or is not UTF-8
    """
    with open_binary(path) as f:
        number = offset = 0
        while raw := f.readline(MAX_LINE_BYTES + 1):
            number += 1
            _check_length(raw, path, number)
            yield number, _decoded(raw, path, number, offset)
            offset += len(raw)


def utf_16_lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of a file that begins with a UTF-16 byte order mark, line ends kept.

    Raises:
        TaskError: the file cannot be read
    """
    with open_binary(path) as f, io.TextIOWrapper(f, encoding="utf-16", newline="\n") as text:
        number = 0
        try:
            while line := text.readline(MAX_LINE_BYTES + 1):
                number += 1
                _check_length(line, path, number)
                if "\0" in line:
                    raise TaskError("a NUL character", where=f"{path}:{number}", hint="repair or delete that line")
                yield number, line
        except UnicodeDecodeError as e:
            raise TaskError(
                f"not UTF-16, though it begins like it: {e.reason}",
                where=f"{path}:{number + 1}",
                hint="save the file again as CSV UTF-8",
            ) from e


def is_utf_16(path: Path) -> bool:
    """By its byte order mark."""
    with open_binary(path) as f:
        return f.read(2) in UTF_16


def _check_length(line: bytes | str, path: Path, number: int) -> None:
    if len(line) > MAX_LINE_BYTES:
        raise TaskError(
            f"a line longer than {MAX_LINE_BYTES // 2**20} MB",
            where=f"{path}:{number}",
            hint="write one example a line (for a JSON array: jq -c '.[]' IN > OUT.jsonl)",
        )


def _decoded(raw: bytes, path: Path, number: int, offset: int) -> str:
    if number == 1 and raw[:2] in UTF_16:
        raise TaskError(
            "the file is UTF-16, not UTF-8",
            where=f"{path}:1",
            hint=f"iconv -f UTF-16 -t UTF-8 {path} > OUT{path.suffix}",
        )
    try:
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as e:
        raise TaskError(
            f"not UTF-8: byte 0x{e.object[e.start]:02x} at offset {offset + e.start:,} of the file",
            where=f"{path}:{number}",
            hint=f"iconv -f WINDOWS-1252 -t UTF-8 {path} > OUT{path.suffix}, or repair that line",
        ) from e
    if "\0" in text:
        raise TaskError(
            f"not text: a NUL byte at offset {offset + raw.index(0):,} of the file",
            where=f"{path}:{number}",
            hint="give a text file in UTF-8",
        )
    return text
