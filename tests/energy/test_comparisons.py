"""Comparisons: published ones come out again, and the arithmetic that is shown gives the value that is said."""

from __future__ import annotations

import re

import pytest

from lightbulb.core.figures import Figure
from lightbulb.energy.comparisons import (
    BULB,
    CAR,
    GPT3,
    HOUSEHOLD,
    TEXT,
    YARDSTICKS,
    compare,
    compare_all,
    kwh_of_words,
)


def figure(value: float | None, unit: str = "kWh", spread: float = 0.0) -> Figure:
    if value is None or not spread:
        return Figure(value=value, unit=unit, source="derived")
    return Figure(value=value, low=value * (1 - spread), high=value * (1 + spread), unit=unit, source="estimated")


def test_the_training_of_gpt_3_is_120_households():
    """1,287 MWh (Patterson et al. 2021) is said to be about 120 US households in a year."""
    said = compare(figure(1_287_000.0), HOUSEHOLD)
    assert said.value.value == pytest.approx(120, rel=0.01)
    assert said.arithmetic == "1,287,000 kWh / 10,791 kWh = 119" and "EIA" in said.source
    assert compare(figure(1_287_000.0), GPT3).value.value == pytest.approx(1.0)


def test_250_words_of_llama_65b():
    """About 4 J per output token (Samsi et al. 2023): 250 words cost about 0.00037 kWh."""
    assert kwh_of_words(250, 4.0) == pytest.approx(0.00037, rel=0.01)
    assert kwh_of_words(250, 4.0, tokens_per_word=2.0) == pytest.approx(2000 / 3.6e6)
    assert compare(figure(0.37), TEXT).value.value == pytest.approx(1000, rel=0.01)


def test_a_bulb_burns_1000_hours_on_13_kwh_and_a_car_drives_on_400_g_a_mile():
    assert compare(figure(13.0), BULB).value.value == pytest.approx(1000)
    assert compare(figure(400.0, "g CO2e"), CAR).value.value == pytest.approx(1.609344)


@pytest.mark.parametrize("amount", [2.2e-9, 0.37, 1234.5, 1.097e11, 3.3e15])
def test_the_arithmetic_shown_gives_the_value(amount):
    for said in compare_all(figure(amount), figure(amount, "g CO2e")):
        numbers = [
            float(n.replace(",", "")) for n in re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?", said.arithmetic)
        ]
        assert len(numbers) == 3, said.arithmetic
        assert numbers[0] / numbers[1] == pytest.approx(numbers[2], rel=0.006), said.arithmetic
        assert numbers[2] == pytest.approx(said.value.value, rel=0.006) and said.source


def test_the_interval_of_the_amount_goes_along():
    value = compare(figure(10_791.0, spread=0.2), HOUSEHOLD).value
    assert (value.low, value.high) == (pytest.approx(0.8), pytest.approx(1.2)) and value.source == "estimated"


def test_only_what_is_known_is_compared():
    assert len(compare_all(figure(1.0), figure(1.0, "g CO2e"))) == len(YARDSTICKS)
    assert {c.name for c in compare_all(figure(1.0), figure(None, "g CO2e"))} == {y.name for y in YARDSTICKS} - {
        CAR.name
    }
    with pytest.raises(ValueError, match="kWh wanted"):
        compare(figure(1.0, "J"), HOUSEHOLD)
    with pytest.raises(ValueError, match="None"):
        compare(figure(None), HOUSEHOLD)
