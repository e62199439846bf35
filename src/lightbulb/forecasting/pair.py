"""The models that a finished run compares, as a forecast takes them."""

from __future__ import annotations

import math

from lightbulb.core.errors import UserError
from lightbulb.core.figures import Figure, bounds, product
from lightbulb.forecasting.arithmetic import Model, Pair, difference
from lightbulb.shrinking import savings
from lightbulb.shrinking.record import Result


def pair_of(result: Result) -> Pair:
    """Student and cheapest baseline of a run, what an answer saves, and the run's own pay-back.

    Where the joules of both are one watt model on top of CPU time, the watts cancel in their ratio r, and what is saved
    is joules x (1 - 1/r); the interval of r is the run's.

    Raises:
        UserError: joules were not measured
    """
    best_baseline, student = savings.compared(result), result.shrunk
    if student is None:
        raise UserError(
            "that run hands out no student, so nothing is saved", where="result.json", hint="give a number instead"
        )
    if best_baseline is None:
        raise UserError(
            "that run made no language model to compare with", where="result.json", hint="give a number instead"
        )
    before, after = best_baseline.joules_per_answer, student.joules_per_answer
    if before is None or after is None:
        raise UserError(
            "that run did not measure the joules of an answer", where="result.json", hint="give a number instead"
        )
    return Pair(
        Model(student.name, after, result.making.joules),
        Model(best_baseline.name, before),
        saved=_saved(before, after, savings.ratio(result, "joules_per_answer", best_baseline)),
        break_even=result.break_even_answers,
    )


def _saved(before: Figure, after: Figure, ratio: Figure) -> Figure | None:
    plain, times = difference(before, after), bounds(ratio)
    if plain.value is None or times is None or not ratio.value or not 0 < times[0] <= times[1] < math.inf:
        return None
    ends = [1 - 1 / r for r in (times[0], ratio.value, times[1])]
    share = Figure(value=ends[1], low=ends[0], high=ends[2], unit="", source=ratio.source)
    spread, wide = bounds(product([before, share], "J", "")), bounds(plain)
    if spread is None or wide is None or spread[1] - spread[0] >= wide[1] - wide[0]:
        return plain
    return plain.model_copy(
        update={
            "low": min(spread[0], plain.value),
            "high": max(spread[1], plain.value),
            "method": "difference; its interval from the run's paired ratio of both costs",
        }
    )


def validate_pair(pair: Pair) -> Pair:
    """The same pair: a result.json may have been written by anything.

    Raises:
        UserError: an answer has no joules above 0, or what is known of the making is no such number
    """
    models = [m for m in (pair.model, pair.against) if m is not None]
    wanted = [(f"joules per answer, {m.name}", m.joules_per_answer) for m in models]
    wanted += [("joules of making", m.making) for m in models if m.making is not None and m.making.value is not None]
    for what, figure in wanted:
        ends = bounds(figure)
        if ends is None or figure.unit != "J" or not 0 < ends[0] <= ends[1] <= 1e18:
            raise UserError(f"no joules to count with: {figure}", where=what, hint="give a number of joules instead")
    ends = None if pair.break_even is None else bounds(pair.break_even)
    if ends is not None and not 0 < ends[0] <= ends[1] <= 1e30:
        raise UserError(
            f"no number of answers: {pair.break_even}", where="break_even_answers", hint="give numbers instead"
        )
    return pair
