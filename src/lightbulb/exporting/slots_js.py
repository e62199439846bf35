"""A file that fills in answers as JavaScript: a module, and a page that needs nothing else."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from lightbulb.core.version import __version__
from lightbulb.exporting.js import MODULE, PAGE, literal, page_of
from lightbulb.exporting.slots import arrays_of, sizes_of, texts_of
from lightbulb.exporting.tables import templates
from lightbulb.models.kinds.slots import SlotFile

KINDS = {"<u4": "Uint32Array", "<i4": "Int32Array", "<i2": "Int16Array", "|i1": "Int8Array"}
TYPES = {"hashes": "<u4", "buckets": "<u4", "bias": "<i4", "starts": "<i4", "transitions": "<i4", "windows": "|i1"}


def slots_js_files(file: SlotFile, title: str, sha256: str, cost: str | None) -> dict[str, str]:
    """The module and the page by their names.

    Args:
        file: what is exported
        title: a line that names it
        sha256: of the file that they were made from
        cost: what an answer costs, in words; None where nothing is known of it
    """
    sizes = sizes_of(file)
    places, tables = _tables(file)
    model = {
        "fields": sizes["fields"],
        "tags": sizes["tags"],
        "sets": sizes["sets"] if sizes["columns"] else 0,
        "choiceShift": 32 - sizes["choice_bits"],
        "tagShift": 32 - sizes["tag_bits"],
        "slope": float(np.float32(file.slope)),
        "offset": float(np.float32(file.offset)),
        "texts": [text.decode() for text in texts_of(file)],
        "tables": places,
    }
    given = sizes | {"title": " ".join(title.split()), "version": __version__, "sha256": sha256}
    data = base64.b64encode(tables).decode()
    module = templates().get_template("slots.js.j2").render(given, model=literal(model), tables=data)
    return {MODULE: module, PAGE: page_of(module, "slots-page.js", title, cost)}


def _tables(file: SlotFile) -> tuple[dict[str, tuple[str, int, int]], bytes]:
    """(type, first byte, elements) of each table by its name, and all in one: the widest first, so that each is
    aligned."""
    typed: list[tuple[str, np.ndarray[Any, Any]]] = []
    for name, values in arrays_of(file):
        typed.append((name, values.astype(TYPES.get(name.split("_")[-1], "<i2")).ravel()))
    places, parts, at = {}, [], 0
    for name, table in sorted(typed, key=lambda entry: -entry[1].itemsize):
        places[name] = KINDS[table.dtype.str], at, table.size
        parts.append(table.tobytes())
        at += table.nbytes
    return places, b"".join(parts)
