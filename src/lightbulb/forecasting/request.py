"""`forecast`: the forms in which its numbers are given, and what they mean."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lightbulb.core.errors import LightbulbError, UserError

if TYPE_CHECKING:
    from lightbulb.core.figures import Figure
    from lightbulb.energy.carbon import Contract
    from lightbulb.forecasting.arithmetic import Forecast, Pair
    from lightbulb.shrinking.record import Result


class Option(NamedTuple):
    """How the number of a parameter is given.

    Attributes:
        unit: that it is in
        example: of it
        range: in words
        least: of the range
        most: likewise
    """

    unit: str
    example: str
    range: str = "above 0 and at most 1e18"
    least: float = 1e-18
    most: float = 1e18


OPTIONS = {
    "answers_per_day": Option("answers/day", "2e6"),
    "joules_per_answer": Option("J", "0.4"),
    "against_joules_per_answer": Option("J", "4"),
    "servers": Option("servers", "1.5e6"),
    "server_watts": Option("W", "6500..10200"),
    "hours_per_day": Option("h/day", "24", "above 0 and at most 24", 1e-18, 24.0),
    "requests_per_day": Option("requests/day", "195e6"),
    "growth": Option("", "0.5", "above -1 and at most 100", -1 + 1e-12, 100.0),
    "years": Option("years", "3", "from 1 to 100", 1.0, 100.0),
    "pue": Option("", "1.2", "from 1 to 100", 1.0, 100.0),
    "market_intensity": Option("g CO2e/kWh", "400", "from 0 to 1e6", 0.0, 1e6),
    "certified_share": Option("", "0.6", "from 0 to 1", 0.0, 1.0),
    "price_per_kwh": Option("", "0.25EUR", "from 0 to 1e18", 0.0),
    "embodied_kg": Option("kg CO2e", "1300", "from 0 to 1e18", 0.0),
    "hardware_years": Option("years", "4", "from 0.01 to 100", 0.01, 100.0),
    "resource_share": Option("", "0.25", "above 0 and at most 1", 1e-18, 1.0),
}
Number = float | str  # a number, or a text of one of the forms below
_N = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_FORMS = re.compile(
    rf"(?P<value>{_N})(?:\s*\[\s*(?P<low>{_N})\s*,\s*(?P<high>{_N})\s*\])?|(?P<a>{_N})\s*\.\.\s*(?P<b>{_N})"
)
_PRICE = re.compile(r"(?P<price>.*[\d\]])\s*(?P<currency>[^\W\d_]{1,8}|[$€£¥])?")


def number(given: Number, parameter: str) -> Figure:
    """The figure of one parameter.

    Args:
        given: a number, or "2e6", "0.4[0.3,0.6]" or "6500..10200"
        parameter: its name, a key of OPTIONS

    Raises:
        UserError: it is no number, out of the parameter's range, or an interval that does not hold its value
    """
    from lightbulb.core.figures import Figure

    text, option = str(given), OPTIONS[parameter]
    where, hint = f"`{parameter}`", f"`{parameter}={option.example}`"
    found = _FORMS.fullmatch(text.strip())
    if found is None:
        raise UserError(f"{text!r} is not a number", where=where, hint=hint)
    parts = {name: float(part) for name, part in found.groupdict().items() if part is not None}
    if "a" in parts:
        low, high, how = parts["a"], parts["b"], "given as a range; its middle"
        value = low + (high - low) / 2
    else:
        value, how = parts["value"], "given"
        low, high = parts.get("low", value), parts.get("high", value)
    if not all(option.least <= x <= option.most for x in (low, value, high)):
        raise UserError(f"{text} is out of range: it must be {option.range}", where=where, hint=hint)
    if not low <= value <= high:
        raise UserError(f"the interval of {text} does not hold its value in order", where=where, hint=hint)
    if len(parts) == 1:
        return Figure(value=value, unit=option.unit, source="derived", method=how)
    return Figure(value=value, low=low, high=high, unit=option.unit, source="estimated", method=how)


def price(given: Number) -> Figure:
    """Money per kWh: a number, then perhaps a currency, as in 0.25EUR.

    Raises:
        UserError: it is no number in range
    """
    found = _PRICE.fullmatch(str(given).strip())
    figure = number(found["price"] if found else given, "price_per_kwh")
    return figure.model_copy(update={"unit": (found["currency"] if found else None) or "money"})


def forecast(
    *,
    answers_per_day: Number | None = None,
    joules_per_answer: Number | Path | None = None,
    against_joules_per_answer: Number | Path | None = None,
    servers: Number | None = None,
    server_watts: Number | None = None,
    hours_per_day: Number | None = None,
    requests_per_day: Number | None = None,
    growth: Number = 0,
    years: int = 1,
    pue: float = 1.0,
    zone: str | None = None,
    market_intensity: Number | None = None,
    certified_share: float = 0.0,
    price_per_kwh: Number | None = None,
    embodied_kg: Number | None = None,
    hardware_years: float = 4.0,
    resource_share: float = 1.0,
) -> Forecast:
    """What serving costs a year: energy, carbon and money of answers, or of a fleet of servers.

    A number may be a text that carries its interval, as in "0.4[0.3,0.6]", or a range, as in "6500..10200".

    Args:
        answers_per_day: answers a day in the first year
        joules_per_answer: J, or a finished run (its folder or result.json): student and cheapest baseline
        against_joules_per_answer: of another model to set beside it: J, or a finished run (its student)
        servers: a fleet instead of answers: how many servers
        server_watts: W that one server draws while it runs
        hours_per_day: hours that the fleet runs, 24 when left out
        requests_per_day: requests that the fleet answers, for energy per request
        growth: of answers or servers per year, 0.5 for half as many again
        years: how many years
        pue: power usage effectiveness of the data centre, 1 or more
        zone: country or region whose grid feeds it (default: LIGHTBULB_ZONE, or the world's average)
        market_intensity: g CO2e per kWh of the contract: the supplier's figure or the residual mix
        certified_share: part of the energy covered by certificates (0 g), from 0 to 1
        price_per_kwh: money per kWh, perhaps with its currency: "0.25EUR"
        embodied_kg: kg CO2e of making the hardware, for the carbon per answer (SCI)
        hardware_years: how long the hardware lives, with embodied_kg
        resource_share: part of the hardware that this work takes, with embodied_kg

    Raises:
        UserError: too little or too much is given, a number is out of range, or a run has no joules to count with
    """
    from lightbulb.energy.carbon import own_zone
    from lightbulb.forecasting.arithmetic import Terms, forecast_answers, forecast_fleet

    of_answers = _given(
        answers_per_day=answers_per_day,
        joules_per_answer=joules_per_answer,
        against_joules_per_answer=against_joules_per_answer,
    )
    of_fleet = _given(
        servers=servers, server_watts=server_watts, hours_per_day=hours_per_day, requests_per_day=requests_per_day
    )
    _check_enough(of_answers, of_fleet)
    number(years, "years")
    number(pue, "pue")
    terms = Terms(
        growth=number(growth, "growth"),
        years=years,
        pue=pue,
        zone=own_zone(zone),
        contract=_contract(market_intensity, certified_share),
        price=None if price_per_kwh is None else price(price_per_kwh),
        embodied=_embodied(embodied_kg, hardware_years, resource_share),
    )
    if of_fleet:
        fleet = {name: number(x, name) for name, x in {"hours_per_day": 24, **of_fleet}.items()}
        return forecast_fleet(fleet.pop("servers"), fleet.pop("server_watts"), terms, **fleet)
    pair = _pair(of_answers["joules_per_answer"], against_joules_per_answer)
    return forecast_answers(number(of_answers["answers_per_day"], "answers_per_day"), pair, terms)


def _given(**parameters: Any) -> dict[str, Any]:
    return {name: x for name, x in parameters.items() if x is not None}


def _check_enough(of_answers: dict[str, Any], of_fleet: dict[str, Any]) -> None:
    """Raises UserError unless answers or a fleet can be counted with what is given, and not both."""
    if of_answers and of_fleet:
        raise UserError(
            "answers and a fleet of servers are two ways to ask",
            where=", ".join(f"`{name}`" for name in (*of_answers, *of_fleet)),
            hint="give `answers_per_day` with `joules_per_answer`, or `servers` with `server_watts`",
        )
    wanted = ("servers", "server_watts") if of_fleet else ("answers_per_day", "joules_per_answer")
    if missing := [name for name in wanted if name not in {**of_answers, **of_fleet}]:
        raise UserError(
            "not enough to forecast from",
            where=" and ".join(f"`{name}`" for name in missing) + " not given",
            hint=" ".join(f"`{name}={OPTIONS[name].example}`" for name in missing),
        )


def _contract(market_intensity: Number | None, certified_share: float) -> Contract | None:
    from lightbulb.energy.carbon import Contract

    number(certified_share, "certified_share")
    if market_intensity is not None:
        return Contract(number(market_intensity, "market_intensity"), certified_share)
    if certified_share:
        raise UserError(
            "certificates without the intensity of the rest of the energy",
            where="`certified_share`",
            hint="give your supplier's figure too, e.g. `market_intensity=400`",
        )
    return None


def _embodied(kilograms: Number | None, hardware_years: float, resource_share: float) -> Figure | None:
    """Grams of CO2e a year."""
    from lightbulb.energy.carbon import embodied_grams

    number(hardware_years, "hardware_years")
    number(resource_share, "resource_share")
    if kilograms is None:
        return None
    return embodied_grams(number(kilograms, "embodied_kg"), 1 / hardware_years, resource_share)


def _pair(joules: Number | Path, against: Number | Path | None) -> Pair:
    """The model, and what it is set beside: a number, or the student of a run and its cheapest baseline."""
    from lightbulb.forecasting.arithmetic import Model, Pair
    from lightbulb.forecasting.pair import pair_of, validate_pair

    def read(given: Number | Path, parameter: str) -> Pair:
        if isinstance(given, Path) or not _FORMS.fullmatch(str(given).strip()):
            return pair_of(_result(str(given), parameter))
        return Pair(Model("this model", number(given, parameter)))

    pair = read(joules, "joules_per_answer")
    if against is not None:
        other = read(against, "against_joules_per_answer")
        name = "the other" if other.against is None else f"{other.model.name}, {against}"
        pair = Pair(pair.model, replace(other.model, name=name))
    return validate_pair(pair)


def _result(text: str, parameter: str) -> Result:
    from lightbulb.shrinking.record import Result

    path = Path(text)
    path = path / "result.json" if path.is_dir() else path
    if not path.is_file():
        raise UserError(
            f"{text!r} is neither a number nor a finished run",
            where=f"`{parameter}`",
            hint=f"`{parameter}={OPTIONS[parameter].example}`, or a run folder that holds result.json",
        )
    try:
        return Result.read(path)
    except (LightbulbError, RecursionError) as e:
        what = e.what if isinstance(e, LightbulbError) else "nested too deeply"
        raise UserError(
            f"this is no result of a run: {what}",
            where=str(path),
            hint="give a run folder, its result.json or a number",
        ) from e
