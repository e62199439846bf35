"""What a file that chooses says of its probabilities, and when it gives none of its answers (docs/format.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightbulb.core.errors import ModelError

THRESHOLD_KEY, NONE_KEY, TEMPERATURE_KEY = "lightbulb.threshold", "lightbulb.none", "lightbulb.temperature"
NONE = "none of these"


@dataclass(frozen=True, slots=True)
class Abstention:
    """When none of the answers is given.

    Attributes:
        threshold: the least probability of an answer that is given, a float32; None: nobody has chosen one, and all
            are given
        none: what is said instead
    """

    threshold: float | None = None
    none: str = NONE


def abstention_of(fields: Mapping[str, Any], path: Path) -> Abstention:
    """By the keys of a file. Raises ModelError where they make no sense."""
    threshold, none = fields.get(THRESHOLD_KEY), fields.get(NONE_KEY, NONE)
    if threshold is not None and not (isinstance(threshold, float) and 0 <= threshold <= 1):
        raise _wrong(f"{THRESHOLD_KEY} is {str(threshold)[:40]}, no probability", path)
    if not isinstance(none, str) or none in fields.get("lightbulb.answers", ()):
        raise _wrong(f"{NONE_KEY} is one of the answers, or no text", path)
    return Abstention(threshold, none)


def temperature_in(fields: Mapping[str, Any], path: Path) -> float | None:
    """What the logits of the answers are divided by; None where nobody has calibrated the file. Raises ModelError for
    what is no number above 0."""
    temperature = fields.get(TEMPERATURE_KEY)
    if temperature is not None and not (isinstance(temperature, float) and 0 < temperature < math.inf):
        raise _wrong(f"{TEMPERATURE_KEY} is {str(temperature)[:40]}, no number above 0", path)
    return temperature


def _wrong(what: str, path: Path) -> ModelError:
    return ModelError(f"{path.name} cannot be used: {what}", where=str(path), hint="download or export the file again")
