"""Grams of CO2-equivalent from joules, location-based: energy x PUE x average intensity of the grid.

GHG Protocol Scope 2 (location-based); the operational term of SCI, ISO/IEC 21031. Contracts (market-based) and the
making of the hardware (embodied) are not in it.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache
from statistics import quantiles

from lightbulb.energy.tables import date_taken, read_table
from lightbulb.errors import UserError
from lightbulb.figures import Figure, Source

JOULES_PER_KWH = 3.6e6
SOURCES_DIFFER = 1.35  # country factors of different publishers differ by up to 35%
WORLD = "World"
_TABLE = "grid_intensity"
_GROUPS = {"G20"}  # the one aggregate whose code looks like a country's


@dataclass(frozen=True, slots=True)
class Zone:
    """A country (ISO 3166 alpha-3 code) or an aggregate, with its average lifecycle intensity of one year."""

    code: str
    name: str
    grams_co2e_per_kwh: float
    year: int

    @property
    def is_country(self) -> bool:
        return len(self.code) == 3 and self.code.isupper() and self.code not in _GROUPS


@cache
def zones() -> tuple[Zone, ...]:
    """All zones of the shipped table, in its order."""
    return tuple(
        Zone(row["zone"], row["name"], float(row["grams_co2e_per_kwh"]), int(row["year"])) for row in read_table(_TABLE)
    )


def find_zone(text: str) -> Zone:
    """The zone of that code or name, blind to case. Raises UserError with the nearest ones."""
    by_word = {word.casefold(): zone for zone in zones() for word in (zone.name, zone.code)}
    if zone := by_word.get(text.strip().casefold()):
        return zone
    near = difflib.get_close_matches(text.strip().casefold(), by_word, n=5, cutoff=0.5)
    named = list(dict.fromkeys(f"{by_word[word].code} ({by_word[word].name})" for word in near))
    mend = f"did you mean {', '.join(named)}?" if named else "give a country's name or three-letter code, e.g. FRA"
    raise UserError(f"no grid intensity for the zone {text!r}", where="--zone", mend=mend)


def grams_co2e(joules: Figure, zone: str | None, pue: float = 1.0) -> Figure:
    """Location-based grams of CO2e of `joules` (unit J) used in `zone`.

    zone None: the world's average with the interval from the 5th to the 95th percentile of countries. A named zone gets
    the 35% by which publishers differ. `pue` is the data centre's power usage effectiveness, 1 or more.
    Raises UserError for an unknown zone or a PUE below 1, ValueError for joules in another unit.
    """
    if joules.unit != "J":
        raise ValueError(f"joules wanted, not {joules.unit!r}")
    if not 1.0 <= pue < float("inf"):
        raise UserError(
            f"a PUE of {pue:g}: it is total over computing energy, 1 or more",
            where="--pue",
            mend="leave it out (1.0), or give your data centre's, e.g. --pue 1.2",
        )
    low, value, high, method = _intensity(zone)
    if pue != 1.0:
        method += f", PUE {pue:g}"
    if joules.value is None:
        return Figure(
            value=None, unit="g CO2e", source="derived", scope=joules.scope, method=f"{method}; energy not measured"
        )
    source: Source = "estimated" if zone is None or joules.source == "estimated" else "derived"
    bottom = joules.value if joules.low is None else joules.low
    top = joules.value if joules.high is None else joules.high
    kwh = pue / JOULES_PER_KWH
    return Figure(
        value=joules.value * kwh * value,
        low=bottom * kwh * low,
        high=top * kwh * high,
        unit="g CO2e",
        source=source,
        scope=joules.scope,
        method=method,
    )


def _intensity(zone: str | None) -> tuple[float, float, float, str]:
    """(low, value, high) in g CO2e per kWh, and in words."""
    place = find_zone(WORLD if zone is None else zone)
    value = place.grams_co2e_per_kwh
    words = (
        f"location-based, {place.name} {place.year}: {value:g} g CO2e/kWh "
        f"(Ember via co2.js, taken {date_taken(_TABLE)})"
    )
    if zone is not None:
        return value / SOURCES_DIFFER, value, value * SOURCES_DIFFER, f"{words}, interval: publishers differ by 35%"
    twentieths = quantiles((z.grams_co2e_per_kwh for z in zones() if z.is_country), n=20)
    return (
        twentieths[0],
        value,
        twentieths[-1],
        f"{words}; no zone given: interval from the 5th to the 95th percentile of countries",
    )
