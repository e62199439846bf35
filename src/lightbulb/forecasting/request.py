"""The API behind `lightbulb forecast`: the forms in which its numbers are given, and what they mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lightbulb.core.errors import LightbulbError, UserError

if TYPE_CHECKING:
    from lightbulb.core.figures import Figure
    from lightbulb.forecasting.forecast import Forecast, Pair, Terms
    from lightbulb.shrinking.record import Result


class Option(NamedTuple):
    """How a number is asked for: its unit, an example, and the range in words and in numbers."""

    unit: str
    example: str
    range: str = "above 0 and at most 1e18"
    least: float = 1e-18
    most: float = 1e18


OPTIONS = {
    "--answers-per-day": Option("answers/day", "2e6"),
    "--joules-per-answer": Option("J", "0.4"),
    "--against-joules-per-answer": Option("J", "4"),
    "--servers": Option("servers", "1.5e6"),
    "--server-watts": Option("W", "6500..10200"),
    "--hours-per-day": Option("h/day", "24", "above 0 and at most 24", 1e-18, 24.0),
    "--requests-per-day": Option("requests/day", "195e6"),
    "--growth": Option("", "0.5", "above -1 and at most 100", -1 + 1e-12, 100.0),
    "--years": Option("years", "3", "from 1 to 100", 1.0, 100.0),
    "--pue": Option("", "1.2", "from 1 to 100", 1.0, 100.0),
    "--market-intensity": Option("g CO2e/kWh", "400", "from 0 to 1e6", 0.0, 1e6),
    "--certified-share": Option("", "0.6", "from 0 to 1", 0.0, 1.0),
    "--price-per-kwh": Option("", "0.25EUR", "from 0 to 1e18", 0.0),
    "--embodied-kg": Option("kg CO2e", "1300", "from 0 to 1e18", 0.0),
    "--hardware-years": Option("years", "4", "from 0.01 to 100", 0.01, 100.0),
    "--resource-share": Option("", "0.25", "above 0 and at most 1", 1e-18, 1.0),
}
_N = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_FORMS = re.compile(
    rf"(?P<value>{_N})(?:\s*\[\s*(?P<low>{_N})\s*,\s*(?P<high>{_N})\s*\])?|(?P<a>{_N})\s*\.\.\s*(?P<b>{_N})"
)
_PRICE = re.compile(r"(?P<price>.*[\d\]])\s*(?P<currency>[^\W\d_]{1,8}|[$€£¥])?")


def number(text: str, option: str) -> Figure:
    """The figure that `text` gives for `option` (a key of OPTIONS): "2e6", "0.4[0.3,0.6]" or "6500..10200".

    Raises UserError for what is no number, out of the option's range, or an interval that does not hold its value.
    """
    from lightbulb.core.figures import Figure

    asked = OPTIONS[option]
    hint = f"{option} {asked.example}"
    found = _FORMS.fullmatch(text.strip())
    if found is None:
        raise UserError(f"{text!r} is not a number", where=option, hint=hint)
    parts = {name: float(part) for name, part in found.groupdict().items() if part is not None}
    if "a" in parts:
        low, high, how = parts["a"], parts["b"], "given as a range; its middle"
        value = low + (high - low) / 2
    else:
        value, how = parts["value"], "given"
        low, high = parts.get("low", value), parts.get("high", value)
    if not all(asked.least <= x <= asked.most for x in (low, value, high)):
        raise UserError(f"{text} is out of range: it must be {asked.range}", where=option, hint=hint)
    if not low <= value <= high:
        raise UserError(f"the interval of {text} does not hold its value in order", where=option, hint=hint)
    if len(parts) == 1:
        return Figure(value=value, unit=asked.unit, source="derived", method=how)
    return Figure(value=value, low=low, high=high, unit=asked.unit, source="estimated", method=how)


def price(text: str) -> Figure:
    """Money per kWh: a number, then perhaps a currency, as in 0.25EUR. Raises UserError."""
    found = _PRICE.fullmatch(text.strip())
    figure = number(found["price"] if found else text, "--price-per-kwh")
    return figure.model_copy(update={"unit": (found["currency"] if found else None) or "money"})


def forecast(answers: Mapping[str, str | None], fleet: Mapping[str, str | None], terms: Terms) -> Forecast:
    """Of answers or of a fleet, by the options that were given (None: not given), as texts. Raises UserError."""
    of_answers, of_fleet = ({k: v for k, v in given.items() if v is not None} for given in (answers, fleet))
    from lightbulb.forecasting.forecast import forecast_answers, forecast_fleet

    if of_answers and of_fleet:
        raise UserError(
            "answers and a fleet of servers are two ways to ask",
            where=", ".join((*of_answers, *of_fleet)),
            hint="give --answers-per-day with --joules-per-answer, or --servers with --server-watts",
        )
    given = of_answers or of_fleet
    wanted = ("--servers", "--server-watts") if of_fleet else ("--answers-per-day", "--joules-per-answer")
    if missing := [option for option in wanted if option not in given]:
        examples = " ".join(f"{option} {OPTIONS[option].example}" for option in missing)
        raise UserError("not enough to forecast from", where=" and ".join(missing) + " not given", hint=examples)
    if of_fleet:
        figures = {option: number(text, option) for option, text in {"--hours-per-day": "24", **of_fleet}.items()}
        return forecast_fleet(
            figures["--servers"],
            figures["--server-watts"],
            terms,
            hours_per_day=figures["--hours-per-day"],
            requests_per_day=figures.get("--requests-per-day"),
        )
    pair = _pair(of_answers["--joules-per-answer"], of_answers.get("--against-joules-per-answer"))
    return forecast_answers(number(of_answers["--answers-per-day"], "--answers-per-day"), pair, terms)


def terms_of(
    *,
    growth: str,
    years: int,
    pue: float,
    zone: str | None,
    market_intensity: str | None,
    certified_share: float,
    price_per_kwh: str | None,
    embodied_kg: str | None,
    hardware_years: float,
    resource_share: float,
) -> Terms:
    """What holds for every model, from the options as they were typed. Raises UserError."""
    from lightbulb.energy.carbon import Contract, embodied_grams, own_zone
    from lightbulb.forecasting.forecast import Terms

    for option, x in {
        "--years": years,
        "--pue": pue,
        "--certified-share": certified_share,
        "--hardware-years": hardware_years,
        "--resource-share": resource_share,
    }.items():
        number(repr(x), option)
    if certified_share and market_intensity is None:
        raise UserError(
            "certificates without the intensity of the rest of the energy",
            where="--certified-share",
            hint="give your supplier's figure too, e.g. --market-intensity 400",
        )
    rate = None if market_intensity is None else number(market_intensity, "--market-intensity")
    kilograms = None if embodied_kg is None else number(embodied_kg, "--embodied-kg")
    return Terms(
        growth=number(growth, "--growth"),
        years=years,
        pue=pue,
        zone=own_zone(zone),
        contract=None if rate is None else Contract(rate, certified_share),
        price=None if price_per_kwh is None else price(price_per_kwh),
        embodied=None if kilograms is None else embodied_grams(kilograms, 1 / hardware_years, resource_share),
    )


def _pair(joules: str, against: str | None) -> Pair:
    """The model, and what it is set beside: a number, or the student of a run and its cheapest baseline."""
    from lightbulb.forecasting.forecast import Model, Pair
    from lightbulb.forecasting.pair import pair_of, validate_pair

    def read(text: str, option: str) -> Pair:
        if _FORMS.fullmatch(text.strip()):
            return Pair(Model("this model", number(text, option)))
        return pair_of(_result(text, option))

    pair = read(joules, "--joules-per-answer")
    if against is not None:
        other = read(against, "--against-joules-per-answer")
        name = "the other" if other.against is None else f"{other.model.name}, {against}"
        pair = Pair(pair.model, replace(other.model, name=name))
    return validate_pair(pair)


def _result(text: str, option: str) -> Result:
    from lightbulb.shrinking.record import Result

    path = Path(text)
    path = path / "result.json" if path.is_dir() else path
    if not path.is_file():
        raise UserError(
            f"{text!r} is neither a number nor a finished run",
            where=option,
            hint=f"{option} {OPTIONS[option].example}, or a run folder that holds result.json",
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
