"""The verb forecast: what answers, or a fleet of servers, cost a year."""

from __future__ import annotations

from dataclasses import dataclass

from tyro import conf

from lightbulb.cli.options import Omittable
from lightbulb.cli.output import show


@dataclass(frozen=True)
class Answers:
    """Answers that are served.

    Attributes:
        answers_per_day: answers a day in the first year
        joules_per_answer: a number, or a finished run (its folder or result.json): student and cheapest baseline
        against_joules_per_answer: another model to set beside it: a number, or a finished run (its student)
    """

    answers_per_day: Omittable[str] = None
    joules_per_answer: Omittable[str] = None
    against_joules_per_answer: Omittable[str] = None


@dataclass(frozen=True)
class Fleet:
    """Servers instead of answers.

    Attributes:
        servers: how many servers
        server_watts: what one server draws while it runs
        hours_per_day: hours that the fleet runs, 24 when left out
        requests_per_day: requests that the fleet answers, for energy per request
    """

    servers: Omittable[str] = None
    server_watts: Omittable[str] = None
    hours_per_day: Omittable[str] = None
    requests_per_day: Omittable[str] = None


@dataclass(frozen=True)
class Hardware:
    """What making the hardware took, for the carbon per answer (SCI).

    Attributes:
        embodied_kg: kg CO2e of making the hardware
        hardware_years: how long the hardware lives, with embodied_kg
        resource_share: part of the hardware that this work takes, with embodied_kg
    """

    embodied_kg: Omittable[str] = None
    hardware_years: float = 4.0
    resource_share: float = 1.0


def forecast(
    growth: str = "0",
    years: int = 1,
    pue: float = 1.0,
    zone: Omittable[str] = None,
    market_intensity: Omittable[str] = None,
    certified_share: float = 0.0,
    price_per_kwh: Omittable[str] = None,
    json: bool = False,
    *,
    answers: conf.OmitArgPrefixes[Answers],
    fleet: conf.OmitArgPrefixes[Fleet],
    hardware: conf.OmitArgPrefixes[Hardware],
) -> None:
    """What serving costs a year: kWh, CO2e and money, with intervals; for answers, or for a fleet of servers.

    A number may be 2e6, carry its interval as in '0.4[0.3,0.6]', or be a range as in 6500..10200.

    Args:
        growth: of answers or servers per year, e.g. 0.5 for half as many again
        years: how many years
        pue: power usage effectiveness of the data centre: cooling and losses included
        zone: country or region whose grid feeds it; without one LIGHTBULB_ZONE, or the world's
            average with a wide interval
        market_intensity: g CO2e per kWh of your contract: the supplier's figure or the residual mix
        certified_share: part of the energy covered by certificates (0 g), between 0 and 1
        price_per_kwh: money per kWh, e.g. 0.25EUR
        json: one JSON object on stdout
        answers: what is served: answers
        fleet: or a fleet of servers
        hardware: what making the hardware took, for the carbon per answer (SCI)
    """
    from lightbulb import api
    from lightbulb.report.forecast import forecast_dict, forecast_page

    made = api.forecast(
        growth=growth,
        years=years,
        pue=pue,
        zone=zone,
        market_intensity=market_intensity,
        certified_share=certified_share,
        price_per_kwh=price_per_kwh,
        **vars(answers),
        **vars(fleet),
        **vars(hardware),
    )
    show(forecast_dict(made), json, lambda console: console.print(forecast_page(made)))
