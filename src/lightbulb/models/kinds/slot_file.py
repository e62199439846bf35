"""Files of the architecture `lightbulb-slots` written and read: whatever they hold, an answer can be made of it or they
are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lightbulb.core.files import new_file
from lightbulb.models.kinds.file_reader import STORED, FileReader, refuse
from lightbulb.models.kinds.slots import MOST_COLUMNS, MOST_FIELDS, MOST_SUM, Form, SlotFile, Table

ARCHITECTURE, KIND, VERSION = "lightbulb-slots", "generate", 1
TEXTS = ("opening", "between", "closing")


def tensors_of(file: SlotFile) -> dict[str, tuple[str, np.ndarray]]:
    """Name -> (type, values) of all that the file holds."""
    found: dict[str, tuple[str, np.ndarray]] = {}
    if len(file.form.sets):
        found["slots.sets"] = ("I8", file.form.sets.astype(np.int8))
    for name, table in (("choices", file.choices), ("tags", file.tags)):
        if table is not None:
            found |= {
                f"{name}.hashes": ("I32", table.hashes.view(np.int32)),
                f"{name}.starts": ("I32", table.starts),
                f"{name}.columns": ("I16", table.columns),
                f"{name}.weights": ("I16", table.weights),
                f"{name}.bias": ("I32", table.bias),
            }
    if file.transitions is not None:
        found["tags.transitions"] = ("I32", file.transitions)
    return found


def write_slots(file: SlotFile, path: Path) -> None:
    """Writes the file, whole or not at all; the same content gives the same bytes."""
    from gguf import GGUFValueType, GGUFWriter

    form = file.form
    numbers = {
        "copied": form.copied,
        "bare": form.bare,
        "pieces": form.pieces,
        "option_counts": [len(o) for o in form.options],
    }
    with new_file(path) as beside:
        writer = GGUFWriter(beside, ARCHITECTURE)
        writer.add_string("lightbulb.kind", KIND)
        writer.add_uint32("slots.version", VERSION)
        for name in TEXTS:
            writer.add_string(f"slots.{name}", getattr(form, name))
        options = [option for options in form.options for option in options]
        for name, texts in (("fields", form.fields), ("options", options)):
            if texts:
                writer.add_array(f"slots.{name}", list(texts))
        for name, values in numbers.items():
            if values:
                writer.add_key_value(f"slots.{name}", list(values), GGUFValueType.ARRAY, GGUFValueType.UINT32)
        writer.add_float32("slots.slope", file.slope)
        writer.add_float32("slots.offset", file.offset)
        for name, (stored, array) in tensors_of(file).items():
            writer.add_tensor(name, np.ascontiguousarray(array, STORED[stored][1]))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def read_slots(path: Path) -> SlotFile:
    """Raises ModelError for a file that is damaged, of another architecture, or beyond what the format allows."""
    return _Reader(path).file()


class _Reader(FileReader):
    def file(self) -> SlotFile:
        self.check_format(ARCHITECTURE, {"lightbulb.kind": KIND, "slots.version": VERSION}, "slots")
        form = self._form()
        tags = form.tags
        return SlotFile(
            form=form,
            slope=self._number("slots.slope"),
            offset=self._number("slots.offset"),
            choices=self._table("choices", form.choices) if form.choices else None,
            tags=self._table("tags", tags) if tags else None,
            transitions=self._within("tags.transitions", "I32", (1 + tags, tags), MOST_SUM) if tags else None,
        )

    def _form(self) -> Form:
        fields = self._texts("slots.fields")
        if not 1 <= len(fields) <= MOST_FIELDS:
            refuse(self.path, f"slots.fields names {len(fields)} fields, where 1 to {MOST_FIELDS} can be")
        copied, bare, pieces = (self._places(f"slots.{name}", len(fields)) for name in ("copied", "bare", "pieces"))
        if len(set(copied)) < len(copied) or set(copied) | set(pieces) != set(range(len(fields))):
            refuse(self.path, "a field is neither copied nor has pieces")
        if set(copied) & set(pieces) or not set(bare) <= set(copied):
            refuse(self.path, "a field is copied and has pieces, or stands without quotes and is not copied")
        form = Form(
            opening=self._text("slots.opening"),
            between=self._text("slots.between"),
            closing=self._text("slots.closing"),
            fields=fields,
            copied=copied,
            bare=bare,
            sets=self._sets(copied, len(fields)) if pieces else np.zeros((0, len(fields)), bool),
            pieces=pieces,
            options=self._options(len(pieces)),
        )
        if form.choices > MOST_COLUMNS:
            refuse(self.path, f"it has {form.choices} choices, more than {MOST_COLUMNS}")
        return form

    def _sets(self, copied: tuple[int, ...], fields: int) -> np.ndarray:
        sets = self._within("slots.sets", "I8", (self._length("slots.sets", 2), fields), 1)
        if sets.min() < 0 or sets[:, list(copied)].any():
            refuse(self.path, "slots.sets holds what is neither 0 nor 1, or a field that is copied")
        return sets.astype(bool)

    def _options(self, pieces: int) -> tuple[tuple[str, ...], ...]:
        texts, counts = self._texts("slots.options"), self._whole("slots.option_counts")
        if len(counts) != pieces or not all(counts) or sum(counts) != len(texts):
            refuse(self.path, "slots.option_counts do not fit slots.pieces and slots.options")
        ends = np.cumsum(counts).tolist()
        return tuple(tuple(texts[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True)) if pieces else ()

    def _table(self, name: str, columns: int) -> Table:
        rows, weights = self._length(f"{name}.hashes"), self._length(f"{name}.weights")
        table = Table(
            self.tensor(f"{name}.hashes", "I32", (rows,)).view(np.uint32),
            self.tensor(f"{name}.starts", "I32", (rows + 1,)),
            self.tensor(f"{name}.columns", "I16", (weights,)),
            self.tensor(f"{name}.weights", "I16", (weights,)),
            self._within(f"{name}.bias", "I32", (columns,), MOST_SUM),
        )
        if not (table.hashes[1:] > table.hashes[:-1]).all():
            refuse(self.path, f"{name}.hashes do not ascend")
        if table.starts[0] != 0 or table.starts[-1] != weights or (np.diff(table.starts) < 0).any():
            refuse(self.path, f"{name}.starts do not go from 0 to {weights}")
        if not 0 <= table.columns.min() <= table.columns.max() < columns:
            refuse(self.path, f"{name}.columns names a column that is not there")
        return table

    def _value(self, key: str, kind: type) -> Any:
        value = self.fields.get(key)
        if type(value) is not kind:
            refuse(self.path, f"{key} is missing, or of another type")
        return value

    def _text(self, key: str) -> str:
        return str(self._value(key, str))

    def _number(self, key: str) -> float:
        value: float = self._value(key, float)
        if not np.isfinite(value):
            refuse(self.path, f"{key} is no number")
        return value

    def _list(self, key: str, kind: type) -> tuple[Any, ...]:
        values = self._value(key, list) if key in self.fields else []
        if not all(type(v) is kind for v in values):
            refuse(self.path, f"{key} is no list of {'texts' if kind is str else 'whole numbers'}")
        return tuple(values)

    def _texts(self, key: str) -> tuple[str, ...]:
        return self._list(key, str)

    def _whole(self, key: str) -> tuple[int, ...]:
        return self._list(key, int)

    def _places(self, key: str, fields: int) -> tuple[int, ...]:
        places = self._whole(key)
        if list(places) != sorted(places) or any(not 0 <= n < fields for n in places):
            refuse(self.path, f"{key} holds what are no fields in their order")
        return places

    def _length(self, name: str, dimensions: int = 1) -> int:
        shape = self.shape(name)
        if len(shape) != dimensions or not all(shape):
            refuse(self.path, f"{name} has the shape {list(shape)}")
        return shape[0]

    def _within(self, name: str, stored: str, shape: tuple[int, ...], most: int) -> np.ndarray:
        """A tensor whose absolute values are at most that."""
        values = self.tensor(name, stored, shape)
        if max(int(values.max()), -int(values.min())) > most:
            refuse(self.path, f"{name} holds values beyond {most}")
        return values
