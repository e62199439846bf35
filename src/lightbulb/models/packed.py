"""Weights as they lie in a file, beside a model whose weights were rounded to them.

The same values can be written in more than one way only where scales are searched for: so what was decided is kept, and
an export writes these bytes. One safetensors file: bytes [rows, ...] of each matrix under transformers' name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lightbulb.formats.gguf.quant_types import QuantType
from lightbulb.formats.gguf.type_map import TypeMap

if TYPE_CHECKING:
    from lightbulb.models.gguf import Entry

FILE = "weights.packed"


def write_packed(folder: Path, types: TypeMap, packed: Mapping[str, tuple[str, np.ndarray]]) -> None:
    """Writes what matrices are packed as.

    Args:
        folder: of the model
        types: what their types were chosen by
        packed: name of a type and bytes, by transformers' name
    """
    from safetensors.numpy import save_file

    record = asdict(types) | {"quant_types": {name: quant_type for name, (quant_type, _) in sorted(packed.items())}}
    tensors = {name: np.ascontiguousarray(packed[name][1]) for name in sorted(packed)}
    save_file(tensors, folder / FILE, metadata={"types": json.dumps(record, sort_keys=True)})
    (folder / FILE).chmod(0o644)  # safetensors makes it private


class PackedWeights:
    """What `write_packed` wrote, read piece by piece.

    Args:
        folder: of a model
    """

    def __init__(self, folder: Path):
        from safetensors import safe_open

        self.types: TypeMap | None = None
        self.quant_types: dict[str, str] = {}
        if (folder / FILE).is_file():
            self._file = safe_open(folder / FILE, framework="np")
            record = json.loads(self._file.metadata()["types"])
            self.quant_types = record.pop("quant_types")
            self.types = TypeMap(**record)

    def of(self, entry: Entry, quant_type: QuantType) -> QuantType:
        """The type, which writes the bytes that are kept of a tensor of a file where they are of this type."""
        if {self.quant_types.get(name) for name in entry.parts} != {quant_type.name}:
            return quant_type
        packed = entry.packed([self._file.get_tensor(name) for name in entry.parts])
        return replace(quant_type, pack=lambda _: packed)
