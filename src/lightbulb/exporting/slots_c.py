"""A file that fills in answers as C99: one header, one source file."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lightbulb.core.version import __version__
from lightbulb.exporting.c import CArray, bits_of, comment
from lightbulb.exporting.slots import arrays_of, fixed_bytes, sizes_of, tables_of, texts_of
from lightbulb.exporting.tables import templates
from lightbulb.models.kinds.slots import SlotFile

TOKENS = 128  # of a text, where the test items have no more
TOKEN_BYTES = 24  # and a tag that leads to each tag of it, and its own
# Machine code and constants beside the tables, and stack beside the arrays, as of n-grams (exporting/c.py)
CODE_BYTES = (1_500, 3_000, 6_144)
FRAME_BYTES = (128, 512, 1_024)


def slots_c_files(file: SlotFile, name: str, title: str, sha256: str, tokens: int = TOKENS) -> dict[str, str]:
    """The header and the source file by their names.

    Args:
        file: what is exported
        name: an identifier in small letters, with which every name in them begins
        title: a line for their first comment
        sha256: of the file that they were made from
        tokens: of a text, at most, where nothing else is asked of the compiler
    """
    tables = tables_of(file).values()
    given = sizes_of(file) | {
        "name": name,
        "upper": name.upper(),
        "title": comment(title),
        "version": __version__,
        "sha256": sha256,
        "tokens": tokens,
        "token_bytes": token_bytes(file),
        "fixed_bytes": fixed_bytes(file),
        "slope": repr(float(np.float32(file.slope))),
        "offset": repr(float(np.float32(file.offset))),
        "row_type": f"uint{bits_of(max(len(t.hashes) for t in tables))}_t",
        "weight_type": f"uint{bits_of(max(len(t.weights) for t in tables))}_t",
        "column_type": f"uint{bits_of(max(len(t.bias) for t in tables))}_t",
        "tables": "\n\n".join(array.text() for array in _arrays(file)),
        "blanks": True,
        "letters": True,
    }
    return {f"{name}.{end}": templates().get_template(f"slots.{end}.j2").render(given) for end in ("h", "c")}


def token_bytes(file: SlotFile) -> int:
    """Bytes of stack for each of a text's words, numbers and signs."""
    return TOKEN_BYTES + file.form.tags + bool(file.form.tags)


def table_bytes(file: SlotFile) -> int:
    """Bytes of the tables."""
    return sum(array.bytes for array in _arrays(file))


def array_bytes(file: SlotFile, tokens: int = TOKENS) -> int:
    """Bytes of stack that the arrays of `fill` take: those of choosing and those of tagging one after the other."""
    sizes = sizes_of(file)
    choosing = 8 * sizes["columns"] + (sizes["choice_rows"] + 7) // 8
    tagging = (tokens + 3 * 8) * sizes["tags"]
    always = tokens * (TOKEN_BYTES + bool(sizes["tags"])) + 2 * (1 + sizes["pieces"]) + 8 * sizes["copied"]
    return always + max(choosing, tagging)


def _arrays(file: SlotFile) -> Iterator[CArray]:
    most = {
        kind: bits_of(max(len(getattr(t, what)) for t in tables_of(file).values()))
        for kind, what in (("buckets", "hashes"), ("starts", "weights"), ("columns", "bias"))
    }
    fixed = {"hashes": 32, "weights": 16, "bias": 32, "transitions": 32, "option_counts": 16}
    for name, values in arrays_of(file):
        kind = name.split("_")[-1] if name != "option_counts" else name
        signed = kind in ("weights", "bias", "transitions", "windows", "places")
        yield CArray(name, most.get(kind) or fixed.get(kind, 8), signed, values.astype(np.int64))
    texts = texts_of(file)
    ends = np.cumsum([0, *map(len, texts)])
    yield CArray("text_starts", bits_of(int(ends[-1])), False, ends)
    yield CArray("texts", 8, False, np.frombuffer(b"".join(texts), np.uint8))
