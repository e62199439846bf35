"""Grams of CO2e: the arithmetic, the interval, and zones that are not there."""

from __future__ import annotations

import pytest

from lightbulb.energy.carbon import find_zone, grams_co2e, zones
from lightbulb.energy.estimate import estimate_joules
from lightbulb.errors import UserError
from lightbulb.figures import Figure

KWH = Figure(value=3.6e6, unit="J", scope="chip")


def test_one_kwh_in_france():
    grams = grams_co2e(KWH, "FRA")
    assert grams.value == pytest.approx(44.18)
    assert (grams.low, grams.high) == (pytest.approx(44.18 / 1.35), pytest.approx(44.18 * 1.35))
    assert (grams.source, grams.scope, grams.unit) == ("derived", "chip", "g CO2e")
    assert "location-based" in grams.method and "2024" in grams.method


def test_pue_multiplies():
    assert grams_co2e(KWH, "france", pue=1.5).value == pytest.approx(1.5 * 44.18)
    assert "PUE 1.5" in grams_co2e(KWH, "France", pue=1.5).method
    for pue in (0.9, float("nan"), float("inf")):
        with pytest.raises(UserError, match="PUE"):
            grams_co2e(KWH, "FRA", pue)


def test_no_zone_is_the_world_with_an_interval_that_holds_nine_countries_in_ten():
    grams = grams_co2e(KWH, None)
    assert grams.value == pytest.approx(472.94) and grams.source == "estimated"
    countries = [z.grams_co2e_per_kwh for z in zones() if z.is_country]
    inside = sum(grams.low <= g <= grams.high for g in countries) / len(countries)
    assert len(countries) == 209 and 0.88 <= inside <= 0.92
    assert "World" in grams.method and "no zone given" in grams.method


def test_the_interval_of_the_joules_goes_into_that_of_the_grams():
    joules = estimate_joules(100.0, 60.0, 2, "amd-epyc-gen4")
    grams = grams_co2e(joules, "FRA")
    assert grams.source == "estimated"
    assert grams.high / grams.value == pytest.approx(1.35 * joules.high / joules.value)


def test_what_was_not_measured_stays_so():
    grams = grams_co2e(Figure(value=None, unit="J"), "FRA")
    assert grams.value is None and "not measured" in grams.method
    with pytest.raises(ValueError, match="kWh"):
        grams_co2e(Figure(value=1.0, unit="kWh"), "FRA")


def test_an_unknown_zone_names_its_neighbours():
    with pytest.raises(UserError, match=r"(?s)'Germny'.*DEU \(Germany\)") as error:
        grams_co2e(KWH, "Germny")
    assert error.value.exit_code == 2
    with pytest.raises(UserError, match="three-letter code"):
        find_zone("!!")


def test_zones_are_countries_and_named_aggregates():
    assert {z.code for z in zones() if not z.is_country} >= {"World", "EU", "G20", "OECD", "Asia"}
    assert all(z.grams_co2e_per_kwh >= 0 and 2015 <= z.year <= 2026 for z in zones())
