"""Grams of CO2e: the arithmetic, the interval, zones that are not there; contracts, embodied share, SCI."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightbulb.core.errors import UserError
from lightbulb.core.figures import Figure, product
from lightbulb.energy.carbon import Contract, carbon, embodied_grams, find_zone, grams_co2e, own_zone, sci, zones
from lightbulb.energy.estimate import estimate_joules

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


# ---- both methods, embodied, SCI


def test_both_methods_side_by_side():
    contract = Contract(Figure(value=400.0, unit="g CO2e/kWh", source="derived"), certified_share=0.75)
    both = carbon(KWH, "FRA", 1.5, contract)
    assert both.location_based == grams_co2e(KWH, "FRA", 1.5)
    assert both.market_based.value == pytest.approx(1.5 * 0.25 * 400)
    assert both.market_based.low is None  # a counter without an error of its own, and an exact contract
    assert "market-based" in both.market_based.method and "75%" in both.market_based.method


def test_what_is_not_known_is_none_and_green_power_is_zero():
    unknown = carbon(KWH, "FRA").market_based
    assert unknown.value is None and "no contract" in unknown.method
    green = Contract(Figure(value=0.0, unit="g CO2e/kWh", source="derived"))
    assert carbon(KWH, "FRA", contract=green).market_based.value == 0.0
    assert carbon(Figure(value=None, unit="J"), "FRA", contract=green).market_based.value is None


def test_the_published_training_of_llama_3_2_stays_in_the_interval():
    """Meta's model card: 581 MWh, 240 t CO2e location-based, 0 market-based."""
    renewable = Contract(Figure(value=0.0, unit="g CO2e/kWh", source="derived"))
    both = carbon(KWH.scaled(581_000, "J"), "USA", contract=renewable)
    assert both.location_based.low < 240e6 < both.location_based.high and both.market_based.value == 0.0


def test_contracts_out_of_range():
    rate = Figure(value=400.0, unit="g CO2e/kWh", source="derived")
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(UserError, match="certified share"):
            Contract(rate, share)
    for value in (-1.0, float("nan"), float("inf"), None):
        with pytest.raises(UserError, match="0 or more"):
            Contract(Figure(value=value, unit="g CO2e/kWh", source="derived"))


def test_embodied_is_the_example_of_the_standard():
    """ISO/IEC 21031: 1000 kg, four years of life, reserved for an hour: about 28 g."""
    hour = embodied_grams(Figure(value=1000.0, unit="kg CO2e"), 1 / (4 * 365 * 24))
    assert hour.value == pytest.approx(28.5, abs=0.1) and hour.unit == "g CO2e"
    assert embodied_grams(Figure(value=1000.0, unit="kg CO2e"), 0.5, 0.25).value == pytest.approx(125_000)
    for shares in ((-1.0, 1.0), (float("nan"), 1.0), (0.5, 0.0), (0.5, 1.5)):
        with pytest.raises(UserError, match="out of range"):
            embodied_grams(Figure(value=1.0, unit="kg CO2e"), *shares)


def test_sci_is_e_times_i_plus_m_over_r():
    made = Figure(value=5.0, low=4.0, high=7.0, unit="g CO2e", source="estimated", method="M")
    rate = sci(KWH, "FRA", work=10, work_unit="request", pue=1.2, embodied=made)
    assert rate.value == pytest.approx((1.2 * 44.18 + 5) / 10) and rate.unit == "g CO2e/request"
    assert rate.low == pytest.approx((1.2 * 44.18 / 1.35 + 4) / 10) and "ISO/IEC 21031" in rate.method
    assert "M not given" in sci(KWH, "FRA").method
    assert sci(Figure(value=None, unit="J"), "FRA").value is None
    with pytest.raises(ValueError, match="work"):
        sci(KWH, "FRA", work=0)
    with pytest.raises(ValueError, match="grams"):
        sci(KWH, "FRA", embodied=KWH)


ENDS = st.tuples(*[st.floats(-1e6, 1e6)] * 3).map(sorted)


@given(st.lists(ENDS, min_size=1, max_size=3), st.data())
def test_a_product_holds_every_choice_within_its_factors(ends, data):
    factors = [Figure(value=v, low=a, high=b, unit="", source="estimated") for a, v, b in ends]
    made = product(factors, "", "")
    chosen = 1.0
    for low, _, high in ends:
        chosen *= data.draw(st.floats(low, high))
    slack = 1e-9 * max(abs(made.low), abs(made.high), 1.0)
    assert made.low - slack <= chosen <= made.high + slack


def test_carbon_of_a_saving_that_may_be_a_loss_is_as_wide_below_zero():
    saved = Figure(value=3.6e6, low=-3.6e6, high=7.2e6, unit="J", source="estimated")
    grams = grams_co2e(saved, "FRA")
    assert (grams.low, grams.high) == (pytest.approx(-1.35 * 44.18), pytest.approx(2 * 1.35 * 44.18))


def test_the_zone_may_be_configured_once(monkeypatch):
    monkeypatch.delenv("LIGHTBULB_ZONE", raising=False)
    assert own_zone() is None and own_zone("France") == "France"
    monkeypatch.setenv("LIGHTBULB_ZONE", "germany")
    assert own_zone() == "DEU" and own_zone("FRA") == "FRA"
    monkeypatch.setenv("LIGHTBULB_ZONE", "Atlantis")
    with pytest.raises(UserError) as raised:
        own_zone()
    assert raised.value.where == "LIGHTBULB_ZONE"
