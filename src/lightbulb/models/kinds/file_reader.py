"""Keys and tensors of one GGUF file of ours, each of the type and shape that its format (docs/format.md) asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import numpy as np

from lightbulb.core.errors import ModelError
from lightbulb.formats.gguf.header import TensorEntry, read_header

STORED = {"I8": (24, "<i1"), "I16": (25, "<i2"), "I32": (26, "<i4")}  # GGML's number of the type, and numpy's name


class FileReader:
    """One file, its header read.

    Args:
        path: of the file

    Raises:
        ModelError: the file is damaged
    """

    def __init__(self, path: Path):
        header = read_header(path)
        self.path, self.fields = path, header.fields
        self.entries: Mapping[str, TensorEntry] = {t.name: t for t in header.tensors}

    def check_format(self, architecture: str, known: Mapping[str, str | int], made_of: str) -> None:
        """That it is a file of `architecture` whose keys have the values that are known. made_of: in the hint.

        Raises:
            ModelError: it is another
        """
        if (found := self.fields.get("general.architecture")) != architecture:
            raise ModelError(
                f"this file is of the architecture {found!r}, not {architecture!r}",
                where=str(self.path),
                hint=f"give a file that lightbulb made of {made_of}",
            )
        for key, wanted in known.items():
            if self.fields.get(key) != wanted:
                refuse(self.path, f"{key} is {self.fields.get(key)!r}, and {wanted!r} is known")

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor that must be there."""
        if name not in self.entries:
            refuse(self.path, f"it has no tensor {name}")
        return self.entries[name].shape

    def tensor(self, name: str, stored: str, shape: tuple[int, ...]) -> np.ndarray:
        """The values of a tensor that must be of this type and shape."""
        number, dtype = STORED[stored]
        if self.shape(name) != shape or self.entries[name].type != number:
            entry = self.entries[name]
            refuse(
                self.path,
                f"{name} has the shape {list(entry.shape)} and the type {entry.type}, where {list(shape)} and {stored} "
                f"({number}) belong",
            )
        entry = self.entries[name]
        with entry.file.open("rb") as f:
            f.seek(entry.start)
            return np.frombuffer(f.read(entry.bytes), dtype).reshape(shape)


def refuse(path: Path, what: str) -> NoReturn:
    raise ModelError(f"{path.name} cannot be used: {what}", where=str(path), hint="download or export the file again")
