"""What the student saves against the model that it is compared with. From a Result to figures."""

from __future__ import annotations

import math

from lightbulb.core import units
from lightbulb.core.figures import Figure
from lightbulb.shrinking.record import Quantity, Result, Scored


def in_a_sentence(model: Scored) -> str:
    """ "adapted teacher, q4_0, llama.cpp" as "the adapted teacher (q4_0, llama.cpp)"."""
    what, _, form = model.name.partition(", ")
    return f"the {what} ({form})" if form else model.name


def compared(result: Result) -> Scored | None:
    """The model that before / after speaks of: `compare_with`, else the teacher; None where no language model was
    made."""
    return next((m for m in result.stock if m.name == result.compare_with), result.teacher)


def figure_of(model: Scored, quantity: Quantity) -> Figure | None:
    return units.counted_bytes(model.bytes) if quantity == "bytes" else getattr(model, quantity)


def ratio(result: Result, quantity: Quantity, against: Scored | None = None) -> Figure:
    """How many times more `against` (default: `compared`) takes than the student: the ratio the run recorded, else the
    quotient. Its interval divides end by end, the widest that the two allow; where joules of both sides are CPU seconds
    times the watts of one model, the watts cancel and the interval is that of the CPU time."""
    against, student = against or compared(result), result.shrunk
    if student is None or against is None:
        why = "no student is handed out" if student is None else "no language model was made to compare it with"
        return Figure(value=None, unit="×", source="derived", method=why)
    for known in result.ratios:
        if known.quantity == quantity and known.against == against.name:
            return known.value.model_copy(update={"unit": "×"})
    before, after = figure_of(against, quantity), figure_of(student, quantity)
    if before is None or after is None or before.value is None or not after.value:
        return Figure(value=None, unit="×", source="derived", method="a part was not measured")
    if quantity == "joules_per_answer" and (same := _watts_cancel(result, against, student)) is not None:
        return same
    estimated = "estimated" in (before.source, after.source)
    low = high = None
    if any(bound is not None for f in (before, after) for bound in (f.low, f.high)):
        low, least_after = _end(before, "low") / _end(after, "high"), _end(after, "low")
        high = _end(before, "high") / least_after if least_after > 0 else math.inf
    return Figure(
        value=before.value / after.value,
        low=low,
        high=high,
        unit="×",
        source="estimated" if estimated else "derived",
        method="quotient; its interval divides end by end",
    )


def _watts_cancel(result: Result, against: Scored, student: Scored) -> Figure | None:
    """The ratio of CPU time as the ratio of energy, where both energies are one estimate on top of CPU time."""
    before, after = against.joules_per_answer, student.joules_per_answer
    time = ratio(result, "cpu_seconds_per_answer", against)
    if before is None or after is None or not before.value or not after.value or not time.value:
        return None
    one_model = before.source == after.source == "estimated" and before.method == after.method != ""
    if not one_model or abs(before.value / after.value / time.value - 1) > 0.02 or time.low is None:
        return None
    return time.model_copy(update={"source": "estimated", "method": "as the CPU time: both sides share one watt model"})


def _end(figure: Figure, side: str) -> float:
    """A bound of the interval; the value itself where the figure has none."""
    bound = getattr(figure, side)
    return float(figure.value if bound is None else bound)  # type: ignore[arg-type]
