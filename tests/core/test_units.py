from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightbulb.core import units
from lightbulb.core.figures import Figure


@pytest.mark.parametrize(
    ("value", "unit", "reads"),
    [
        (0.00312, "s", "3.12 ms"),
        (0.0130, "J", "13.0 mJ"),
        (13_107_200, "B", "13.1 MB"),
        (5400, "s", "90.0 min"),
        (90, "seconds", "90.0 s"),
        (22_680, "joules", "22.7 kJ"),
        (2.75, "gCO2e", "2.75 g CO2e"),
        (0.914, "", "0.914"),
        (0.914, "share", "0.914"),
        (64.0, "prompts", "64 prompts"),
        (11.03, "×", "11.0×"),
        (98.74, "%", "98.7%"),
        (4.2e6, "answers", "4.20 million answers"),
        (0, "s", "0 s"),
        (0.031, "J/answer", "31.0 mJ"),
        (7900, "tokens/s", "7,900 tokens/s"),
        (0.001, "s", "1.00 ms"),
    ],
)
def test_numbers_read_well(value: float, unit: str, reads: str) -> None:
    assert units.quantity(value, unit).replace("\N{NO-BREAK SPACE}", " ") == reads


@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
def test_what_is_missing_says_so(missing: float | None) -> None:
    assert units.quantity(missing, "s") == "not measured"
    assert units.text(Figure(value=missing, unit="s")) == "not measured"


def test_no_figure_at_all_is_not_measured() -> None:
    assert units.text(None, source=True) == "not measured"


def test_an_interval_is_in_the_unit_of_its_value() -> None:
    figure = Figure(value=0.9, low=0.5, high=1.5, unit="J", source="estimated")
    assert units.text(figure, source=True) == "900\N{NO-BREAK SPACE}mJ [500, 1,500] (estimated)"


def test_percent_keeps_the_source() -> None:
    figure = units.percent(Figure(value=0.987, low=0.979, high=0.996, unit="", source="measured"))
    assert units.text(figure, source=True) == "98.7% [97.9, 99.6] (measured)"


@given(st.floats(1e-5, 1e11), st.sampled_from(["s", "J", "B", "g CO2e"]))
def test_the_shown_number_is_the_value(value: float, unit: str) -> None:
    factor, symbol = units.scale(value, unit)
    number = units.quantity(value, unit).removesuffix(f"\N{NO-BREAK SPACE}{symbol}").replace(",", "")
    assert float(number) * factor == pytest.approx(value, rel=0.006)
