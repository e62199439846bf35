"""The header of a GGUF, read with every length checked: the file may be truncated or hostile.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian). gguf-py's reader
takes seconds for a vocabulary of 50,000 and trusts the file; this one takes a tenth of a second and does not.

A model may lie in several files, NAME-00001-of-00004.gguf and so on, each with keys "split.*" and tensors of its own;
all other keys are in the first (llama.cpp, tools/gguf-split). Its first part stands for the whole.
"""

from __future__ import annotations

import math
import mmap
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lightbulb.core.errors import ModelError
from lightbulb.formats.gguf.quant_types import quant_type_of

NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
MAX_DIMENSIONS = 4
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where a tensor lies.

    Attributes:
        name: in the file
        type: number of the GGML type
        shape: slowest dimension first, as numpy has it
        start: byte in `file`
        bytes: its length
        file: that it is in
    """

    name: str
    type: int
    shape: tuple[int, ...]
    start: int
    bytes: int
    file: Path


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What stands before the weights.

    Attributes:
        fields: key -> value
        tensors: in file order
        files: one, or all parts of a model that lies in several, the first first
    """

    fields: dict[str, Any]
    tensors: list[TensorEntry]
    files: tuple[Path, ...] = ()

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file.stat().st_size for file in self.files)


@dataclass(frozen=True, slots=True)
class GgufLayout:
    """Where the parts of one file lie, in bytes.

    Attributes:
        keys: of each key its name, and (begin, end) of the whole
        entries: (begin, end) of what is said of the tensors
        data: where the tensors' bytes begin
        alignment: of them
    """

    keys: list[tuple[str, tuple[int, int]]]
    entries: tuple[int, int]
    data: int
    alignment: int


class _Damaged(Exception):
    pass


PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


def read_header(file: Path) -> GgufHeader:
    """All keys and tensor entries of a GGUF, those of its other parts included where `file` is the first of several.

    Raises:
        ModelError: a tensor does not lie within its file, or `file` is a part that is not the first, or lacks others
    """
    first = _read_one(file)
    number, count = (_split(first, key, file) for key in ("no", "count"))
    if count <= 1:
        return first
    names = part_names(file, number, count)
    if number:
        raise ModelError(
            f"this is part {number + 1} of {count} of a model", where=str(file), hint=f"name its first part: {names[0]}"
        )
    if missing := [part.name for part in names if not part.is_file()]:
        raise ModelError(
            f"{len(missing)} of this model's {count} parts are missing: {missing[0]}",
            where=str(file.parent),
            hint="put all parts into one folder, or download them again",
        )
    parts = [first, *(_read_one(part) for part in names[1:])]
    for place, (part, header) in enumerate(zip(names, parts, strict=True)):
        found = _split(header, "no", part), _split(header, "count", part)
        if found != (place, count):
            raise _wrong(f"{part.name} says that it is part {found[0] + 1} of {found[1]}", part)
    tensors = [tensor for part in parts for tensor in part.tensors]
    total = first.fields.get("split.tensors.count", len(tensors))
    if total != len(tensors) or len({t.name for t in tensors}) < len(tensors):
        raise _wrong(f"its parts hold {len(tensors)} tensors, some of them twice or of {total} in all", file)
    return GgufHeader(first.fields, tensors, tuple(names))


def read_architecture(file: Path) -> str:
    """What kind of model a GGUF holds, "" where it does not say. Its first key tells, as a rule, so that this takes no
    time.

    Raises:
        ModelError: the header cannot be read so far
    """

    def read(reader: _Reader) -> Any:
        return next((value for key, value in reader.keyed() if key == "general.architecture"), "")

    found = _reading(file, read)
    return found if isinstance(found, str) else ""


def read_layout(file: Path) -> GgufLayout:
    """Where the parts of one file lie. Raises ModelError as `read_header` does."""
    return _reading(file, _Reader.layout)


def part_names(file: Path, number: int, count: int) -> list[Path]:
    """The files of all parts, from the name of one.

    Args:
        file: the one
        number: which it is, counted from 0
        count: how many there are

    Raises:
        ModelError: a name that llama.cpp would not find
    """
    match = PART.fullmatch(file.name)
    if match is None or (int(match["number"]), int(match["count"])) != (number + 1, count):
        wanted = f"NAME-{number + 1:05}-of-{count:05}.gguf"
        raise ModelError(
            f"this is part {number + 1} of {count} of a model, and its name does not say so",
            where=str(file),
            hint=f"give all parts their own names again, this one {wanted}",
        )
    return [file.with_name(f"{match['stem']}-{n + 1:05}-of-{count:05}.gguf") for n in range(count)]


def is_later_part(file: Path) -> bool:
    """By its name, where the first part stands beside it."""
    match = PART.fullmatch(file.name)
    if match is None or int(match["number"]) <= 1:
        return False
    return file.with_name(f"{match['stem']}-00001-of-{match['count']}.gguf").is_file()


def _split(header: GgufHeader, key: str, file: Path) -> int:
    value = header.fields.get(f"split.{key}", 0)
    if not isinstance(value, int) or not 0 <= value < 100_000:
        raise _wrong(f"split.{key} is {value!r}", file)
    return value


def _wrong(what: str, file: Path) -> ModelError:
    return ModelError(
        f"the parts of this model do not belong together: {what}",
        where=str(file),
        hint="download all parts again, of one version",
    )


def _read_one(file: Path) -> GgufHeader:
    return _reading(file, _Reader.header)


def _reading(file: Path, read: Callable[[_Reader], Read]) -> Read:
    try:
        with file.open("rb") as f:
            if file.stat().st_size < 24:
                raise _Damaged("it is too short")
            with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return read(_Reader(data, file))
    except (_Damaged, struct.error, UnicodeDecodeError) as e:
        hint = "download or export the file again" if file.suffix == ".gguf" else "give a .gguf file"
        raise ModelError(f"{file.name} is not a readable GGUF: {e}", where=str(file), hint=hint) from e
    except OSError as e:
        raise ModelError(f"cannot read {file.name}: {e}", where=str(file)) from e


class _Reader:
    def __init__(self, data: mmap.mmap, file: Path):
        self.data, self.size, self.at, self.file = data, len(data), 0, file
        self.tensors = 0  # how many there are, once the first key is asked for

    def keyed(self) -> Iterator[tuple[str, Any]]:
        """From the beginning of the file, as far as they are asked for."""
        if self.data[:4] != b"GGUF":
            raise _Damaged("it does not start with GGUF")
        self.at = 4
        version, n_tensors, n_keys = self.number("I"), self.number("Q"), self.number("Q")
        if version not in (2, 3):
            raise _Damaged(f"version {version} (2 and 3 are read)")
        if n_tensors * 24 + n_keys * 12 > self.size:  # the least an entry takes
            raise _Damaged(f"it says {n_tensors} tensors and {n_keys} keys in {self.size} bytes")
        self.tensors = n_tensors
        for _ in range(n_keys):
            yield self.string(), self.value(self.number("I"), depth=0)

    def layout(self) -> GgufLayout:
        keys, fields, begin = [], {}, 24
        for name, value in self.keyed():
            keys.append((name, (begin, self.at)))
            fields[name], begin = value, self.at
        for _ in range(self.tensors):
            self.entry()
        alignment = self.alignment(fields)
        return GgufLayout(keys, (begin, self.at), -(-self.at // alignment) * alignment, alignment)

    def alignment(self, fields: dict[str, Any]) -> int:
        value = fields.get("general.alignment", 32)
        if not isinstance(value, int) or value <= 0:
            raise _Damaged(f"alignment {value}")
        return value

    def header(self) -> GgufHeader:
        fields = dict(self.keyed())
        entries = [self.entry() for _ in range(self.tensors)]
        alignment = self.alignment(fields)
        if not entries and not fields.get("split.count"):  # of several parts the first may hold keys alone
            raise _Damaged("it has no tensors")
        start = -(-self.at // alignment) * alignment
        return GgufHeader(fields, [self._tensor(e, start) for e in entries], (self.file,))

    def number(self, kind: str) -> Any:
        (value,) = struct.unpack_from("<" + kind, self.data, self.at)
        self.at += struct.calcsize("<" + kind)
        return value

    def string(self) -> str:
        length = self.number("Q")
        if length > self.size - self.at:
            raise _Damaged(f"a text of {length} bytes at byte {self.at} does not fit")
        self.at += length
        return self.data[self.at - length : self.at].decode("utf-8")

    def value(self, kind: int, depth: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind in NUMBERS:
            return self.number(NUMBERS[kind])
        if kind != ARRAY or depth > 1:
            raise _Damaged(f"a value of the unknown type {kind} at byte {self.at}")
        inner, count = self.number("I"), self.number("Q")
        if inner in NUMBERS:
            layout = f"<{count}{NUMBERS[inner]}" if count <= self.size else ""
            if not layout or struct.calcsize(layout) > self.size - self.at:
                raise _Damaged(f"a list of {count} numbers at byte {self.at} does not fit")
            values = list(struct.unpack_from(layout, self.data, self.at))
            self.at += struct.calcsize(layout)
            return values
        if count * 8 > self.size - self.at:
            raise _Damaged(f"a list of {count} texts at byte {self.at} does not fit")
        return [self.value(inner, depth + 1) for _ in range(count)]

    def entry(self) -> tuple[str, int, tuple[int, ...], int]:
        name, n_dimensions = self.string(), self.number("I")
        if not 1 <= n_dimensions <= MAX_DIMENSIONS:
            raise _Damaged(f"tensor {name!r} has {n_dimensions} dimensions")
        shape = tuple(self.number("Q") for _ in range(n_dimensions))[::-1]
        return name, self.number("I"), shape, self.number("Q")

    def _tensor(self, entry: tuple[str, int, tuple[int, ...], int], data_start: int) -> TensorEntry:
        name, kind, shape, offset = entry
        quant_type = quant_type_of(kind)
        if quant_type is None or not quant_type.fits(shape[-1]) or not math.prod(shape):
            raise _Damaged(f"tensor {name!r} has type {kind} and shape {list(shape)}")
        length = math.prod(shape) // quant_type.block * quant_type.block_bytes
        if data_start + offset + length > self.size:
            raise _Damaged(f"tensor {name!r} ends at byte {data_start + offset + length}, the file at {self.size}")
        return TensorEntry(name, kind, shape, data_start + offset, length, self.file)
