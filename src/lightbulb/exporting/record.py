"""What an export says about itself: `export.json`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from lightbulb.core.figures import Figure

RECORD = "export.json"
Form = Literal["c", "js", "onnx"]


class Part(BaseModel):
    """One of its files."""

    model_config = ConfigDict(frozen=True)

    bytes: int
    sha256: str


class Checked(BaseModel):
    """How it was checked before it was handed over.

    Attributes:
        items: test items, all of the task's, that it answered as the file does that it was made from; None where it
            could not be checked
        runtime: the compiler, interpreter or library that it ran with; None likewise
        why_not: what was missing; "" where it was checked
        differ: of the items, those with another answer; only in ONNX, where numbers have more bits, there may be some
        score: of the export on them, in ONNX; None likewise
        source_score: of the file that it was made from
    """

    model_config = ConfigDict(frozen=True)

    items: int | None
    runtime: str | None = None
    why_not: str = ""
    differ: int = 0
    score: Figure | None = None
    source_score: Figure | None = None


class Fit(BaseModel):
    """Whether it fits a board, by the upper ends of what it needs: all of its flash and RAM is there for it."""

    model_config = ConfigDict(frozen=True)

    board: str
    label: str
    core: str
    flash_bytes: int
    ram_bytes: int
    fits: bool


class Export(BaseModel):
    """`export.json`.

    Attributes:
        to: "c", "js" or "onnx"
        name: with which every name in C begins
        source: name of the file that it was made from
        source_sha256: of that file
        answers: how many it chooses among; None of slots
        threshold: the least probability of an answer that is given; None where all are
        ngrams: how many have a row; None of an encoder, and of slots
        fields: that it fills in; None of what chooses
        features: of slots that have weights; None likewise
        tokens: words, numbers and signs that a text may have, unless the compiler is told otherwise; of slots in C
        layers: of an encoder; None of n-grams
        width: numbers of a row, or of an encoder's vectors; None of slots
        checked: how it was checked
        flash: bytes of tables and machine code; only in C
        ram: bytes of stack that an answer takes at most, the same for every text; None likewise
        boards: which of the catalogue it fits; none for JavaScript
        files: all but the record itself
    """

    model_config = ConfigDict(frozen=True)

    to: Form
    name: str
    source: str
    source_sha256: str
    answers: int | None = None
    threshold: float | None = None
    ngrams: int | None = None
    layers: int | None = None
    width: int | None = None
    fields: int | None = None
    features: int | None = None
    tokens: int | None = None
    checked: Checked
    flash: Figure | None = None
    ram: Figure | None = None
    boards: list[Fit] = []
    files: dict[str, Part]
