"""How a figure reads: 3.12 ms [3.05, 3.20]. Every page writes its numbers through here."""

from __future__ import annotations

import math
from typing import NamedTuple

from lightbulb.core.figures import Figure, human

NOT_MEASURED = "not measured"

# Spellings of the units that are scaled, and their steps (factor, symbol) from small to large.
_SPELLINGS = {
    "s": "s",
    "seconds": "s",
    "second": "s",
    "CPU s": "s",
    "CPU seconds": "s",
    "cpu_seconds": "s",
    "J": "J",
    "joules": "J",
    "joule": "J",
    "B": "B",
    "bytes": "B",
    "g": "g",
    "grams": "g",
    "gCO2e": "g CO2e",
    "g CO2e": "g CO2e",
    "grams CO2e": "g CO2e",
}
_SCALES: dict[str, tuple[tuple[float, str], ...]] = {
    "s": ((1e-6, "µs"), (1e-3, "ms"), (1, "s"), (60, "min"), (3600, "h"), (86400, "days")),
    "J": ((1e-6, "µJ"), (1e-3, "mJ"), (1, "J"), (1e3, "kJ"), (1e6, "MJ"), (1e9, "GJ")),
    "B": ((1, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB")),
    "g": ((1e-6, "µg"), (1e-3, "mg"), (1, "g"), (1e3, "kg"), (1e6, "t"), (1e9, "kt"), (1e12, "Mt")),
    "kWh": ((1e-6, "mWh"), (1e-3, "Wh"), (1, "kWh"), (1e3, "MWh"), (1e6, "GWh"), (1e9, "TWh")),
    "operations": ((1, "operations"), (1e6, "million operations"), (1e9, "billion operations")),
    "answers": ((1, "answers"), (1e6, "million answers"), (1e9, "billion answers"), (1e12, "trillion answers")),
}
_SCALES["g CO2e"] = tuple((factor, f"{symbol} CO2e") for factor, symbol in _SCALES["g"])
_COUNTS = ("prompts",)
_STEP_UP = {"min": 120.0, "h": 7200.0, "days": 172800.0}  # 90 s reads better than 1.5 min


class Shown(NamedTuple):
    """The parts of a figure as text.

    Attributes:
        value: in a unit that reads well
        interval: in the unit of the value; empty where there is none
        source: empty where there is none
        how: it was obtained
    """

    value: str
    interval: str
    source: str
    how: str


def scale(value: float, unit: str) -> tuple[float, str]:
    """(factor, symbol) such that value / factor reads well. "/answer" is dropped: the labels say it."""
    unit = unit.removesuffix("/answer").removesuffix(" per answer").strip()
    unit = _SPELLINGS.get(unit, unit)
    if unit in ("ratio", "fraction", "share", "1"):
        unit = ""
    steps = _SCALES.get(unit)
    if steps is None:
        return 1.0, unit
    if value == 0:
        return 1.0, unit
    fits = [step for step in steps if abs(value) * (1 + 1e-9) >= _STEP_UP.get(step[1], step[0])]
    return fits[-1] if fits else steps[0]


def _joined(number: str, symbol: str) -> str:
    glue = "" if symbol in ("", "%", "×") else "\N{NO-BREAK SPACE}"
    return f"{number}{glue}{symbol}"


def quantity(value: float | None, unit: str) -> str:
    """A bare number in human units: quantity(0.00312, "s") is "3.12 ms"; None is "not measured"."""
    if value is None or not math.isfinite(value):
        return NOT_MEASURED
    factor, symbol = scale(value, unit)
    return _joined(f"{value:,.0f}" if symbol in _COUNTS else human(value / factor), symbol)


def shown(figure: Figure | None, unit: str | None = None) -> Shown:
    """The parts of `figure`; its interval is in the unit of its value. `unit` overrides the figure's own."""
    if figure is None or figure.value is None or not math.isfinite(figure.value):
        how = figure.method if figure else ""
        return Shown(NOT_MEASURED, "", "", how)
    unit = figure.unit if unit is None else unit
    factor, _ = scale(figure.value, unit)
    interval = ""
    if figure.low is not None and figure.high is not None:
        interval = f"[{human(figure.low / factor)}, {human(figure.high / factor)}]"
    scope = f"; {figure.scope}" if figure.scope else ""
    return Shown(quantity(figure.value, unit), interval, figure.source, f"{figure.method or 'no method given'}{scope}")


def text(figure: Figure | None, unit: str | None = None, *, source: bool = False) -> str:
    """One line: "3.12 ms [3.05, 3.20]", with " (measured)" where `source` is set."""
    parts = shown(figure, unit)
    line = " ".join(part for part in (parts.value, parts.interval) if part)
    return f"{line} ({parts.source})" if source and parts.source else line


def percent(figure: Figure) -> Figure:
    """The same figure in percent. Its source stays what it was: only the notation changes."""

    def hundred(x: float | None) -> float | None:
        return None if x is None else 100 * x

    return figure.model_copy(
        update={"value": hundred(figure.value), "low": hundred(figure.low), "high": hundred(figure.high), "unit": "%"}
    )


def counted_bytes(count: int | None) -> Figure:
    """A file's size as a figure: counted, so it needs no interval."""
    return Figure(value=count, unit="B", method="size of the file")
