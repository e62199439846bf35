"""What a source names: a file, a folder of splits, a folder of text, or a Hugging Face `datasets` id."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lightbulb.core.errors import TaskError
from lightbulb.tasks.lines import Table
from lightbulb.tasks.readers import DATA_SUFFIXES, TEXT, read_rows
from lightbulb.tasks.task import SplitName

SPLIT_WORDS: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
ABOUT = re.compile(
    r"((readme|licen[sc]e|citation|changelog)([._-][\w.-]+)?|(source|notice)(\.\w+)?)\.\w+", re.IGNORECASE
)
MOST_FILES = 100_000
ENOUGH_FILES = 20  # of text, none with more than a tenth of it, for every split to get some
LARGEST_FILE = 0.1
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(:[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class TaskSource:
    """What a source holds.

    Attributes:
        name: for showing
        tables: by split; what carries no split name is "train"
        findings: what reading had to decide
    """

    name: str
    tables: dict[SplitName, list[Table]]
    findings: list[str] = field(default_factory=list)


def open_source(source: str) -> TaskSource:
    """Reads all tables of a source. Only `hf:owner/name`, or an `owner/name` that is no path, uses the network.

    Raises:
        TaskError: there is no such source, or it cannot be read
    """
    path = Path(os.path.expanduser(source))  # unlike Path.expanduser, leaves the name of a stranger as it is
    if source.startswith("hf:"):
        return _from_hub(source[3:])
    if not os.path.exists(path):  # unlike Path.exists, False for names too long or with a NUL
        if HUB_ID.fullmatch(source) and path.suffix.lower() not in DATA_SUFFIXES + TEXT and not path.parent.exists():
            return _from_hub(source)
        raise _no_such(source, path)
    if path.is_dir():
        return _from_folder(path)
    return TaskSource(path.stem, {"train": [read_rows(path)]})


def _no_such(source: str, path: Path) -> TaskError:
    near: list[str] = []
    if os.path.isdir(path.parent):
        near = difflib.get_close_matches(path.name, sorted(os.listdir(path.parent)), n=3)
    shown = [str(path.parent / name) for name in near] or difflib.get_close_matches(source, ["home"])
    hint = (
        f"did you mean {' or '.join(shown)}?"
        if shown
        else "give a JSONL, CSV or Parquet file, a folder, a datasets id (hf:owner/name), or home for the built-in task"
    )
    return TaskError("there is no such task", where=source, hint=hint)


def _from_folder(folder: Path) -> TaskSource:
    name = folder.resolve().name
    files = _files_below(folder)
    data = [f for f in files if f.suffix.lower() in DATA_SUFFIXES and f.suffix.lower() != ".json"]
    near = [f for f in data if f.parent == folder] or [f for f in data if f.parent == folder / "data"]
    if near:
        return _from_data_files(name, near)
    if data:
        raise TaskError(
            "the data lie in folders below this one",
            where=str(folder),
            hint=f"give one of them, for example {data[0].parent}",
        )
    written = [f for f in files if f.suffix.lower() in TEXT]
    about = [f for f in written if ABOUT.fullmatch(f.name)]
    texts = [f for f in written if not ABOUT.fullmatch(f.name)]
    if not texts:
        raise TaskError(
            "the folder holds nothing that can be read as a task",
            where=str(folder),
            hint="put train.jsonl and test.jsonl into it (or CSV, Parquet), or .txt and .md files",
        )
    empty = [f for f in texts if len(texts) > 1 and os.path.exists(f) and not f.stat().st_size]
    full = sorted({*texts} - {*empty})
    findings = [
        f"{left[0].relative_to(folder)}{f' and {len(left) - 1:,} more' if left[1:] else ''} left out: {why}"
        for left, why in ((about, "about the data"), (empty, "empty"))
        if left
    ]
    return _from_texts(TaskSource(name, {}, findings), folder, full)


def _from_texts(source: TaskSource, folder: Path, texts: Sequence[Path]) -> TaskSource:
    """A folder of text, its files whole where they can be spread over the splits."""
    splits = [_split_word(f, last_only=True) for f in texts]
    named = all(splits)  # a loose `test.md` among other pages is a page, not a split
    tables = [read_rows(f) for f in texts]
    sizes = [len(table.rows) for table in tables]
    whole = len(texts) >= ENOUGH_FILES and max(sizes) <= LARGEST_FILE * sum(sizes)
    for table, split in zip(tables, splits, strict=True):
        place = split if named and split else "train"
        source.tables.setdefault(place, []).append(replace(table, whole=whole and not named))
    if not named and not whole:
        why = (
            "one file is more than a tenth of all" if len(texts) >= ENOUGH_FILES else f"fewer than {ENOUGH_FILES} files"
        )
        source.findings.append(f"{why}: pieces of one may be on two sides of a split, which flatters the score")
    return _with_train(source, str(folder))


def _files_below(folder: Path) -> list[Path]:
    """All files of a folder and its subfolders, sorted, without hidden ones."""

    def refuse(e: OSError) -> None:
        raise TaskError(f"cannot read the folder: {e.strerror}", where=str(e.filename), hint=f"chmod -R u+rX {folder}")

    files: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [f for f in folders if not f.startswith(".")]
        files += [Path(parent, f) for f in names if not f.startswith(".")]
        if len(files) > MOST_FILES:
            raise TaskError(f"more than {MOST_FILES:,} files", where=str(folder), hint="give a folder of one task")
    return sorted(files)


def _from_data_files(name: str, files: Sequence[Path]) -> TaskSource:
    tables: dict[SplitName, list[Table]] = {}
    splits = {file: _split_word(file) for file in files}
    findings = []
    for file, split in splits.items():
        if split is None and any(splits.values()):
            findings.append(f"{file.name} was left out: its name says neither train, validation nor test")
        else:
            tables.setdefault(split or "train", []).append(read_rows(file))
    return _with_train(TaskSource(name, tables, findings), str(files[0].parent))


def _split_word(file: Path, last_only: bool = False) -> SplitName | None:
    """The split that the first or last word of the file's name says: train-00000-of-1.parquet, wiki.test.raw."""
    words = re.split(r"[._-]+", file.stem.lower())
    found = [SPLIT_WORDS.get(word) for word in (words[-1:] if last_only else [words[0], words[-1]])]
    return next((split for split in found if split), None)


def _with_train(source: TaskSource, where: str) -> TaskSource:
    """Without a train split there is nothing to learn from: what there is becomes the pool that is split by hash."""
    if "train" in source.tables:
        return source
    if not source.tables:
        raise TaskError("every file in the folder is empty", where=where, hint="give a folder with examples in it")
    pool = [table for tables in source.tables.values() for table in tables]
    given = " and ".join(source.tables)
    finding = (
        f"there was no train split, only {given}: it was split by hash, so figures on its test part do not"
        " compare with published ones"
    )
    return TaskSource(source.name, {"train": pool}, [*source.findings, finding])


def _from_hub(spec: str) -> TaskSource:
    name, _, config = spec.partition(":")
    import datasets

    try:
        loaded = datasets.load_dataset(name, config or None)
    except Exception as e:  # the library raises many kinds; each is an answer to the name the user typed
        first = (str(e).splitlines() or [type(e).__name__])[0]
        raise TaskError(
            f"the dataset cannot be loaded: {first}",
            where=f"hf:{spec}",
            hint="check the name and the network; a configuration is named as hf:owner/name:config",
        ) from e
    tables: dict[SplitName, list[Table]] = {}
    findings: list[str] = []
    for split, rows in loaded.items():
        if word := SPLIT_WORDS.get(str(split).lower()):
            table = _hub_table(f"hf:{spec}/{split}", rows)
            if word != "train" and (column := _unlabelled(table, rows)):
                findings.append(f"{split}: left out, because no row has a {column}")
            else:
                tables.setdefault(word, []).append(table)
    if not tables:
        raise TaskError(
            f"no train, validation or test split, only {', '.join(map(str, loaded))}",
            where=f"hf:{spec}",
            hint="save the split you mean as Parquet and give that file",
        )
    return _with_train(TaskSource(name.rpartition("/")[2], tables, findings), f"hf:{spec}")


def _unlabelled(table: Table, rows: Any) -> str | None:
    """A column of classes that no row of the table has: the answers of a contest's test split are kept back."""
    classes = [column for column, feature in rows.features.items() if hasattr(feature, "names")]
    return next((c for c in classes if table.rows and all(row[c] is None for _, row in table.rows)), None)


def _hub_table(where: str, rows: Any) -> Table:
    """Rows of a `datasets.Dataset`; class numbers become class names (a number outside them, often -1, is missing)."""
    names = {column: feature.names for column, feature in rows.features.items() if hasattr(feature, "names")}
    cells = []
    for number, row in enumerate(rows, start=1):
        for column, labels in names.items():
            code = row[column]
            row[column] = labels[code] if isinstance(code, int) and 0 <= code < len(labels) else None
        cells.append((number, row))
    return Table(where, tuple(rows.features), cells)
