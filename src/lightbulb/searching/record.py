"""What a search has to say: search.json in its run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from lightbulb.core.figures import Figure
from lightbulb.core.files import read_json, write_json
from lightbulb.pipeline.ledger import Cost
from lightbulb.searching.cost_table import TableKey
from lightbulb.searching.goal import SearchGoal
from lightbulb.searching.student import Student

DONE = "search.json"
COST = "joules_per_answer"
Stage = Literal["parent", "not tried", "trained", "file"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Point(_Record):
    """A model of the search.

    Attributes:
        name: as pages call it
        student: what it is
        how: it was found
        rise: what its one-off scores say that its loss rises by (nats a target)
        bytes: of its file
        predicted: costs of an answer by the table, by name
        measured: costs of its file, by name; None where it has none
        score: on validation, of the stage; None where it was not tried
        stage: that it came to: "trained" in torch, or a "file" in its runtime
        epochs: that it was trained for, all rungs together
        front: no other scores as well for less
        chosen: what the recipe makes
        why: it is not chosen
    """

    name: str
    student: Student
    how: str
    rise: float
    bytes: int
    predicted: dict[str, Figure]
    measured: dict[str, Figure] | None = None
    score: Figure | None = None
    stage: Stage = "not tried"
    epochs: float | None = None
    front: bool = False
    chosen: bool = False
    why: str = ""

    def cost(self, name: str = COST) -> Figure | None:
        """Measured, or else by the table."""
        if self.measured is not None and name in self.measured and self.measured[name].value is not None:
            return self.measured[name]
        return self.predicted.get(name)


class TableCheck(_Record):
    """How near the table comes to what is measured.

    Attributes:
        name: of the cost
        predicted: of the chosen file, before it was made
        measured: of it
        off: predicted / measured - 1
    """

    name: str
    predicted: Figure
    measured: Figure
    off: float | None


class SearchRecord(_Record):
    """A finished search.

    Attributes:
        lightbulb: its version
        command: what a person typed
        model: as it was named
        task: its name
        kind: of the task
        metric: that scores it
        goal: what was asked
        needed: the score that had to be reached; None where none was asked for
        currency: name of the cost that the front is drawn over
        reached: whether the chosen one does all that was asked
        points: the parent first, then all students
        checks: of the table, on the chosen file
        table: what it was made for
        table_files: how many files it was measured on
        misfit: how far their costs are from sums of parts (95%), by name of the cost
        table_seconds: that measuring them took; 0 where the table was there
        making: what the search cost
        notes: what a reader must know
    """

    lightbulb: str
    command: str
    model: str
    task: str
    kind: str
    metric: str
    goal: SearchGoal
    needed: float | None
    currency: str
    reached: bool
    points: list[Point]
    checks: list[TableCheck]
    table: TableKey
    table_files: int
    misfit: dict[str, float]
    table_seconds: float
    making: Cost
    notes: list[str]
    versions: dict[str, str]
    machine: dict[str, str]

    @property
    def chosen(self) -> Point | None:
        """What the recipe makes."""
        return next((p for p in self.points if p.chosen), None)

    @staticmethod
    def read(path: Path) -> SearchRecord:
        return SearchRecord.model_validate(read_json(path))

    def write(self, path: Path) -> None:
        write_json(path, self.model_dump(mode="json"))


def mark_front(points: list[Point], currency: str, sign: int) -> None:
    """Marks those that no other beats in score at no more cost."""

    def place(point: Point) -> tuple[float, float] | None:
        cost = point.cost(currency)
        if point.score is None or point.score.value is None or cost is None or cost.value is None:
            return None
        return cost.value, -sign * point.score.value

    best = float("inf")
    for _, point in sorted(((p, point) for point in points if (p := place(point))), key=lambda pair: pair[0]):
        loss = (place(point) or (0.0, best))[1]
        point.front, best = loss < best, min(best, loss)


def check_of(name: str, predicted: Figure, measured: Figure) -> TableCheck:
    off: Any = None
    if predicted.value is not None and measured.value:
        off = predicted.value / measured.value - 1
    return TableCheck(name=name, predicted=predicted, measured=measured, off=off)
