"""What serving costs a year: energy, carbon and money of answers, or of a fleet of servers.

    joules a year = answers a day x 365 x joules per answer            (or servers x watts x seconds they run)
    of year k     = joules a year x (1 + growth)^k,  k = 0 for the first
    kWh           = joules x PUE / 3.6e6

The arithmetic of fleets is that of de Vries, "The growing energy footprint of artificial intelligence", Joule 2023.

Factors with an interval are taken as independent: their ends multiply, the widest that they allow. Years share the same
unknown factors, so that their intervals add end to end. Pure: figures above 0 in, figures out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel, ConfigDict

from lightbulb.core.figures import Figure, Source, bounds, human, product, total
from lightbulb.energy.carbon import JOULES_PER_KWH, Carbon, Contract, carbon, sci
from lightbulb.energy.comparisons import Comparison, compare_all

DAYS = 365
HORIZON_YEARS = 100  # what has not paid back by then never will
WIDEST = "interval ends multiply"


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for every model.

    Attributes:
        growth: a year, above -1
        years: how many
        pue: power usage effectiveness, 1 or more
        zone: whose grid; None: the world's average
        contract: what the user buys
        price: money per kWh
        embodied: g CO2e a year
    """

    growth: Figure
    years: int = 1
    pue: float = 1.0
    zone: str | None = None
    contract: Contract | None = None
    price: Figure | None = None
    embodied: Figure | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """What a model costs.

    Attributes:
        name: for showing
        joules_per_answer: J
        making: J, of making it
    """

    name: str
    joules_per_answer: Figure
    making: Figure | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """A model and what it is compared with.

    Attributes:
        model: the one
        against: the other
        saved: J per answer, against minus model; None: from their intervals, taken as independent
        break_even: answers after which the making is paid back; None: making / saved
    """

    model: Model
    against: Model | None = None
    saved: Figure | None = None
    break_even: Figure | None = None


class Amounts(BaseModel):
    """Answers (or requests) served, and what they cost, cooling (PUE) included. Values are None where not known.

    Attributes:
        answers: how many
        kwh: kWh
        grams_co2e: g CO2e, by both methods
        money: in the currency of the price
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    answers: Figure
    kwh: Figure
    grams_co2e: Carbon
    money: Figure


class Outlook(Amounts):
    """The totals of all years, and each year.

    Attributes:
        name: of the model
        joules_per_answer: J, without PUE
        sci: g CO2e per answer
        by_year: each year's amounts
    """

    name: str
    joules_per_answer: Figure
    sci: Figure
    by_year: tuple[Amounts, ...]


@dataclass(frozen=True, slots=True)
class PayBack:
    """When the joules saved equal those of the making. Values are None where that is never, or not certain.

    Attributes:
        answers: served until then
        days: until then
    """

    answers: Figure
    days: Figure


@dataclass(frozen=True, slots=True)
class Forecast:
    """What serving costs.

    Attributes:
        work: "answers" or "requests"
        terms: what it was reckoned with
        model: what it costs
        against: what the other costs
        saved: against minus model
        pay_back: of the making
        gigawatts: of a fleet
        wh_per_request: likewise
    """

    work: str
    terms: Terms
    model: Outlook
    against: Outlook | None = None
    saved: Outlook | None = None
    pay_back: PayBack | None = None
    gigawatts: Figure | None = None
    wh_per_request: Figure | None = None

    @property
    def compared(self) -> Outlook:
        """What the comparisons speak of: what is saved where that is certain, else the model."""
        gain = None if self.saved is None else bounds(self.saved.kwh)
        return self.saved if self.saved is not None and gain is not None and gain[0] > 0 else self.model

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """What that is as much as."""
        return compare_all(self.compared.kwh, self.compared.grams_co2e.location_based)


def forecast_answers(answers_per_day: Figure, pair: Pair, terms: Terms) -> Forecast:
    """What answers cost.

    Args:
        answers_per_day: in the first year
        pair: what one costs
        terms: of all models

    Raises:
        UserError: terms out of range
    """
    a_year = answers_per_day.scaled(DAYS, "answers")

    def outlook(name: str, joules: Figure, terms: Terms = terms) -> Outlook:
        return _outlook(
            name, product([a_year, joules], "J", f"answers x joules per answer; {WIDEST}"), a_year, joules, terms
        )

    model, against = pair.model, pair.against
    made = outlook(model.name, model.joules_per_answer)
    if against is None:
        return Forecast("answers", terms, made)
    saved = pair.saved or difference(against.joules_per_answer, model.joules_per_answer)
    return Forecast(
        "answers",
        terms,
        made,
        against=outlook(against.name, against.joules_per_answer),
        saved=outlook("saved", saved, replace(terms, embodied=None)),  # M is the same on both sides
        pay_back=_pay_back(pair, saved, answers_per_day, terms.growth),
    )


def forecast_fleet(
    servers: Figure, watts: Figure, terms: Terms, *, hours_per_day: Figure, requests_per_day: Figure | None = None
) -> Forecast:
    """What a fleet costs.

    Args:
        servers: how many
        watts: that each draws
        terms: of all models
        hours_per_day: that they draw them
        requests_per_day: that they answer

    Raises:
        UserError: terms out of range
    """
    power = product([servers, watts], "W", WIDEST)
    a_day = product([power, hours_per_day.scaled(3600, "s")], "J", f"servers x watts x time they run; {WIDEST}")
    if requests_per_day is None:
        none = Figure(value=None, unit="requests", source="derived", method="requests a day not given")
        requests, each = none, none.model_copy(update={"unit": "J"})
    else:
        requests = requests_per_day.scaled(DAYS, "requests")
        each = product([a_day, _inverse(requests_per_day)], "J", f"energy of a day / requests of a day; {WIDEST}")
    made = _outlook(f"{human(servers.value or 0)} servers", a_day.scaled(DAYS, "J"), requests, each, terms)
    return Forecast(
        "requests",
        terms,
        made,
        gigawatts=power.scaled(terms.pue / 1e9, "GW", f"servers x watts x PUE {terms.pue:g}; while they run"),
        wh_per_request=each.scaled(terms.pue / 3600, "Wh", f"{each.method}; PUE {terms.pue:g}"),
    )


def difference(before: Figure, after: Figure) -> Figure:
    """before - after, of one unit, as if independent: its ends are the farthest apart that the two intervals allow."""
    a, b = bounds(before), bounds(after)
    if a is None or b is None or before.value is None or after.value is None:
        return Figure(value=None, unit=before.unit, source="derived", method="difference; a part was not measured")
    exact = before.low is before.high is after.low is after.high is None
    low, high = (None, None) if exact else (a[0] - b[1], a[1] - b[0])
    source: Source = "estimated" if "estimated" in (before.source, after.source) else "derived"
    method = "difference; the intervals taken as independent"
    return Figure(value=before.value - after.value, low=low, high=high, unit=before.unit, source=source, method=method)


def _outlook(name: str, joules: Figure, answers: Figure, joules_per_answer: Figure, terms: Terms) -> Outlook:
    """From joules and answers of the first year."""
    by_year = []
    for year in range(terms.years):
        grown = _grown(terms.growth, year)
        by_year.append(
            _amounts(
                product([joules, grown], "J", joules.method), product([answers, grown], answers.unit, WIDEST), terms
            )
        )
    served = _summed([a.answers for a in by_year])
    embodied = None
    if terms.embodied is not None and served.value:
        spent = terms.embodied.scaled(terms.years, "g CO2e")
        embodied = product([spent, _inverse(served)], "g CO2e", terms.embodied.method)
    return Outlook(
        name=name,
        joules_per_answer=joules_per_answer,
        answers=served,
        kwh=_summed([a.kwh for a in by_year]),
        grams_co2e=Carbon(
            location_based=_summed([a.grams_co2e.location_based for a in by_year]),
            market_based=_summed([a.grams_co2e.market_based for a in by_year]),
        ),
        money=_summed([a.money for a in by_year]),
        sci=sci(joules_per_answer, terms.zone, work_unit=answers.unit.rstrip("s"), pue=terms.pue, embodied=embodied),
        by_year=tuple(by_year),
    )


def _amounts(joules: Figure, answers: Figure, terms: Terms) -> Amounts:
    kwh = joules.scaled(terms.pue / JOULES_PER_KWH, "kWh", f"{joules.method}; PUE {terms.pue:g}")
    if terms.price is None:
        money = Figure(value=None, unit="money", source="derived", method="price per kWh not given")
    else:
        money = product([kwh, terms.price], terms.price.unit, f"kWh x price; {WIDEST}")
    return Amounts(
        answers=answers, kwh=kwh, grams_co2e=carbon(joules, terms.zone, terms.pue, terms.contract), money=money
    )


def _summed(years: Sequence[Figure]) -> Figure:
    many = f"; sum of {len(years)} years, intervals end to end" if len(years) > 1 else ""
    return years[0] if len(years) == 1 else total(years, years[0].unit, years[0].method + many)


def _grown(growth: Figure, years: int) -> Figure:
    """(1 + growth)^years."""
    ends = [None if x is None else (1 + x) ** years for x in (growth.value, growth.low, growth.high)]
    return Figure(value=ends[0], low=ends[1], high=ends[2], unit="", source=growth.source, method="growth")


def _inverse(figure: Figure) -> Figure:
    """1 / figure, which is above 0."""
    low, high = (None if x is None else 1 / x for x in (figure.high, figure.low))
    value = None if figure.value is None else 1 / figure.value
    return Figure(value=value, low=low, high=high, unit=f"1/{figure.unit}", source=figure.source, method=figure.method)


def _pay_back(pair: Pair, saved: Figure, answers_per_day: Figure, growth: Figure) -> PayBack | None:
    """None where the making is not known."""
    if pair.model.making is None or pair.model.making.value is None:
        return None
    answers = pair.break_even or _break_even(pair.model.making, saved)
    return PayBack(answers=answers, days=_days_until(answers, answers_per_day, growth))


def _break_even(making: Figure, saved: Figure) -> Figure:
    ends, words = bounds(saved), "joules of making / joules saved per answer"
    if ends is None or (saved.value or 0) <= 0:
        return Figure(value=None, unit="answers", source="derived", method=f"{words}; an answer does not cost less")
    if ends[0] <= 0:
        why = f"{words}; within noise: the interval of what is saved holds 0"
        return Figure(value=None, unit="answers", source="derived", method=why)
    return product([making, _inverse(saved)], "answers", f"{words}; {WIDEST}")


def _days_until(answers: Figure, per_day: Figure, growth: Figure) -> Figure:
    """Days until so many answers were given: the fewest at the fastest rate, the most at the slowest."""
    words = "days until so many answers were given"
    wanted, rate, grows = bounds(answers), bounds(per_day), bounds(growth)
    if answers.value is None or wanted is None or rate is None or grows is None:
        return Figure(value=None, unit="days", source="derived", method=f"{words}; {answers.method}")
    value = _days(answers.value, per_day.value or 0.0, growth.value or 0.0)
    low, high = _days(wanted[0], rate[1], grows[1]), _days(wanted[1], rate[0], grows[0])
    if value is None or low is None or high is None:
        why = f"{words}; not for certain within {HORIZON_YEARS} years"
        return Figure(value=None, unit="days", source="derived", method=why)
    estimated = "estimated" in (answers.source, per_day.source, growth.source)
    source: Source = "estimated" if estimated else "derived"
    return Figure(value=value, low=low, high=high, unit="days", source=source, method=words)


def _days(answers: float, per_day: float, growth: float) -> float | None:
    for year in range(HORIZON_YEARS):
        rate = per_day * (1 + growth) ** year
        if rate > 0 and answers <= DAYS * rate:
            return DAYS * year + answers / rate
        answers -= DAYS * rate
    return None
