"""A file of n-grams as C99: one header, one source file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lightbulb.core.version import __version__
from lightbulb.exporting.tables import index_of, templates
from lightbulb.models.kinds.likelihood import TABLE, most_total, octave_of

if TYPE_CHECKING:
    from lightbulb.models.kinds.ngrams import NgramFile


SLOTS = 512  # different n-grams counted at a time, where nothing else is asked of the compiler
# Machine code and constants beside the tables, and stack beside the arrays: what gcc 12 -Os makes of both for
# Cortex-M4 and RV32 (benchmarks/boards.py), and the most that tests/exporting/test_emulated.py allows.
CODE_BYTES = (600, 1_500, 4_096)  # least, usual, most
FRAME_BYTES = (64, 256, 512)


@dataclass(frozen=True, slots=True)
class CArray:
    """`static const` data of the source file.

    Attributes:
        name: its identifier
        bits: of an element: 8, 16 or 32
        signed: whether elements may be below 0
        values: whole numbers, of any shape
    """

    name: str
    bits: int
    signed: bool
    values: np.ndarray

    @property
    def bytes(self) -> int:
        return self.values.size * self.bits // 8

    def text(self) -> str:
        """Its definition."""
        numbers, many = list(map(str, self.values.ravel().tolist())), {8: 20, 16: 16, 32: 10}[self.bits]
        lines = (", ".join(numbers[at : at + many]) for at in range(0, len(numbers), many))
        kind = ("" if self.signed else "u") + f"int{self.bits}_t"
        return f"static const {kind} {self.name}[{len(numbers)}] = {{\n" + ",\n".join(lines) + "\n};"


def c_files(file: NgramFile, name: str, title: str, sha256: str) -> dict[str, str]:
    """The header and the source file by their names.

    Args:
        file: what is exported
        name: an identifier in small letters, with which every name in them begins
        title: a line for their first comment
        sha256: of the file that they were made from
    """
    arrays = list(_arrays(file))
    row_bits, count_bits = _slot_bits(file)
    octave, shift = octave_of(file.unit)
    given = {
        "name": name,
        "upper": name.upper(),
        "title": comment(title),
        "version": __version__,
        "sha256": sha256,
        "answers": file.labels,
        "rows": len(file.hashes),
        "width": file.weights.shape[1],
        "words": file.ngrams.words,
        "chars": file.ngrams.chars,
        "blanks": file.ngrams.chars[1],
        "letters": file.ngrams.words[1],
        "has_head": file.head is not None,
        "most": len(file.counts),
        "bucket_bits": index_of(file.hashes).bits,
        "slots": SLOTS,
        "slot_bytes": (row_bits + count_bits) // 8,
        "row_type": f"uint{row_bits}_t",
        "count_type": f"uint{count_bits}_t",
        "octave": octave,
        "octave_shift": shift,
        "likely": ", ".join(map(str, TABLE.tolist())),
        "most_total": most_total(file.threshold) if file.threshold else None,
        "none_text": literal(file.none) if file.threshold else None,
        "tables": "\n\n".join([array.text() for array in arrays] + [_answers(file.labels, name)]),
    }
    return {f"{name}.{end}": templates().get_template(f"model.{end}.j2").render(given) for end in ("h", "c")}


def table_bytes(file: NgramFile) -> int:
    """Bytes of the tables and of the answers with their addresses, on a machine with addresses of 32 bits."""
    answers = sum(len(answer.encode()) + 1 + 4 for answer in file.labels)
    return sum(array.bytes for array in _arrays(file)) + answers + (4 * len(TABLE) if file.threshold else 0)


def array_bytes(file: NgramFile) -> int:
    """Bytes of stack that the arrays of `classify` take: slots, sums and scores."""
    sums = 0 if file.head is None else 8 * file.weights.shape[1]
    return SLOTS * sum(_slot_bits(file)) // 8 + sums + 8 * len(file.labels)


def _slot_bits(file: NgramFile) -> tuple[int, int]:
    """Bits of a row's number, and of how often its n-gram came."""
    return bits_of(len(file.hashes) - 1), bits_of(len(file.counts))


def bits_of(most: int) -> int:
    """Of the smallest type that holds whole numbers from 0 to `most`."""
    return next(bits for bits in (8, 16, 32) if most < 1 << bits)


def _arrays(file: NgramFile) -> Iterator[CArray]:
    yield CArray("hashes", 32, False, file.hashes)
    yield CArray("starts", bits_of(len(file.hashes)), False, index_of(file.hashes).starts)
    yield CArray("idf", 16, False, file.idf)
    yield CArray("scales", 16, False, file.scales)
    yield CArray("counts", 16, False, file.counts)
    yield CArray("bias", 32, True, file.bias)
    if file.head is not None:
        yield CArray("head", 16, True, file.head)
    yield CArray("weights", 8, True, file.weights)


def _answers(labels: tuple[str, ...], name: str) -> str:
    lines = ",\n".join(f"    {literal(label)}" for label in labels)
    return f"const char *const {name}_answers[ANSWERS] = {{\n{lines}\n}};"


def literal(text: str) -> str:
    """A text as a C string: what is no plain ASCII, and "?" (of trigraphs), as octal escapes of its UTF-8."""
    plain = set(range(0x20, 0x7F)) - set(b'"\\?')
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode()) + '"'


def comment(text: str) -> str:
    """A text that can stand in a comment of C: in ASCII, without its end."""
    return " ".join(text.encode("ascii", "backslashreplace").decode().split()).replace("*/", "* /").replace("/*", "/ *")
