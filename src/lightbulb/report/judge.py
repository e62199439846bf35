"""What the figures of a run amount to: kept or not, refused or not, paid back after how many answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lightbulb.figures import Figure, bounds
from lightbulb.report import units, words
from lightbulb.report.record import Ratio, Scored, Verdict
from lightbulb.tasks.metrics import higher_is_better

WITHIN = 0.01  # a stock quantization counts as a rival when it scores within one point of the teacher


def verdict(retention: Figure, keep: float) -> Verdict:
    """kept: the whole interval is at or above the floor; not-kept: all of it is below; else within noise."""
    if retention.low is not None and retention.low >= keep:
        return "kept"
    return "not-kept" if retention.high is not None and retention.high < keep else "within-noise"


def best_rival(teacher: Scored, baselines: Sequence[Scored], metric: str) -> Scored:
    """The file with the fewest CPU seconds among the teacher's own and those within one point of it."""
    rivals = [teacher, *(m for m in baselines if _loss(teacher, m, metric) <= WITHIN)]
    return min(rivals, key=lambda m: m.cpu_seconds_per_answer.value)  # type: ignore[union-attr, arg-type, return-value]


def stand_ins(teacher: Scored, baselines: Sequence[Scored], keep: float, metric: str) -> list[Scored]:
    """The stock files that would do in the student's place: those that keep what was asked or are within one point of
    the teacher. The teacher's own f16 file is always one."""
    best = teacher.score.value or 0.0
    allowed = max(WITHIN, best * (1 - keep) if higher_is_better(metric) else best / keep - best)
    return [teacher, *(m for m in baselines if _loss(teacher, m, metric) <= allowed)]


def _loss(teacher: Scored, model: Scored, metric: str) -> float:
    """How much worse than the teacher `model` scores, in the metric's own unit; infinite when that is not known."""
    if teacher.score.value is None or model.score.value is None:
        return float("inf")
    return (teacher.score.value - model.score.value) * (1 if higher_is_better(metric) else -1)


def saving(ratios: Sequence[Ratio]) -> Ratio:
    """Of the ratios before / after, the one that says whether energy is saved: that of joules where a counter read
    them, else that of CPU seconds, which are measured and in which joules are estimated."""
    found = {r.quantity: r for r in ratios}
    joules = found.get("joules_per_answer")
    counted = joules is not None and joules.value.value is not None and joules.value.source != "estimated"
    return joules if joules and counted else found["cpu_seconds_per_answer"]


def refusal(
    student: Scored, rivals: Sequence[Scored], saving_over: Callable[[Scored], Ratio]
) -> tuple[Scored, str] | None:
    """The stock file to use instead of the student, and why; None when the student earns its place: the whole interval
    of before / after against the cheapest of `rivals` is above 1. The proof is the student's to give."""
    savings = [(rival, saving_over(rival)) for rival in rivals]
    rival, times = min(savings, key=lambda pair: pair[1].value.value or 0.0)  # not measured is not shown
    low, high = times.value.low, times.value.high
    if low is not None and low > 1:
        return None
    quantity = times.quantity or "cpu_seconds_per_answer"
    after, before = (units.text(words.figure_of(m, quantity)) for m in (student, rival))
    what = f"{after}{' of CPU time' if quantity == 'cpu_seconds_per_answer' else ''} an answer, against {before}"
    costs = "costs more" if high is not None and high < 1 else "is not shown to cost less"
    reason = f"it {costs} than a stock file, {words.in_a_sentence(rival)}: {what}; use that one"
    return rival, reason.replace("\N{NO-BREAK SPACE}", " ")


def break_even(making: Figure, before: Scored, after: Scored, saved: Figure) -> Figure:
    """Answers after which the joules saved equal the joules of making.

    saved: joules an answer, before - after, paired. The interval is that of what is saved times that of the making.
    Where joules are estimates, one watt model stands behind both sides: its low end
    is taken on both at once, and so is its high end, which leaves what does not cancel.
    """
    old, new, unit = before.joules_per_answer, after.joules_per_answer, "answers"
    method = "joules of making / (joules per answer before - after)"
    known = all(figure is not None and figure.value is not None for figure in (making, old, new, saved))
    if not known or making.value is None or old is None or new is None or old.value is None or new.value is None:
        return Figure(value=None, unit=unit, method=f"{method}; joules were not measured")
    low, high = bounds(saved) or (0.0, 0.0)
    difference = old.value - new.value
    estimated = making.source == "estimated"
    ends = [_end_of_making(making, old, new, side, estimated) for side in ("low", "high")]
    if min(low, difference) <= 0 or None in ends:
        return Figure(value=None, unit=unit, source="derived", method=f"{method}; an answer is not shown to cost less")
    factors = [1.0, *(end for end in ends if end is not None)]
    value = making.value / difference
    spread = "both ends of the watt model, each on both sides" if estimated else "the interval of the making"
    return Figure(
        value=value,
        low=min(value, making.value / high * min(factors)),
        high=max(value, making.value / low * max(factors)),
        unit=unit,
        source="estimated" if estimated else "derived",
        scope=making.scope,
        method=f"{method}; interval of the trials ({saved.method}), times {spread}",
    )


def _end_of_making(making: Figure, old: Figure, new: Figure, side: str, estimated: bool) -> float | None:
    """Break-even at one end of the making's interval, as a share of that in its middle; None when nothing is saved
    there."""
    made = getattr(making, side)
    share = 1.0 if made is None else made / making.value
    if not estimated:
        return share
    a, b = getattr(old, side), getattr(new, side)
    difference = (old.value or 0.0) - (new.value or 0.0)
    if a is None or b is None:  # only the making is an estimate
        return share
    return share * difference / (a - b) if a > b else None
