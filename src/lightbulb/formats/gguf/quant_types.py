"""Quant types: how the weights of a tensor lie in a GGUF file, and the registry of those that are known.

Numbers and sizes are ggml's (ggml.h, ggml-common.h; gguf-py's constants say the same, which a test compares). A type
that can be written has a reference quantizer; the others can be read, or at least be counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from pydantic import AfterValidator

from lightbulb.core import plugins
from lightbulb.core.errors import PluginError
from lightbulb.formats.gguf.grids import GRIDS, WEIGHTS_AT_ONCE, Grid
from lightbulb.formats.gguf.quantizers import (
    quantize_iq4_nl,
    quantize_q2_k,
    quantize_q3_k,
    quantize_q4_k,
    quantize_q6_k,
)

Rows = Callable[[np.ndarray], np.ndarray]
GUESSED_FILE_TYPE = 1024  # llama.cpp's number where a file does not say what most of it is


@dataclass(frozen=True)
class QuantType:
    """A type of weights, in blocks along a row.

    Attributes:
        name: llama.cpp's, in lower case
        id: its number in a file
        block: weights of a block
        block_bytes: its bytes
        pack: rows [R, n] float32 as bytes [R, n / block * block_bytes]; None where the type can only be read
        unpack: the inverse; None where it cannot be read
        runtimes: what computes with it
        file_type: llama.cpp's number for a file mostly of this type
        fallback: the type of rows that are no whole number of blocks, as llama.cpp's quantize chooses it
        grid: how scales are fitted to what weights matter; None where they are not
    """

    name: str
    id: int
    block: int
    block_bytes: int
    pack: Rows | None = None
    unpack: Rows | None = None
    runtimes: tuple[str, ...] = ("llamacpp",)
    file_type: int = GUESSED_FILE_TYPE
    fallback: str = "f16"
    grid: Grid | None = None

    @property
    def bits_per_weight(self) -> float:
        """Scales included."""
        return 8 * self.block_bytes / self.block

    @property
    def writable(self) -> bool:
        """Whether weights can be written in it."""
        return self.pack is not None and self.unpack is not None

    def fits(self, width: int) -> bool:
        """Whether a row of so many weights is a whole number of blocks."""
        return width % self.block == 0

    def quantize(self, values: np.ndarray, importance: np.ndarray | None = None) -> np.ndarray:
        """Values [..., n] as the file's bytes [..., n / block * block_bytes].

        Args:
            values: of a matrix
            importance: what squared errors of each column [n] are multiplied by where the type has a grid: scales are
                then searched for the least sum. None: as the type's reference quantizer does it.

        Raises:
            ValueError: a type that can only be read, or rows that do not fit
        """
        if self.pack is None:
            raise ValueError(f"no weights can be written as {self.name}")
        if not self.fits(values.shape[-1]):
            raise ValueError(f"rows of {values.shape[-1]} are no whole number of {self.name}'s blocks of {self.block}")
        rows = np.ascontiguousarray(values, np.float32).reshape(-1, values.shape[-1])
        with np.errstate(all="ignore"):  # blocks of next to nothing have a scale of 0
            if importance is not None and self.grid is not None:
                packed = self.grid.quantize(rows, np.asarray(importance, np.float32))
            else:
                packed = self.pack(rows)
        return packed.reshape(*values.shape[:-1], -1)

    def dequantize(self, packed: np.ndarray) -> np.ndarray:
        """The float32 values [..., n] of bytes [..., n / block * block_bytes].

        Raises:
            ValueError: a type that cannot be read
        """
        if self.unpack is None:
            raise ValueError(f"no weights can be read from {self.name}")
        rows = np.ascontiguousarray(packed).reshape(-1, packed.shape[-1])
        with np.errstate(all="ignore"):  # a damaged scale may be no number
            return self.unpack(rows).astype(np.float32, copy=False).reshape(*packed.shape[:-1], -1)

    def quantize_dequantize(self, values: np.ndarray) -> np.ndarray:
        """What a file of this type holds of the values [..., n]."""
        return self.dequantize(self.quantize(values))


QUANT_TYPES: dict[str, QuantType] = {}  # by name


def register(quant_type: QuantType) -> QuantType:
    """Makes a type known to all that reads and writes files.

    Raises:
        ValueError: its name or number is taken, or its fallback is not known
    """
    for known in QUANT_TYPES.values():
        if quant_type.name == known.name or quant_type.id == known.id:
            raise ValueError(f"there is a quant type {known.name} with the number {known.id} already")
    if quant_type.block > 1 and quant_type.fallback not in QUANT_TYPES:
        raise ValueError(f"{quant_type.name} falls back to {quant_type.fallback}, which is no quant type")
    QUANT_TYPES[quant_type.name] = quant_type
    return quant_type


def quant_type_of(number: int) -> QuantType | None:
    """The type with this number in a file, None for one that is not known."""
    found = _numbered(number)
    if found is None and (missing := [n for n in plugins.names(plugins.QUANT_TYPES) if n not in QUANT_TYPES]):
        for name in missing:
            _load(name)
        found = _numbered(number)
    return found


def type_name_of(number: int) -> str:
    """As llama.cpp's tools write it; the number itself where it is not known."""
    quant_type = quant_type_of(number)
    return quant_type.name.upper() if quant_type else str(number)


def _numbered(number: int) -> QuantType | None:
    return next((known for known in QUANT_TYPES.values() if known.id == number), None)


def _load(name: str) -> None:
    """Registers what a plugin calls `name`, where one does. Raises PluginError where that is no quant type, or its
    number is taken."""
    found = plugins.load(plugins.QUANT_TYPES, name, QUANT_TYPES)
    if found is None:
        return
    try:
        if not isinstance(found, QuantType) or found.name != name:
            raise ValueError(f"it names {found!r}, which is no QuantType of that name")
        register(found)
    except ValueError as e:
        raise PluginError(
            f"the plugin {name!r} cannot be used: {e}", where=f"entry points {plugins.QUANT_TYPES}"
        ) from e


def writable_types() -> list[str]:
    """Names of the types that weights can be written in."""
    return [known.name for known in QUANT_TYPES.values() if known.writable]


def _writable(name: str) -> str:
    if name not in QUANT_TYPES:
        _load(name)
    if name not in QUANT_TYPES or not QUANT_TYPES[name].writable:
        raise ValueError(f"weights cannot be written as {name!r}; use one of {', '.join(writable_types())}")
    return name


QuantTypeName = Annotated[str, AfterValidator(_writable)]  # a parameter: the name of a type that can be written


def _stored_as(dtype: type) -> tuple[Rows, Rows]:
    return lambda rows: rows.astype(dtype).view(np.uint8), lambda packed: packed.view(dtype)


def _packed_by_gguf(number: int) -> Rows:
    def pack(rows: np.ndarray) -> np.ndarray:
        from gguf import GGMLQuantizationType
        from gguf.quants import quantize

        return quantize(rows, GGMLQuantizationType(number))

    return pack


def _unpacked_by_gguf(number: int) -> Rows:
    def unpack(packed: np.ndarray) -> np.ndarray:
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize

        return dequantize(packed, GGMLQuantizationType(number))

    return unpack


def _by_gguf(number: int) -> tuple[Rows, Rows]:
    return _packed_by_gguf(number), _unpacked_by_gguf(number)


def _by_blocks(quantize: Rows, block: int) -> Rows:
    """Rows packed by a function of blocks [N, block]."""

    def pack(rows: np.ndarray) -> np.ndarray:
        blocks, step = rows.reshape(-1, block), WEIGHTS_AT_ONCE // block
        parts = [quantize(blocks[at : at + step]) for at in range(0, len(blocks), step)]
        return np.concatenate(parts).reshape(len(rows), -1)

    return pack


LLAMACPP, BOTH = ("llamacpp",), ("llamacpp", "filament")
WRITTEN = (
    QuantType("f32", 0, 1, 4, *_stored_as(np.float32), BOTH, 0),
    QuantType("f16", 1, 1, 2, *_stored_as(np.float16), BOTH, 1),
    QuantType("bf16", 30, 1, 2, *_by_gguf(30), BOTH, 32),
    QuantType("q8_0", 8, 32, 34, *_by_gguf(8), BOTH, 7),
    QuantType("q5_0", 6, 32, 22, *_by_gguf(6), LLAMACPP, 8),
    QuantType("q4_0", 2, 32, 18, *_by_gguf(2), BOTH, 2),
    QuantType("q4_1", 3, 32, 20, *_by_gguf(3), BOTH, 3),
    QuantType("iq4_nl", 20, 32, 18, _by_blocks(quantize_iq4_nl, 32), _unpacked_by_gguf(20), BOTH, 25),
    QuantType("q2_k", 10, 256, 84, _by_blocks(quantize_q2_k, 256), _unpacked_by_gguf(10), LLAMACPP, 10, "iq4_nl"),
    QuantType("q3_k", 11, 256, 110, _by_blocks(quantize_q3_k, 256), _unpacked_by_gguf(11), LLAMACPP, 11, "iq4_nl"),
    QuantType("q4_k", 12, 256, 144, _by_blocks(quantize_q4_k, 256), _unpacked_by_gguf(12), BOTH, 14, "q5_0"),
    QuantType("q6_k", 14, 256, 210, _by_blocks(quantize_q6_k, 256), _unpacked_by_gguf(14), BOTH, 18, "q8_0"),
    QuantType("tq2_0", 35, 256, 66, *_by_gguf(35), BOTH, 37, "q4_0"),
)
READ = (
    ("q5_1", 7, 32, 24),
    ("q5_k", 13, 256, 176),
    ("iq2_xxs", 16, 256, 66),
    ("iq2_xs", 17, 256, 74),
    ("iq3_xxs", 18, 256, 98),
    ("iq1_s", 19, 256, 50),
    ("iq3_s", 21, 256, 110),
    ("iq2_s", 22, 256, 82),
    ("iq4_xs", 23, 256, 136),
    ("iq1_m", 29, 256, 56),
    ("tq1_0", 34, 256, 54),
    ("mxfp4", 39, 32, 17),
    ("nvfp4", 40, 64, 36),
)
COUNTED = (
    ("q8_1", 9, 32, 40),
    ("q8_k", 15, 256, 292),
    ("i8", 24, 1, 1),
    ("i16", 25, 1, 2),
    ("i32", 26, 1, 4),
    ("i64", 27, 1, 8),
    ("f64", 28, 1, 8),
    ("q1_0", 41, 128, 18),
)  # their sizes are known, so that the rest of a file can be read
for _type in (
    *(replace(known, grid=GRIDS.get(known.name)) for known in WRITTEN),
    *(QuantType(*row, unpack=_unpacked_by_gguf(row[1])) for row in READ),
    *(QuantType(*row) for row in COUNTED),
):
    register(_type)
