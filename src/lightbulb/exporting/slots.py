"""What the exports of files that fill in answers have in common: their numbers as tables of plain whole numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lightbulb.exporting.tables import index_of
from lightbulb.models.kinds.slot_features import FEW, LONGEST, NGRAM, PAIR, REACH, WINDOWS
from lightbulb.models.kinds.slots import SlotFile, Table

TABLES = ("choice", "tag")


def tables_of(file: SlotFile) -> dict[str, Table]:
    """The linear models that it has, by the names that the exports give them."""
    found = zip(TABLES, (file.choices, file.tags), strict=True)
    return {name: table for name, table in found if table is not None}


def arrays_of(file: SlotFile) -> Iterator[tuple[str, np.ndarray]]:
    """Names and whole numbers of everything but the texts."""
    form = file.form
    for name, table in tables_of(file).items():
        yield f"{name}_hashes", table.hashes
        yield f"{name}_buckets", index_of(table.hashes).starts
        yield f"{name}_starts", table.starts
        yield f"{name}_columns", table.columns
        yield f"{name}_weights", table.weights
        yield f"{name}_bias", table.bias
    if file.transitions is not None:
        yield "transitions", file.transitions
        yield "windows", np.array([[w[0][0], len(w), *(on for _, on in w), 0, 0][:5] for w in WINDOWS])
        copied = np.full(len(form.fields), -1)
        copied[list(form.copied)] = np.arange(len(form.copied))
        yield "copied_places", copied
        yield "bare", np.isin(np.arange(len(form.fields)), form.bare)
    if file.choices is not None:
        yield "set_fields", form.sets
        yield "piece_fields", np.array(form.pieces, np.int64)
        yield "option_counts", np.array([len(o) for o in form.options], np.int64)


def texts_of(file: SlotFile) -> list[bytes]:
    """What is put together: opening, between, closing, the fields, the options of all pieces."""
    form = file.form
    texts = (form.opening, form.between, form.closing, *form.fields, *(o for own in form.options for o in own))
    return [text.encode() for text in texts]


def sizes_of(file: SlotFile) -> dict[str, Any]:
    """The numbers that templates name."""
    form, tables = file.form, tables_of(file)
    rows = {f"{name}_rows": len(table.hashes) for name, table in tables.items()}
    bits = {f"{name}_bits": index_of(table.hashes).bits for name, table in tables.items()}
    return {
        **dict.fromkeys(("choice_rows", "tag_rows", "choice_bits", "tag_bits"), 0),
        **rows,
        **bits,
        "fields": len(form.fields),
        "columns": form.choices if file.choices is not None else 0,
        "sets": len(form.sets),
        "pieces": len(form.pieces),
        "tags": form.tags,
        "copied": len(form.copied),
        "windows": len(WINDOWS),
        "longest": LONGEST,
        "reach": REACH,
        "ngram": NGRAM,
        "pair": PAIR,
        "few": FEW,
    }


def fixed_bytes(file: SlotFile) -> int:
    """Bytes that no answer has more of beside what is copied, six times as long at most: a closing zero, quotes, and of
    every piece its longest option."""
    texts, options = texts_of(file), [max(len(o.encode()) for o in own) for own in file.form.options]
    own = sum(map(len, texts[: 3 + len(file.form.fields)])) + len(texts[1]) * len(file.form.fields)
    return own + sum(options) + 2 * len(file.form.copied) + 1
