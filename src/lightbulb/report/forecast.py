"""The page of `lightbulb forecast` on a terminal, its JSON, and the models that a finished run compares. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lightbulb.core import units
from lightbulb.core.figures import Figure
from lightbulb.energy.carbon import find_zone
from lightbulb.forecasting.arithmetic import Amounts, Forecast, Outlook

_COUNTS = ((1.0, ""), (1e6, "million"), (1e9, "billion"), (1e12, "trillion"), (1e15, "quadrillion"))
_LEAST_SHOWN = 0.1  # of a yardstick: a thousandth of a household says nothing


def forecast_dict(made: Forecast) -> dict[str, Any]:
    """The JSON object. Figures are {value, low, high, unit, source, scope, method}; a value is null where not known.

    work: "answers" or "requests"; answers_per_year: of the first year; years, growth (a year), pue, zone;
    kwh, grams_co2e {location_based, market_based}, money, answers: of all years together, for the (first) model;
    name, joules_per_answer (without PUE), sci (g CO2e per answer); by_year: the same amounts for each year;
    against, saved: such outlooks of the other model and of the difference, or null;
    pay_back: {answers, days} or null; gigawatts, wh_per_request: of a fleet, or null;
    comparisons: {of, list of {name, value, arithmetic, source}}.
    """

    def dumped(x: Any) -> Any:
        return None if x is None else x.model_dump(mode="json")

    return {
        "work": made.work,
        "answers_per_year": dumped(made.model.by_year[0].answers),
        "years": made.terms.years,
        "growth": dumped(made.terms.growth),
        "pue": made.terms.pue,
        "zone": _zone(made),
        **dumped(made.model),
        "against": dumped(made.against),
        "saved": dumped(made.saved),
        "pay_back": made.pay_back and {"answers": dumped(made.pay_back.answers), "days": dumped(made.pay_back.days)},
        "gigawatts": dumped(made.gigawatts),
        "wh_per_request": dumped(made.wh_per_request),
        "comparisons": {"of": made.compared.name, "list": [dumped(c) for c in made.comparisons]},
    }


def forecast_page(made: Forecast) -> RenderableType:
    """Heading, a table with a column a model, pay-back, how the figures came about, and comparisons."""
    outlooks = [o for o in (made.model, made.against, made.saved) if o is not None]
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column("", style="dim", no_wrap=True)
    for outlook in outlooks:
        table.add_column(Text(outlook.name), overflow="fold")
    for label, figure in _rows(made):
        table.add_row(Text(label), *[Text(_text(figure(o))) for o in outlooks])
    notes = [*_fleet(made), *_pay_back(made), *_how(made)]
    return Group(Text(_heading(made), style="bold"), table, *[Text(note) for note in notes], *_comparisons(made))


def _zone(made: Forecast) -> str:
    return find_zone(made.terms.zone or "World").name


def _heading(made: Forecast) -> str:
    terms = made.terms
    first = made.model.by_year[0].answers
    work = f"{_text(first, source=False)} a year, " if first.value is not None else ""
    grows = f", {100 * (terms.growth.value or 0):+g}% a year" if terms.years > 1 else ""
    years = f"{terms.years} year{'s' if terms.years > 1 else ''}"
    return f"{work}{years}{grows}; {_zone(made)}, PUE {terms.pue:g}"


def _rows(made: Forecast) -> Iterator[tuple[str, Callable[[Outlook], Figure]]]:
    one = made.work.removesuffix("s")
    if made.model.joules_per_answer.value is not None:
        yield f"energy a{'n' if one == 'answer' else ''} {one}", lambda o: o.joules_per_answer
        yield f"carbon (SCI) a{'n' if one == 'answer' else ''} {one}", lambda o: o.sci
    if made.terms.years > 1:
        for year in range(made.terms.years):
            yield from ((f"year {year + 1}: {label}", _of_year(of, year)) for label, of in _amounts(made))
    total = f"{made.terms.years} years" if made.terms.years > 1 else "a year"
    for label, of in _amounts(made):
        yield f"{total}: {label}", of


def _amounts(made: Forecast) -> Iterator[tuple[str, Callable[[Amounts], Figure]]]:
    yield "energy", lambda a: a.kwh
    yield "CO2e, location-based", lambda a: a.grams_co2e.location_based
    yield "CO2e, market-based", lambda a: a.grams_co2e.market_based
    if made.terms.price is not None:
        yield "money", lambda a: a.money


def _of_year(of: Callable[[Amounts], Figure], year: int) -> Callable[[Outlook], Figure]:
    return lambda outlook: of(outlook.by_year[year])


def _text(figure: Figure, *, source: bool = True) -> str:
    """A figure in the unit that suits its size, with interval and `source`; "not known" without a value."""
    if figure.value is None:
        return "not known"
    unit, _, per = figure.unit.partition("/")
    size = abs(figure.value) * (1 + 1e-9)
    count = next((step for step in reversed(_COUNTS) if size >= step[0]), _COUNTS[0])
    factor, symbol = units.scale(figure.value, unit) if unit else count
    scaled = figure.model_copy(
        update={k: None if (x := getattr(figure, k)) is None else x / factor for k in ("value", "low", "high")}
    )
    return units.text(scaled, f"{symbol} per {per}" if per else symbol, source=source)


def _fleet(made: Forecast) -> Iterator[str]:
    if made.gigawatts is not None:
        yield f"power while it runs: {_text(made.gigawatts)}"
    if made.wh_per_request is not None and made.wh_per_request.value is not None:
        yield f"energy per request, PUE included: {_text(made.wh_per_request)}"


def _pay_back(made: Forecast) -> Iterator[str]:
    if made.pay_back is None:
        return
    answers, days = made.pay_back.answers, made.pay_back.days
    if answers.value is None:
        yield f"pay-back of the making: not for certain ({answers.method})"
    else:
        when = _text(days) if days.value is not None else days.method
        yield f"pay-back of the making: after {units.text(answers, 'answers')}, {when}"


def _how(made: Forecast) -> Iterator[str]:
    carbon = made.model.by_year[0].grams_co2e
    together = "; years add end to end" if made.terms.years > 1 else ""
    yield f"how: {made.model.by_year[0].kwh.method}{together}"
    for figure in (carbon.location_based, carbon.market_based):
        yield f"how: {figure.method}" + (" (--market-intensity)" if figure.value is None else "")


def _comparisons(made: Forecast) -> Iterator[Text]:
    of = "what is saved" if made.compared is made.saved else made.compared.name
    shown = [c for c in made.comparisons if (c.value.value or 0) >= _LEAST_SHOWN] or list(made.comparisons[-1:])
    yield Text(f"for comparison, {of}:", style="bold")
    for c in shown:
        yield Text(
            f"  {_text(c.value.model_copy(update={'unit': ''}), source=False)} {c.name}: {c.arithmetic} ({c.source})"
        )
