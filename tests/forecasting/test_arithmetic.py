"""Forecasts: published fleets come out again; growth, intervals, differences and pay-back by other arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightbulb.core.figures import Figure
from lightbulb.energy.carbon import Contract, embodied_grams, grams_co2e
from lightbulb.forecasting.arithmetic import Model, Pair, Terms, difference, forecast_answers, forecast_fleet


def given_figure(value: float, unit: str, low: float | None = None, high: float | None = None) -> Figure:
    return Figure(value=value, low=low, high=high, unit=unit, source="derived" if low is None else "estimated")


def terms(growth: float = 0.0, **more) -> Terms:
    return Terms(given_figure(growth, ""), **more)


def answers(per_day: float) -> Figure:
    return given_figure(per_day, "answers/day")


def joules(value: float, low: float | None = None, high: float | None = None) -> Figure:
    return given_figure(value, "J", low, high)


HOURS = given_figure(24.0, "h/day")


def test_the_fleet_of_de_vries():
    """de Vries 2023: 1.5 million servers of 6.5 to 10.2 kW draw 9.75 to 15.3 GW, 85.4 to 134.0 TWh a year."""
    made = forecast_fleet(
        given_figure(1.5e6, "servers"), given_figure(8350.0, "W", 6500.0, 10200.0), terms(), hours_per_day=HOURS
    )
    twh = made.model.kwh.scaled(1e-9, "TWh")
    assert (round(twh.low, 1), round(twh.high, 1)) == (85.4, 134.0) and twh.source == "estimated"
    assert (made.gigawatts.low, made.gigawatts.high) == (pytest.approx(9.75), pytest.approx(15.3))
    assert made.wh_per_request.value is None and made.model.sci.value is None and made.model.answers.value is None


def test_the_requests_of_de_vries():
    """de Vries 2023: 3,617 servers of 6.5 kW spend 564 MWh a day, 2.9 Wh on each of 195 million requests."""
    made = forecast_fleet(
        given_figure(3617.0, "servers"),
        given_figure(6500.0, "W"),
        terms(),
        hours_per_day=HOURS,
        requests_per_day=given_figure(195e6, "requests/day"),
    )
    assert made.model.kwh.value / 365 == pytest.approx(564_000, rel=0.001)
    assert round(made.wh_per_request.value, 1) == 2.9 and made.wh_per_request.unit == "Wh"
    assert made.model.answers.value == pytest.approx(195e6 * 365) and made.model.answers.unit == "requests"


def test_pue_is_in_energy_and_carbon_once():
    fleet = (given_figure(10.0, "servers"), given_figure(1000.0, "W"))
    made = forecast_fleet(*fleet, terms(pue=1.5, zone="FRA"), hours_per_day=given_figure(12.0, "h/day"))
    assert made.model.kwh.value == pytest.approx(10 * 12 * 365 * 1.5)
    assert made.model.grams_co2e.location_based.value == pytest.approx(10 * 12 * 365 * 1.5 * 44.18)
    assert made.gigawatts.value == pytest.approx(1.5e-5)


def test_growth_money_and_sums():
    held = terms(
        0.5, years=3, price=given_figure(0.25, "EUR"), contract=Contract(given_figure(100.0, "g CO2e/kWh")), zone="FRA"
    )
    made = forecast_answers(answers(1e6), Pair(Model("m", joules(3.6, 1.8, 7.2))), held).model
    kwh = [365.0, 365 * 1.5, 365 * 2.25]
    assert [y.kwh.value for y in made.by_year] == pytest.approx(kwh)
    assert made.kwh.value == pytest.approx(sum(kwh)) and made.kwh.low == pytest.approx(sum(kwh) / 2)
    assert made.money.value == pytest.approx(0.25 * sum(kwh)) and made.money.unit == "EUR"
    assert made.grams_co2e.market_based.high == pytest.approx(2 * 100 * sum(kwh))
    assert made.answers.value == pytest.approx(365e6 * (1 + 1.5 + 2.25))


def test_what_was_not_given_is_none():
    made = forecast_answers(answers(1e6), Pair(Model("m", joules(1.0))), terms(years=2)).model
    assert made.money.value is None and made.grams_co2e.market_based.value is None
    assert made.grams_co2e.location_based.value > 0 and made.kwh.low is None


@given(*[st.floats(0.1, 10).flatmap(lambda v: st.tuples(st.just(v), st.floats(0.1, 1), st.floats(1, 10)))] * 3)
def test_intervals_of_independent_factors_multiply(a, j, g):
    """Every choice within the intervals gives an energy within that of the forecast."""
    per_day = given_figure(a[0], "answers/day", a[0] * a[1], a[0] * a[2])
    growth = given_figure(g[0], "", g[0] * g[1], g[0] * g[2])
    made = forecast_answers(per_day, Pair(Model("m", joules(j[0], j[0] * j[1], j[0] * j[2]))), Terms(growth, years=2))
    for end, bound in ((1, made.model.kwh.low), (2, made.model.kwh.high)):
        assert bound == pytest.approx(365 * a[0] * a[end] * j[0] * j[end] * (2 + g[0] * g[end]) / 3.6e6)


def test_embodied_carbon_is_shared_by_the_answers():
    made_of = embodied_grams(given_figure(1000.0, "kg CO2e"), 0.25)
    held = terms(1.0, years=2, zone="FRA", embodied=made_of)
    pair = Pair(Model("m", joules(1.0)), Model("n", joules(3.0)))
    made = forecast_answers(answers(1000.0), pair, held)
    operational = grams_co2e(joules(1.0), "FRA").value
    assert made.model.sci.value == pytest.approx(operational + 2 * 250_000 / (365_000 * 3))
    assert made.saved.sci.value == pytest.approx(made.against.sci.value - made.model.sci.value)


def test_the_difference_of_two_models():
    pair = Pair(Model("small", joules(1.0, 0.5, 2.0)), Model("large", joules(4.0, 3.0, 6.0)))
    made = forecast_answers(answers(1e6), pair, terms(zone="FRA"))
    a_year = 365e6 / 3.6e6
    assert made.saved.kwh.value == pytest.approx(made.against.kwh.value - made.model.kwh.value)
    assert (made.saved.kwh.low, made.saved.kwh.high) == (pytest.approx(1.0 * a_year), pytest.approx(5.5 * a_year))
    assert made.compared is made.saved and made.pay_back is None
    noisy = Pair(Model("small", joules(1.0, 0.5, 5.0)), Model("large", joules(4.0, 3.0, 6.0)))
    made = forecast_answers(answers(1e6), noisy, terms())
    assert made.saved.grams_co2e.location_based.low < 0 and made.compared is made.model
    assert difference(joules(3.0), joules(1.0)).low is None


def simulated_days(wanted: float, per_day: float, growth: float) -> int:
    day = 0
    while wanted > 0:
        wanted -= per_day * (1 + growth) ** (day // 365)
        day += 1
    return day


@pytest.mark.parametrize(("per_day", "growth"), [(1000.0, 0.0), (700.0, 0.5), (1500.0, -0.3)])
def test_pay_back_counts_the_answers_day_by_day(per_day, growth):
    pair = Pair(Model("s", joules(1.0), making=joules(2e6)), Model("l", joules(5.0)))
    back = forecast_answers(answers(per_day), pair, terms(growth)).pay_back
    assert back.answers.value == pytest.approx(500_000)
    assert back.days.value == pytest.approx(simulated_days(500_000, per_day, growth), abs=1)


def test_pay_back_that_is_never_or_not_certain():
    def back(model: Figure, against: Figure, growth: float = 0.0):
        pair = Pair(Model("s", model, making=joules(2e6)), Model("l", against))
        return forecast_answers(answers(1000.0), pair, terms(growth)).pay_back

    assert back(joules(5.0), joules(5.0)).answers.value is None
    assert "within noise" in back(joules(4.0, 3.0, 6.0), joules(5.0, 4.0, 6.0)).answers.method
    shrinking = back(joules(1.0), joules(5.0), growth=-0.9)  # 365,000 answers in the first year, 405,556 ever
    assert shrinking.answers.value == pytest.approx(500_000) and shrinking.days.value is None
    wide = back(joules(1.0, 0.9, 1.1), joules(5.0, 4.5, 5.5))
    assert wide.days.low < wide.days.value < wide.days.high and wide.days.source == "estimated"


def test_the_pay_back_of_a_run_is_taken_as_it_stands():
    known = given_figure(730_000.0, "answers", 700_000.0, 800_000.0)
    pair = Pair(Model("s", joules(1.0), making=joules(2e6)), Model("l", joules(5.0)), break_even=known)
    back = forecast_answers(answers(1000.0), pair, terms()).pay_back
    assert back.answers == known and back.days.value == pytest.approx(730) and back.days.high == pytest.approx(800)
