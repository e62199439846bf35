"""Energy and carbon in things that people know, with the arithmetic shown: X / Y = Z, and where Y comes from."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from lightbulb.core.figures import Figure
from lightbulb.energy.carbon import JOULES_PER_KWH

KM_PER_MILE = 1.609344
TOKENS_PER_WORD = 4 / 3  # English; OpenAI's rule of thumb: 100 tokens are about 75 words


def kwh_of_words(words: float, joules_per_output_token: float, tokens_per_word: float = TOKENS_PER_WORD) -> float:
    """kWh of writing a text: words x tokens per word x joules per output token.

    Args:
        words: of the text
        joules_per_output_token: J
        tokens_per_word: of the tokenizer
    """
    return words * tokens_per_word * joules_per_output_token / JOULES_PER_KWH


@dataclass(frozen=True, slots=True)
class Yardstick:
    """Something whose amount is known: `amount` in `unit` is one of `name`.

    Attributes:
        name: in the singular
        amount: of one
        unit: "kWh" or "g CO2e"
        source: of the amount
    """

    name: str
    amount: float
    unit: str
    source: str


HOUSEHOLD = Yardstick(
    "US households for a year",
    10_791,
    "kWh",
    "EIA: average US residential customer, 2022, https://www.eia.gov/tools/faqs/faq.php?id=97",
)
CAR = Yardstick(
    "km by car",
    400 / KM_PER_MILE,
    "g CO2e",
    "EPA-420-F-23-014 (2023): 400 g CO2 a mile from the tailpipe of an average US car, / 1.609 km",
)
PHONE = Yardstick(
    "phone charges",
    0.012,
    "kWh",
    "EPA Greenhouse Gas Equivalencies, edition of 2023: (14.46 Wh - 22 h x 0.13 W) / 1000",
)
BULB = Yardstick("hours of a 13 W light bulb", 0.013, "kWh", "13 W x 1 h / 1000")
TEXT = Yardstick(
    "texts of 250 words by LLaMA-65B",
    kwh_of_words(250, 4.0),
    "kWh",
    "250 words x 4/3 tokens x 4 J / 3.6e6 J; Samsi et al. 2023, arXiv 2310.03003",
)
GPT3 = Yardstick("trainings of GPT-3", 1_287_000, "kWh", "Patterson et al. 2021, arXiv 2104.10350: 1,287 MWh")
YARDSTICKS = (GPT3, HOUSEHOLD, CAR, BULB, PHONE, TEXT)


class Comparison(BaseModel):
    """How many of something an amount is.

    Attributes:
        name: of the yardstick
        value: how many
        arithmetic: the division
        source: where its divisor comes from
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: Figure
    arithmetic: str
    source: str


def compare(amount: Figure, yardstick: Yardstick) -> Comparison:
    """`amount` in units of `yardstick`. Its interval is that of the amount: the yardstick is taken as exact.

    Raises:
        ValueError: the units differ or the amount was not measured
    """
    if amount.unit != yardstick.unit or amount.value is None:
        raise ValueError(f"{yardstick.unit} wanted, not {amount.value} {amount.unit}")
    value = amount.scaled(
        1 / yardstick.amount, yardstick.name, f"{amount.unit} / {yardstick.amount:.4g}; the divisor taken as exact"
    )
    arithmetic = (
        f"{_plain(amount.value)} {amount.unit} / {_plain(yardstick.amount, 5)} {yardstick.unit} "
        f"= {_plain(value.value or 0.0, 3)}"
    )
    return Comparison(name=yardstick.name, value=value, arithmetic=arithmetic, source=yardstick.source)


def compare_all(kwh: Figure, grams_co2e: Figure) -> tuple[Comparison, ...]:
    """Every yardstick for which the amount in its unit is known, the largest first."""
    amounts = {"kWh": kwh, "g CO2e": grams_co2e}
    return tuple(compare(amounts[y.unit], y) for y in YARDSTICKS if amounts[y.unit].value is not None)


def _plain(x: float, digits: int = 4) -> str:
    """Thousands separated; amounts with a digit more than the result, so that the division can be done by hand."""
    rounded = float(f"{x:.{digits}g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 1000 else f"{rounded:.{digits}g}"
