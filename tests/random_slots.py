"""Random files of slots over the features of some texts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from lightbulb.models.kinds.slot_features import texts_as_rows, tokens_as_rows, tokens_of
from lightbulb.models.kinds.slots import Form, SlotFile, Table

KNOWN = [
    "wake me at 7 30",
    "Wake ANNA at 18:05!",
    "the lamp, please",
    "Über die Straße",
    "no no no wait",
    "a",
    "1415 1430",
]
CLOSED = {
    "sets": [[1, 0, 1], [0, 0, 1], [1, 0, 0]],
    "pieces": (0, 2, 2),
    "options": (("1", "2"), ('"a', '"b'), ('x"',)),
}


def random_file(seed: int, copied: bool = True, closed: bool = True) -> SlotFile:
    """copied, closed: whether there are such fields."""
    rng = np.random.default_rng(seed)
    if closed:
        form = Form(
            "{",
            ", ",
            "}",
            ('"n": ', '"name": ', '"at": '),
            (1,) if copied else (),
            (1,) if seed % 2 and copied else (),
            **_closed(copied),
        )
    else:
        form = Form("{", ",", "}", ('"a":', '"b":'), (0, 1), (1,), np.zeros((0, 2), bool), (), ())
    tokens = tokens_of(KNOWN)
    tags = form.tags
    return SlotFile(
        form,
        slope=float(np.float32(rng.uniform(1e-6, 1e-5))),
        offset=float(np.float32(rng.normal())),
        choices=_table(rng, texts_as_rows(tokens)[1], form.choices) if closed else None,
        tags=_table(rng, tokens_as_rows(tokens)[1], tags) if tags else None,
        transitions=rng.integers(-5000, 5000, (1 + tags, tags)).astype(np.int32) if tags else None,
    )


def _closed(copied: bool) -> dict:
    sets = np.array(CLOSED["sets"], bool)
    if copied:
        return {"sets": sets, "pieces": CLOSED["pieces"], "options": CLOSED["options"]}
    sets[1, 1] = True
    return {"sets": sets, "pieces": (0, 1, 2, 2), "options": (("1", "2"), ('"only"',), *CLOSED["options"][1:])}


def _table(rng: np.random.Generator, features: np.ndarray, columns: int) -> Table:
    hashes = np.unique(features)
    weights = rng.integers(-32767, 32768, (len(hashes), columns)) * (rng.random((len(hashes), columns)) < 0.3)
    return Table.of(hashes, sp.csr_matrix(weights), rng.integers(-20000, 20000, columns).astype(np.int32))


def bad(name: str) -> SlotFile:
    """A file with one thing wrong."""
    file = random_file(6)
    choices, tags, form = file.choices, file.tags, file.form
    assert choices is not None and tags is not None
    return {
        "hashes": replace(file, tags=replace(tags, hashes=tags.hashes[::-1].copy())),
        "starts": replace(file, tags=replace(tags, starts=tags.starts[::-1].copy())),
        "columns": replace(file, choices=replace(choices, columns=choices.columns + np.int16(1))),
        "bias": replace(file, choices=replace(choices, bias=choices.bias + np.int32(1 << 30))),
        "transitions": replace(file, transitions=file.transitions[:, :2].copy()),
        "sets": replace(file, form=replace(form, sets=np.ones_like(form.sets))),
        "pieces": replace(file, form=replace(form, pieces=(0, 1, 2))),
        "copied": replace(file, form=replace(form, copied=(0, 1))),
        "options": replace(file, form=replace(form, options=(*form.options[:2], ("x", "y")))),
        "slope": replace(file, slope=float("nan")),
        "fields": replace(file, form=replace(form, fields=form.fields[:2])),
    }[name]


BAD = ["hashes", "starts", "columns", "bias", "transitions", "sets", "pieces", "copied", "options", "slope", "fields"]
