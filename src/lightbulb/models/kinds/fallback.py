"""A cheap file that hands what it is not sure of on to a language model beside it (docs/format.md, "fallback")."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightbulb.core.errors import ModelError
from lightbulb.formats.gguf.keys import with_keys

FILE_KEY, BYTES_KEY, THRESHOLD_KEY = "lightbulb.fallback", "lightbulb.fallback.bytes", "lightbulb.fallback.threshold"
BESIDE = "language-model.gguf"  # the name that it gets beside what lightbulb makes


@dataclass(frozen=True, slots=True)
class Fallback:
    """Where questions go that a file is not sure of.

    Attributes:
        file: name of the language model's file, which lies in the same folder
        bytes: of that
        threshold: the least probability of an answer with which nothing is handed on, a float32; above 1: all is
    """

    file: str
    bytes: int
    threshold: float

    def beside(self, path: Path) -> Path:
        """The language model that lies beside `path`.

        Raises:
            ModelError: it is not there, or is another
        """
        file = path.with_name(self.file)
        size = file.stat().st_size if file.is_file() else None
        if size != self.bytes:
            found = "is not there" if size is None else f"has {size:,} bytes where {self.bytes:,} are right"
            raise ModelError(
                f"{path.name} hands on what it is not sure of, and the file for that {found}",
                where=str(file),
                hint=f"copy both files of one run into one folder: {path.name} and {self.file}",
            )
        return file


def fallback_of(fields: Mapping[str, Any], path: Path) -> Fallback | None:
    """By the keys of a file; None where it answers all itself. Raises ModelError where they make no sense."""
    if FILE_KEY not in fields:
        return None
    file, size, threshold = (fields.get(key) for key in (FILE_KEY, BYTES_KEY, THRESHOLD_KEY))
    plain = isinstance(file, str) and file == Path(file).name and file not in ("", "..", path.name)
    if not plain or not isinstance(size, int) or size < 1 or not (isinstance(threshold, float) and threshold >= 0):
        raise ModelError(
            f"{path.name} cannot be used: it does not say which file beside it answers what it is not sure of",
            where=str(path),
            hint="download or export the file again",
        )
    return Fallback(str(file), size, threshold)


def write_with_fallback(source: Path, language_model: Path, threshold: float, out: Path) -> None:
    """Writes `source` with these keys as `out`, and the language model beside it: the same content gives the same
    bytes.

    Args:
        source: a file of classifiers or of slots
        language_model: a GGUF that is one file
        threshold: as in `Fallback`
        out: in a folder where no other language model lies
    """
    lay_beside(language_model, out)
    size = language_model.stat().st_size
    with_keys(source, out, {FILE_KEY: BESIDE, BYTES_KEY: size, THRESHOLD_KEY: threshold})


def lay_beside(language_model: Path, file: Path) -> Path:
    """The language model under its name beside `file`, as a link to the same content where that can be."""
    place = file.with_name(BESIDE)
    place.unlink(missing_ok=True)
    try:
        os.link(language_model, place)
    except OSError:  # another file system, or one without links
        shutil.copyfile(language_model, place)
    return place
