"""A file of n-grams as JavaScript: a module, and a page that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from lightbulb.core.errors import UserError
from lightbulb.core.version import __version__
from lightbulb.exporting.tables import index_of, largest_score, templates
from lightbulb.models.kinds.likelihood import TABLE, octave_of

if TYPE_CHECKING:
    from lightbulb.models.kinds.ngrams import NgramFile


EXACT = 1 << 53  # whole numbers below are exact as numbers of JavaScript
MOST_ROWS = EXACT >> 30  # squared lengths of that many rows stay below EXACT
MODULE, PAGE = "model.js", "index.html"


def js_files(file: NgramFile, title: str, sha256: str, cost: str | None) -> dict[str, str]:
    """The module and the page by their names.

    Args:
        file: what is exported
        title: a line that names it
        sha256: of the file that they were made from
        cost: what an answer costs, in words; None where nothing is known of it

    Raises:
        UserError: the file has more rows than JavaScript counts exactly
    """
    if len(file.hashes) >= MOST_ROWS:
        raise UserError(
            f"{len(file.hashes):,} n-grams are more than JavaScript adds up exactly ({MOST_ROWS:,})",
            hint="keep fewer n-grams, or `to=c`",
        )
    places, tables = _tables(file)
    octave, octave_shift = octave_of(file.unit)
    model = {
        "answers": file.labels,
        "rows": len(file.hashes),
        "width": file.weights.shape[1],
        "words": file.ngrams.words,
        "chars": file.ngrams.chars,
        "octave": octave,
        "octaveShift": octave_shift,
        "likely": TABLE.tolist(),
        "threshold": file.threshold or 0,
        "none": file.none,
        "shift": 32 - index_of(file.hashes).bits,
        "big": 2 * largest_score(file) >= EXACT,
        **places,
    }
    given = {"title": " ".join(title.split()), "version": __version__, "sha256": sha256, "answers": file.labels}
    module = (
        templates()
        .get_template("model.js.j2")
        .render(**given, model=literal(model), tables=base64.b64encode(tables).decode())
    )
    return {MODULE: module, PAGE: page_of(module, "page.js", title, cost)}


def page_of(module: str, shown_by: str, title: str, cost: str | None) -> str:
    """A page that holds a module. shown_by: the template of what stands behind it."""
    style = templates().get_template("page.css").render()
    script = module + templates().get_template(shown_by).render()
    hashes = {"script": _hash_source(script), "style": _hash_source(style)}
    page = templates().get_template("index.html.j2")
    return page.render(
        title=html.escape(title), cost=cost and html.escape(cost), style=style, script=script, hashes=hashes
    )


def _hash_source(text: str) -> str:
    """As a policy names what may stand in a page."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def literal(value: Any) -> str:
    """A value as JavaScript that may stand in a page: no end of a script, no comment's begin, only ASCII."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")


def _tables(file: NgramFile) -> tuple[dict[str, tuple[int, int]], bytes]:
    """(first byte, elements) of each table by its name, and all in one: the widest first, so that each is aligned."""
    places, parts, at = {}, [], 0
    for name, table in _arrays(file):
        places[name] = at, table.size
        parts.append(table.tobytes())
        at += table.nbytes
    return places, b"".join(parts)


def _arrays(file: NgramFile) -> Iterator[tuple[str, np.ndarray]]:
    yield "hashes", file.hashes.astype("<u4")
    yield "starts", index_of(file.hashes).starts.astype("<u4")
    yield "bias", file.bias.astype("<i4")
    for name in ("idf", "scales", "counts"):
        yield name, getattr(file, name).astype("<i2")
    yield "head", np.zeros(0, "<i2") if file.head is None else file.head.astype("<i2")
    yield "weights", file.weights.astype("i1")
