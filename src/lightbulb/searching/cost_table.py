"""What an answer costs on this device in one runtime, in parts that add up: measured on files of random weights.

    cost = fixed + per layer + attention (by groups of heads, by type) + feed-forward (by channels, by type)
                 + head (by rows, by type)

The parts are found by least squares without negative parts over all files, relative to what each file costs; once for
every trial, so that their spread is that of the trials. A table is for one device, runtime and length of work.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from lightbulb.core.errors import UserError
from lightbulb.core.figures import Figure, Scope
from lightbulb.core.files import write_json
from lightbulb.measuring.statistics import median_figure
from lightbulb.models.spec import ModelSpec
from lightbulb.searching.student import Types

UNITS = {"cpu_seconds_per_answer": "s", "seconds_per_answer": "s", "joules_per_answer": "J"}
COSTS = tuple(UNITS)
VERSION = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TableKey(_Frozen):
    """What a table is for.

    Attributes:
        processor: its name
        threads: of it
        runtime: by name
        version: of the library that it runs in
        family: of the parent
        width: of its hidden states
        heads: of queries in a group, each of `head_width`
        head_width: of each head
        work: kind of the task, and tokens of the mean question and answer
    """

    processor: str
    threads: int
    runtime: str
    version: str
    family: str
    width: int
    heads: int
    head_width: int
    work: str


class MeasuredFile(_Frozen):
    """A file of random weights, and what its answers cost.

    Attributes:
        parts: how much of each part it has
        costs: by name, [trials] or, of joules, [trials, 3]: in the middle and at both ends of the model of watts
    """

    parts: dict[str, float]
    costs: dict[str, list[Any]]


class CostTable(BaseModel):
    """The files that were measured, and how joules were read.

    Attributes:
        key: what it is for
        files: what was measured
        scope: of the joules
        seconds: that measuring took
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: TableKey
    files: tuple[MeasuredFile, ...]
    scope: Scope | None
    seconds: float

    def predicted(self, parts: Mapping[str, float]) -> dict[str, Figure]:
        """What a file of such parts costs an answer, by name.

        Raises:
            UserError: a part of it was not measured
        """
        if missing := sorted(set(parts) - set(self._names)):
            raise UserError(
                f"the cost table does not know {', '.join(missing)}",
                where="costs",
                hint="measure anew: another `costs`",
            )
        return {name: self._figure(name, parts) for name in COSTS if name in self._fits}

    def point(self, name: str, parts: Mapping[str, float]) -> float:
        """The middle of `predicted`, without its interval."""
        row = np.array([parts.get(part, 0.0) for part in self._names])
        return float(np.median(self._fits[name].parts[:, 0] @ row))

    def _figure(self, name: str, parts: Mapping[str, float]) -> Figure:
        fit = self._fits[name]
        row = np.array([parts.get(part, 0.0) for part in self._names])
        how = f"sum of parts measured on {len(self.files)} files of random weights"
        scope: Scope | None = self.scope if name.startswith("joules") else "process"
        figure = median_figure(fit.parts @ row, UNITS[name], how, source="estimated", scope=scope)
        assert figure.value is not None and figure.low is not None and figure.high is not None
        low, high = (
            figure.value + side * math.hypot(end - figure.value, fit.misfit * figure.value)
            for side, end in ((-1, figure.low), (1, figure.high))
        )
        return figure.model_copy(update={"low": max(0.0, low), "high": high})

    @cached_property
    def _names(self) -> list[str]:
        return sorted({part for file in self.files for part in file.parts})

    @cached_property
    def _fits(self) -> dict[str, Fit]:
        rows = np.array([[file.parts.get(part, 0.0) for part in self._names] for file in self.files])
        known = [name for name in COSTS if all(name in file.costs for file in self.files)]
        return {name: fitted(rows, np.array([file.costs[name] for file in self.files])) for name in known}

    @property
    def misfit(self) -> dict[str, float]:
        """How far a file's cost is from the sum of its parts, as a share: the interval of 95%, by name of the cost."""
        return {name: fit.misfit for name, fit in self._fits.items()}


@dataclass(frozen=True)
class Fit:
    """Least squares over files.

    Attributes:
        parts: cost of each part [trials, cases, parts]
        misfit: 1.96 times the spread of what is left over, relative
    """

    parts: np.ndarray
    misfit: float


def fitted(rows: np.ndarray, costs: np.ndarray) -> Fit:
    """The cost of each part.

    Args:
        rows: how much of each part each file has, [files, parts]
        costs: of each file, [files, trials] or [files, trials, cases]
    """
    from scipy.optimize import nnls

    costs = costs.reshape(*costs.shape[:2], -1)
    sizes = np.maximum(rows.max(0), 1e-30)
    found = np.empty((costs.shape[1], costs.shape[2], rows.shape[1]))
    for trial, case in np.ndindex(*found.shape[:2]):
        cost = costs[:, trial, case]
        found[trial, case] = nnls(rows / sizes / cost[:, None], np.ones(len(cost)))[0] / sizes
    middle = np.median(costs[:, :, 0], axis=1)
    off = rows @ np.median(found[:, 0], axis=0) / middle - 1
    spare = max(1, len(rows) - np.linalg.matrix_rank(rows / sizes))
    return Fit(found, 1.96 * math.sqrt(float(off @ off) / spare))


def parts_of(spec: ModelSpec, types: Types) -> dict[str, float]:
    """How much of each part a file has."""
    parts = {"fixed": 1.0, "layers": float(len(spec.layers)), f"head.{types.embedding}": float(spec.vocabulary)}
    for kind, amount in (
        (f"attention.{types.attention}", sum(layer.kv_heads for layer in spec.layers)),
        (f"feed_forward.{types.feed_forward}", sum(layer.feed_forward or 0 for layer in spec.layers)),
    ):
        parts[kind] = float(amount)
    return parts


def read_table(path: Path, key: TableKey, needed: Sequence[str]) -> CostTable | None:
    """The table for `key` in a file of tables, where it knows all parts that are needed.

    Raises:
        UserError: the file is no such file
    """
    for table in _tables(path):
        if table.key == key and set(needed) <= {part for file in table.files for part in file.parts}:
            return table
    return None


def check_costs(path: Path) -> None:
    """Refuses a file of tables that cannot be read or added to, before anything is trained.

    Raises:
        UserError: it is none, or there is no folder for it
    """
    if not path.absolute().parent.is_dir() or path.is_dir():
        raise UserError("no file of tables can be here", where=str(path), hint="`costs=costs.json`")
    _tables(path)


def keep_table(path: Path, table: CostTable) -> None:
    """Writes a table beside those of other devices and work; one for the same is replaced."""
    kept = [other for other in _tables(path) if other.key != table.key]
    write_json(path, {"version": VERSION, "tables": [t.model_dump(mode="json") for t in (*kept, table)]})


def _tables(path: Path) -> list[CostTable]:
    if not path.exists():
        return []
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["version"] != VERSION:
            return []
        return [CostTable.model_validate(table) for table in record["tables"]]
    except (OSError, KeyError, TypeError, ValueError) as e:
        raise UserError(
            "this is no table of costs that `lightbulb search` wrote", where=str(path), hint="`costs` a new file"
        ) from e
