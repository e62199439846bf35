"""Small models as source code: what each kind becomes, and what that must answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightbulb.core.errors import ModelError
from lightbulb.core.figures import Figure
from lightbulb.exporting import c, slots_c
from lightbulb.exporting.js import js_files
from lightbulb.exporting.record import Form
from lightbulb.exporting.slots_js import slots_js_files
from lightbulb.formats.gguf.header import read_header
from lightbulb.models.kinds.fallback import fallback_of

if TYPE_CHECKING:
    from lightbulb.models.kinds.ngrams import NgramFile
    from lightbulb.models.kinds.slots import SlotFile

LEAST_TOKENS = slots_c.TOKENS


@dataclass(frozen=True)
class Names:
    """What the files of an export are called.

    Attributes:
        name: an identifier of C
        folder: that they will lie in
        source: the file that they were made from
        sha256: of that
        cost: what an answer cost in lightbulb, in words; None where nothing is known of it
    """

    name: str
    folder: str
    source: str
    sha256: str
    cost: str | None

    @property
    def title(self) -> str:
        return f"{self.folder}: {self.source}"


@dataclass(frozen=True)
class Sources:
    """Source code.

    Attributes:
        files: by name
        expected: the answer to each text, as the program that checks them prints it
        fills: whether it fills in answers, or chooses
        facts: of the record
        flash, ram: in C
    """

    files: dict[str, str]
    expected: list[str]
    fills: bool
    facts: dict[str, Any]
    flash: Figure | None = None
    ram: Figure | None = None


def sources_of(path: Path, to: Form, names: Names, texts: Sequence[str]) -> Sources:
    """A file of n-grams, or one that fills in answers, as C or JavaScript.

    Args:
        path: the file
        to: "c" or "js"
        names: of what is made
        texts: that it must answer as the file does

    Raises:
        ModelError: a file of another kind, or one that hands on to a language model
    """
    from lightbulb.models.kinds.ngrams import ARCHITECTURE, NgramFile
    from lightbulb.models.kinds.slot_file import ARCHITECTURE as OF_SLOTS
    from lightbulb.models.kinds.slot_file import read_slots

    fields = read_header(path).fields
    architecture = fields.get("general.architecture")
    if architecture not in (ARCHITECTURE, OF_SLOTS):
        raise ModelError(
            f"a model of the architecture {architecture!r} is not exported: only classifiers of n-grams "
            f"({ARCHITECTURE!r}) and files that fill in answers ({OF_SLOTS!r}) are",
            where=str(path),
            hint="an encoder: `to=onnx`; other files run in lightbulb and llama.cpp as they are",
        )
    if fallback_of(fields, path) is not None:
        raise ModelError(
            "a file that hands on what it is not sure of is not exported: the language model beside it cannot be",
            where=str(path),
            hint="such files run in lightbulb; steps/ of its run holds the first file alone",
        )
    if architecture == OF_SLOTS:
        return _of_slots(read_slots(path), to, names, texts)
    return _of_ngrams(NgramFile.read(path), to, names, texts)


def _of_ngrams(file: NgramFile, to: Form, names: Names, texts: Sequence[str]) -> Sources:
    expected = [str(number) for number in file.choices(texts)] if texts else []
    facts = {
        "answers": len(file.labels),
        "threshold": file.threshold or None,
        "ngrams": len(file.hashes),
        "width": file.weights.shape[1],
    }
    if to == "js":
        return Sources(js_files(file, names.folder, names.sha256, names.cost), expected, False, facts)
    files = c.c_files(file, names.name, names.title, names.sha256)
    flash = _bytes(c.table_bytes(file), c.CODE_BYTES, FLASH)
    return Sources(files, expected, False, facts, flash, _bytes(c.array_bytes(file), c.FRAME_BYTES, RAM))


def _of_slots(file: SlotFile, to: Form, names: Names, texts: Sequence[str]) -> Sources:
    from lightbulb.models.kinds.slot_features import tokens_of, well_formed

    expected = [f"{f.margin} {f.text}" for f in file.fill(texts)] if texts else []
    facts = {"fields": len(file.form.fields), "features": file.features}
    if to == "js":
        return Sources(slots_js_files(file, names.folder, names.sha256, names.cost), expected, True, facts)
    sizes = np.bincount(tokens_of([well_formed(text) for text in texts]).text_of) if texts else np.zeros(1, np.int64)
    tokens = max(LEAST_TOKENS, 1 << int(sizes.max(initial=1) - 1).bit_length())
    files = slots_c.slots_c_files(file, names.name, names.title, names.sha256, tokens)
    flash = _bytes(slots_c.table_bytes(file), slots_c.CODE_BYTES, FLASH)
    ram = _bytes(slots_c.array_bytes(file, tokens), slots_c.FRAME_BYTES, RAM)
    return Sources(files, expected, True, facts | {"tokens": tokens}, flash, ram)


FLASH = "tables counted, machine code as gcc makes it for 32 bits"
RAM = "arrays counted, the rest of the stack as gcc makes it for 32 bits"


def _bytes(counted: int, more: Sequence[int], method: str) -> Figure:
    low, value, high = (counted + some for some in more)
    return Figure(value=value, low=low, high=high, unit="bytes", source="estimated", method=method)
