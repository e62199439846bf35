"""The reference tables that ship with the package (`energy/data/*.csv`); their first lines say source and date."""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files


@cache
def read_table(name: str) -> tuple[dict[str, str], ...]:
    """Rows of `energy/data/<name>.csv` as text, comment lines dropped."""
    text = (files("lightbulb.energy") / "data" / f"{name}.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


@cache
def date_taken(name: str) -> str:
    """The day on which the table was taken from its source, e.g. "2026-11-21"."""
    text = (files("lightbulb.energy") / "data" / f"{name}.csv").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("# Taken "))
    return line.removeprefix("# Taken ").rstrip(".")
