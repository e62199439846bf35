"""The verb export: from a run, or a file, to source code or a graph that was checked."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from lightbulb.core import units
from lightbulb.core.errors import UserError
from lightbulb.core.figures import Figure
from lightbulb.core.files import new_folder, sha256_of_file, write_json
from lightbulb.exporting.boards import boards
from lightbulb.exporting.checking import check, write
from lightbulb.exporting.record import RECORD, Export, Fit, Form, Part
from lightbulb.exporting.sources import Names, sources_of
from lightbulb.models.kinds.base import text_of
from lightbulb.serving.finding import model_file
from lightbulb.shrinking.record import DONE, Result
from lightbulb.tasks.stored import read_task

if TYPE_CHECKING:
    from lightbulb.tasks.task import Task

HEADERS = {"math", "stddef", "stdint", "stdio", "stdlib", "string"}  # of C, which files must not be named like


def export(model: Path, to: Form, out: Path) -> Export:
    """Writes a small model in another form, which answers as its file does, checked on the run's own test items.

    Args:
        model: a run folder, or a .gguf file, which has no test items
        to: "c" (C99 for anything with 32 bits, microcontrollers included), "js" (a module and a page), both of n-grams
            and of slot filling, or "onnx" (a graph, a tokenizer and how to use them), of an encoder
        out: a new folder; its name is that of the files and, in C, of what they define

    Returns:
        What `out`/export.json holds.

    Raises:
        UserError: what is asked for cannot be done as asked; nothing was written
        RunFailure: the export gives a test item another answer, or in ONNX is worse; nothing was written either
    """
    if to not in get_args(Form):
        raise UserError(f"nothing is exported to {to!r}", where="`to`", hint="`to=c`, `to=js` or `to=onnx`")
    if out.exists():
        raise UserError("there is something already", where=str(out), hint="name a new folder with `out`")
    record, files = (_onnx if to == "onnx" else _source_code)(model, model_file(model), to, out)
    with new_folder(out) as beside:
        write(files, beside)
        write_json(beside / RECORD, record.model_dump(mode="json"))
    return record


def _onnx(model: Path, source: Path, to: Form, out: Path) -> tuple[Export, Mapping[str, bytes]]:
    """An encoder's record and files."""
    from lightbulb.exporting.encoder import check_onnx, onnx_files, read_for_onnx

    file, sha256 = read_for_onnx(source), sha256_of_file(source)
    files = onnx_files(file, out.name, sha256)
    record = Export(
        to=to,
        name=_identifier(out.name),
        source=source.name,
        source_sha256=sha256,
        answers=len(file.form.answers),
        layers=file.spec.layers,
        width=file.spec.width,
        checked=check_onnx(files, source, _task_of(model)),
        files={path: _part(data) for path, data in files.items()},
    )
    return record, files


def _source_code(model: Path, source: Path, to: Form, out: Path) -> tuple[Export, Mapping[str, str]]:
    """The record and files of n-grams, or of what fills in answers."""
    texts, name, sha256 = _test_texts(model), _identifier(out.name), sha256_of_file(source)
    made = sources_of(source, to, Names(name, out.name, source.name, sha256, _cost(model)), texts)
    record = Export(
        to=to,
        name=name,
        source=source.name,
        source_sha256=sha256,
        checked=check(to, name, made.files, texts, made.expected, fills=made.fills),
        flash=made.flash,
        ram=made.ram,
        boards=_fits(made.flash, made.ram) if made.flash and made.ram else [],
        files={path: _part(text.encode()) for path, text in made.files.items()},
        **made.facts,
    )
    return record, made.files


def _test_texts(model: Path) -> list[str]:
    """The texts of a run's test items, those that no answer fits among them; none for a file."""
    task = _task_of(model)
    if task is None:
        return []
    return [text_of(example) for example in (*task.test, *(task.outside.test if task.outside else ()))]


def _task_of(model: Path) -> Task | None:
    """The task of a run; None for a file."""
    stored = sorted(model.glob("steps/task-*")) if model.is_dir() else []
    return read_task(stored[-1]) if stored else None


def _cost(model: Path) -> str | None:
    """What an answer cost where the run measured it, in words."""
    done = model / DONE
    student = Result.read(done).student if model.is_dir() and done.exists() else None
    if student is None or student.cpu_seconds_per_answer is None or student.cpu_seconds_per_answer.value is None:
        return None
    cost = f"{units.text(student.cpu_seconds_per_answer)} of CPU time"
    if (joules := student.joules_per_answer) is not None and joules.value is not None:
        cost += f" and {units.text(joules)} ({joules.source})"
    return f"In {student.runtime or 'the runtime of its run'}, where it was made, an answer takes {cost}."


def _fits(flash: Figure, ram: Figure) -> list[Fit]:
    """Which boards have what the C takes."""
    return [
        Fit(
            board=board.name,
            label=board.label,
            core=board.core,
            flash_bytes=board.flash_bytes,
            ram_bytes=board.ram_bytes,
            fits=board.fits(flash, ram),
        )
        for board in boards()
    ]


def _part(data: bytes) -> Part:
    return Part(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def _identifier(name: str) -> str:
    """A folder's name as one of C, in small letters: bank-77 -> bank_77."""
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^a-z0-9]+", "_", ascii_only.lower()).strip("_")[:40]
    return plain if plain[:1].isalpha() and plain not in HEADERS else f"model_{plain}".strip("_")
