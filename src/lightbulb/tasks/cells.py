"""A cell of any table as text."""

from __future__ import annotations

import json
import math
from typing import Any

from lightbulb.core.errors import TaskError


def cell(value: Any, place: str, name: str, nested: bool = False) -> str:
    """A cell as text without blanks around it: null and NaN are missing (empty); numbers as written; objects as compact
    JSON where `nested`.

    Args:
        value: of the cell
        place: file:line, for the error
        name: of the column, likewise
        nested: whether it may hold an object or array

    Raises:
        TaskError: it is no text
    """
    return whole_cell(value, place, name, nested).strip()


def whole_cell(value: Any, place: str, name: str, nested: bool = False) -> str:
    """As `cell`, with the blanks around it."""
    if value is None or isinstance(value, float) and math.isnan(value):
        return ""
    if isinstance(value, str):
        text = value
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif not isinstance(value, dict | list | tuple | bytes):
        text = str(value)
    elif nested and not isinstance(value, bytes):
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    else:
        raise TaskError(
            f"column {name!r} holds {'bytes' if isinstance(value, bytes) else 'a nested value'}, not text",
            where=place,
            hint="`prompt=COLUMN` `completion=COLUMN` name other columns",
        )
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as e:
            raise TaskError(
                f"column {name!r} holds half of a surrogate pair: {ascii(text[e.start])}",
                where=place,
                hint="repair or delete that line",
            ) from e
    if "\0" in text:
        raise TaskError(f"column {name!r} holds a NUL character", where=place, hint="repair or delete that line")
    return text
