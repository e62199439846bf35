"""Files that are whole or absent: write beside, flush, rename."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lightbulb.core.errors import LightbulbError, RunFailure, StorageFull, UserError


def sha256_of(*parts: Any) -> str:
    """Stable hash of JSON-able parts."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_of_file(path: Path) -> str:
    """In hexadecimal digits."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


@contextlib.contextmanager
def plain_os_errors(path: Path) -> Iterator[None]:
    """Turns the operating system's refusals into errors that say what to type.

    Args:
        path: named where the system names none

    Raises:
        UserError: no permission, a file where a folder is needed, or a read-only file system
        StorageFull: no space left
    """
    try:
        yield
    except LightbulbError:
        raise
    except PermissionError as e:
        raise UserError(
            "no permission to write", where=str(e.filename or path), hint="choose a folder you may write to with `out`"
        ) from e
    except NotADirectoryError as e:
        raise UserError(
            "a file stands where a folder is needed", where=str(e.filename or path), hint="choose another `out`"
        ) from e
    except FileExistsError as e:
        raise UserError(
            "a file stands where a folder is needed", where=str(e.filename or path), hint="choose another `out`"
        ) from e
    except OSError as e:
        cut_short = e.errno is None and "requested and" in str(e)  # numpy's tofile keeps no errno
        if e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or cut_short:
            raise _full(str(e.filename or path)) from e
        if e.errno == errno.EROFS:
            raise UserError(
                "the file system is read-only",
                where=str(e.filename or path),
                hint="choose a folder you may write to with `out`",
            ) from e
        raise
    except Exception as e:
        if "No space left on device" in str(e):  # safetensors and llama.cpp wrap the system's error in their own
            raise _full(str(path)) from e
        raise


def _full(where: str) -> StorageFull:
    return StorageFull(
        "no space left on the device", where=where, hint="free some space and type the same command again: it resumes"
    )


def sync_file(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yields a name beside `path` to write to; what is there when the block ends without an error becomes `path`."""
    with plain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            yield beside
            sync_file(beside)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Atomic: `path` holds either its old content or all of `text`. A byte of a name that is no UTF-8 is written as its
    escape, which JSON reads back as that byte."""
    with new_file(path) as beside:
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """As `write_text`."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def text_of(path: Path) -> str | None:
    """What a small file holds, stripped; None where it cannot be read or is empty."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n\t") or None
    except OSError:
        return None


def read_json(path: Path) -> Any:
    """What a JSON file of a run holds.

    Raises:
        RunFailure: it cannot be read
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise RunFailure(
            f"cannot read a record of this run: {e}", where=str(path), hint="delete the run folder, or restore the file"
        ) from e


@contextlib.contextmanager
def new_folder(path: Path, named: Callable[[], Path] | None = None) -> Iterator[Path]:
    """Yields a temporary folder that becomes `path` when the block ends without an error, and vanishes otherwise. A
    kill leaves only a `.tmp` folder, which the next call for the same path removes.

    Args:
        path: of the folder
        named: tells at the end what it becomes instead, where that is known only then
    """
    beside = path.with_name(f".{path.name}.tmp")
    with plain_os_errors(path):
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        try:
            yield beside
            for f in beside.rglob("*"):
                if f.is_file():
                    sync_file(f)
            beside.replace(named() if named else path)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
