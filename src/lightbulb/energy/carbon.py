"""Grams of CO2-equivalent from joules: energy x PUE x intensity.

Location-based (`grams_co2e`): the average intensity of the grid. Market-based: the intensity of the user's contract,
certificates counted. `carbon` gives both side by side, as the GHG Protocol Scope 2 Guidance (2015) asks. `sci` is the
rate of ISO/IEC 21031, with an optional share of the making of the hardware (embodied); contracts are not in it.
"""

from __future__ import annotations

import difflib
import math
import os
from dataclasses import dataclass
from functools import cache
from statistics import quantiles

from pydantic import BaseModel, ConfigDict

from lightbulb.core.errors import UserError
from lightbulb.core.figures import Figure, Source, bounds, product, total
from lightbulb.energy.tables import date_taken, read_table

JOULES_PER_KWH = 3.6e6
SOURCES_DIFFER = 1.35  # country factors of different publishers differ by up to 35%
WORLD = "World"
ZONE_VARIABLE = "LIGHTBULB_ZONE"
_TABLE = "grid_intensity"
_GROUPS = {"G20"}  # the one aggregate whose code looks like a country's


@dataclass(frozen=True, slots=True)
class Zone:
    """A country or an aggregate, with its average lifecycle intensity of one year.

    Attributes:
        code: ISO 3166 alpha-3, of a country
        name: in English
        grams_co2e_per_kwh: of its grid
        year: that the intensity is of
    """

    code: str
    name: str
    grams_co2e_per_kwh: float
    year: int

    @property
    def is_country(self) -> bool:
        """Whether it is no aggregate."""
        return len(self.code) == 3 and self.code.isupper() and self.code not in _GROUPS


@cache
def zones() -> tuple[Zone, ...]:
    """All zones of the shipped table, in its order."""
    return tuple(
        Zone(row["zone"], row["name"], float(row["grams_co2e_per_kwh"]), int(row["year"])) for row in read_table(_TABLE)
    )


def find_zone(text: str, where: str = "`zone`") -> Zone:
    """Finds a zone, blind to case.

    Args:
        text: its code or name
        where: who named it

    Raises:
        UserError: there is none; names the nearest ones
    """
    by_word = {word.casefold(): zone for zone in zones() for word in (zone.name, zone.code)}
    if zone := by_word.get(text.strip().casefold()):
        return zone
    near = difflib.get_close_matches(text.strip().casefold(), by_word, n=5, cutoff=0.5)
    named = list(dict.fromkeys(f"{by_word[word].code} ({by_word[word].name})" for word in near))
    hint = f"did you mean {', '.join(named)}?" if named else "give a country's name or three-letter code, e.g. FRA"
    raise UserError(f"no grid intensity for the zone {text!r}", where=where, hint=hint)


def own_zone(zone: str | None = None) -> str | None:
    """`zone`, else what the environment variable LIGHTBULB_ZONE says.

    Raises:
        UserError: an unknown one
    """
    if zone is not None:
        find_zone(zone)
        return zone
    named = os.environ.get(ZONE_VARIABLE, "").strip()
    return find_zone(named, ZONE_VARIABLE).code if named else None


def grams_co2e(joules: Figure, zone: str | None, pue: float = 1.0) -> Figure:
    """Location-based grams of CO2e.

    Args:
        joules: in J
        zone: in which they are used. None: the world's average with the interval from the 5th to the 95th percentile of
            countries. A named zone gets the 35% by which publishers differ.
        pue: the data centre's power usage effectiveness, 1 or more

    Raises:
        UserError: an unknown zone or a PUE below 1
        ValueError: joules in another unit
    """
    return _grams(joules, grid_intensity(zone), pue)


class Carbon(BaseModel):
    """Grams of CO2e by both methods of GHG Protocol Scope 2; the value is None where an input is not known.

    Attributes:
        location_based: by the grid's average
        market_based: by what the user buys
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    location_based: Figure
    market_based: Figure


@dataclass(frozen=True, slots=True)
class Contract:
    """What the user buys.

    Attributes:
        grams_co2e_per_kwh: the supplier's rate or the residual mix, for the energy without certificates
        certified_share: of all energy, 0 to 1, that certificates cover, counted as 0 g

    Raises:
        UserError: either is out of range
    """

    grams_co2e_per_kwh: Figure
    certified_share: float = 0.0

    def __post_init__(self) -> None:
        rate = bounds(self.grams_co2e_per_kwh)
        if rate is None or not 0.0 <= rate[0] <= rate[1] < math.inf:
            raise UserError(
                "a contract's intensity is a number of g CO2e per kWh, 0 or more",
                where="`market_intensity`",
                hint="give your supplier's figure, e.g. `market_intensity=400`",
            )
        if not 0.0 <= self.certified_share <= 1.0:
            raise UserError(
                f"a certified share of {self.certified_share:g}: it is a part of the energy, between 0 and 1",
                where="`certified_share`",
                hint="e.g. `certified_share=0.6`",
            )

    @property
    def intensity(self) -> Figure:
        """g CO2e per kWh over all energy."""
        words = f"market-based, contract: {self.grams_co2e_per_kwh.value:g} g CO2e/kWh"
        if self.certified_share:
            words += f" for the part without certificates, 0 for the {100 * self.certified_share:g}% with"
        return self.grams_co2e_per_kwh.scaled(1.0 - self.certified_share, "g CO2e/kWh", words)


def carbon(joules: Figure, zone: str | None, pue: float = 1.0, contract: Contract | None = None) -> Carbon:
    """Both methods side by side.

    Args:
        joules: in J
        zone: as for `grams_co2e`
        pue: likewise
        contract: without one the market-based value is None

    Raises:
        UserError: as `grams_co2e`
        ValueError: likewise
    """
    location = grams_co2e(joules, zone, pue)
    if contract is None:
        unknown = Figure(value=None, unit="g CO2e", source="derived", method="market-based: no contract given")
        return Carbon(location_based=location, market_based=unknown)
    return Carbon(location_based=location, market_based=_grams(joules, contract.intensity, pue))


def embodied_grams(total_kilograms: Figure, time_share: float, resource_share: float = 1.0) -> Figure:
    """M = TE x TS x RS of ISO/IEC 21031, in g CO2e.

    Args:
        total_kilograms: kg CO2e of making and disposing of the hardware
        time_share: the time it is reserved over the span of its life; above 1 it is replaced on the way
        resource_share: the part of it that is reserved, 0 to 1

    Raises:
        UserError: a share out of range
    """
    if not 0.0 <= time_share < math.inf or not 0.0 < resource_share <= 1.0:
        raise UserError(
            f"embodied shares of {time_share:g} (time) and {resource_share:g} (resources) are out of range",
            where="`hardware_years`, `resource_share`",
            hint="e.g. `hardware_years=4` `resource_share=0.25`",
        )
    words = (
        f"M = {total_kilograms.value or 0:g} kg x {time_share:.3g} of its life x {resource_share:g} of its resources"
    )
    return total_kilograms.scaled(1000 * time_share * resource_share, "g CO2e", words)


def sci(
    joules: Figure,
    zone: str | None,
    *,
    work: float = 1.0,
    work_unit: str = "answer",
    pue: float = 1.0,
    embodied: Figure | None = None,
) -> Figure:
    """Software carbon intensity ((E x I) + M) / R, ISO/IEC 21031: g CO2e per unit of work. I is the grid's average:
    market-based instruments (certificates, power purchase agreements, offsets) are excluded by the standard.

    Args:
        joules: E, spent on `work` units
        zone: as for `grams_co2e`
        work: R
        work_unit: what it is counted in
        pue: as for `grams_co2e`
        embodied: M for the same work, of `embodied_grams`

    Raises:
        UserError: as `grams_co2e`
        ValueError: likewise, and work that is not above 0 or M in another unit
    """
    if not 0.0 < work < math.inf:
        raise ValueError(f"work must be above 0, not {work}")
    if embodied is not None and embodied.unit != "g CO2e":
        raise ValueError(f"grams wanted, not {embodied.unit!r}")
    operational = grams_co2e(joules, zone, pue)
    parts = [operational] if embodied is None else [operational, embodied]
    made = "M not given: operational only" if embodied is None else embodied.method
    method = f"SCI, ISO/IEC 21031: ((E x I) + M) / R; I {operational.method}; {made}"
    return total(parts, "g CO2e", method).scaled(1.0 / work, f"g CO2e/{work_unit}")


def grid_intensity(zone: str | None) -> Figure:
    """Average lifecycle intensity of the grid of `zone` (None: the world) in g CO2e per kWh, with the interval that
    `grams_co2e` explains.

    Raises:
        UserError: an unknown zone
    """
    low, value, high, words = _intensity(zone)
    source: Source = "estimated" if zone is None else "derived"
    return Figure(value=value, low=low, high=high, unit="g CO2e/kWh", source=source, method=words)


def _grams(joules: Figure, intensity: Figure, pue: float) -> Figure:
    if joules.unit != "J":
        raise ValueError(f"joules wanted, not {joules.unit!r}")
    if not 1.0 <= pue < math.inf:
        raise UserError(
            f"a PUE of {pue:g}: it is total over computing energy, 1 or more",
            where="`pue`",
            hint="leave it out (1.0), or give your data centre's, e.g. `pue=1.2`",
        )
    method = intensity.method + (f", PUE {pue:g}" if pue != 1.0 else "")
    if joules.value is None:
        method += "; energy not measured"
    return product([joules.scaled(pue / JOULES_PER_KWH, "kWh"), intensity], "g CO2e", method)


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
