"""The microcontroller boards of `energy/data/boards.csv`, and whether an export fits them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from lightbulb.core.figures import Figure
from lightbulb.energy.tables import read_table

KIB = 1024


@dataclass(frozen=True, slots=True)
class Board:
    """One board.

    Attributes:
        name: short name
        label: the board, and its chip in parentheses
        core: instruction set and core
        mhz: highest clock
        flash_bytes: memory that programs and tables lie in
        ram_bytes: all of the chip's SRAM
        sources: data sheets
        note: what of it a program cannot have, or what is a fitting of the board
    """

    name: str
    label: str
    core: str
    mhz: int
    flash_bytes: int
    ram_bytes: int
    sources: tuple[str, ...]
    note: str

    def fits(self, flash: Figure, ram: Figure) -> bool:
        """Whether what needs that much, by the upper ends of both, fits into all of its flash and RAM."""
        return _most(flash) <= self.flash_bytes and _most(ram) <= self.ram_bytes


@cache
def boards() -> tuple[Board, ...]:
    """All boards of the shipped table, that with the least flash first."""
    return tuple(_board(row) for row in read_table("boards"))


def _board(row: dict[str, str]) -> Board:
    return Board(
        name=row["name"],
        label=row["label"],
        core=row["core"],
        mhz=int(row["mhz"]),
        flash_bytes=int(row["flash_kib"]) * KIB,
        ram_bytes=int(row["ram_kib"]) * KIB,
        sources=tuple(row["sources"].split(";")),
        note=row["note"],
    )


def _most(figure: Figure) -> float:
    most = figure.value if figure.high is None else figure.high
    if most is None:
        raise ValueError("what it needs is not known")
    return most
