"""A GGUF with other keys: everything else byte for byte."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightbulb.core.files import new_file
from lightbulb.formats.gguf.header import STRING, read_layout

FLOAT, ARRAY, UINT64 = 6, 9, 10
Value = float | int | str | Sequence[float]


def with_keys(source: Path, out: Path, keys: Mapping[str, Value]) -> None:
    """Writes `out`, whole or not at all: `source` with these keys, after all others; keys of the same names are gone.

    Args:
        source: a GGUF that is one file
        out: another place
        keys: texts, whole numbers that are written as uint64, and others, alone or several, as float32

    Raises:
        ModelError: `source` cannot be read
    """
    layout = read_layout(source)
    kept = [span for name, span in layout.keys if name not in keys]
    with source.open("rb") as file, new_file(out) as beside, beside.open("wb") as to:

        def copy(start: int, end: int) -> None:
            file.seek(start)
            to.write(file.read(end - start))

        copy(0, 16)
        to.write(struct.pack("<Q", len(kept) + len(keys)))
        for start, end in kept:
            copy(start, end)
        for name, value in keys.items():
            to.write(_text(name) + _value(value))
        copy(*layout.entries)
        to.write(b"\0" * (-to.tell() % layout.alignment))
        file.seek(layout.data)
        shutil.copyfileobj(file, to, 1 << 20)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Value) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _text(value)
    if isinstance(value, int):
        return struct.pack("<IQ", UINT64, value)
    if isinstance(value, Sequence):
        return struct.pack(f"<IIQ{len(value)}f", ARRAY, FLOAT, len(value), *value)
    return struct.pack("<If", FLOAT, value)
