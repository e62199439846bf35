"""What the figures of a run amount to: which file is handed out, why, and after how many answers it is paid back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightbulb.core import units
from lightbulb.core.figures import Figure, bounds
from lightbulb.measuring.costs import Costs, ratios
from lightbulb.shrinking import savings
from lightbulb.shrinking.candidate import Candidate
from lightbulb.shrinking.floor import Floor
from lightbulb.shrinking.record import Quantity, Scored, Verdict


@dataclass(frozen=True)
class File:
    """An exported file of the run that was measured and tested.

    Attributes:
        chance: why its score on test shows no learning, "" where it does
        beats_teacher: whether it scored better than the adapted teacher on validation, so that it can be the
            reference
        short: why the answers that it gives are not what was asked of them, "" where they may be
    """

    candidate: Candidate
    scored: Scored
    costs: Costs
    chance: str = ""
    beats_teacher: bool = False
    short: str = ""

    @property
    def score(self) -> float | None:
        return self.scored.score.value


@dataclass(frozen=True)
class Selection:
    """What is handed out, and why.

    Attributes:
        verdict: of the whole run
        reason: why no student is handed out, "" where one is
        handed: the file to hand out; None where none does what was asked
        best: where no student is handed out, the one that comes nearest; None where there is none, or where it has
            learned nothing
        compared: the stock file that before / after speaks of; None where no language model was made
        reference: what `keep` is a share of; None where nothing can be
        floor: the score on test that does what was asked
        best_does: whether `best` does what was asked, and is not shown to cost less
    """

    verdict: Verdict
    reason: str
    handed: File | None
    best: File | None
    compared: File | None
    reference: File | None
    floor: float
    best_does: bool = False

    def why_not(self, file: File, floor: Floor) -> str:
        """Why a student is not handed out; "" for the one that is."""
        if self.handed is not None and file.candidate == self.handed.candidate:
            return ""
        if file.chance:
            return f"at chance on test: {file.chance}"
        if file.score is None or floor.sign * (file.score - self.floor) < 0:
            return f"{_needs(self.floor, floor)} was needed"
        if file.short:
            return file.short
        if self.handed is None or file is self.best:
            return self.reason
        return f"does what was asked, and costs more than {self.handed.scored.name}"


def select_file(stock: Sequence[File], students: Sequence[File], floor: Floor, no_student: str = "") -> Selection:
    """The cheapest file that does what was asked. A student must be shown to cost less than every stock file that does;
    what has learned nothing does nothing. The verdict of a student is "kept" here; `sure` says whether its interval
    allows that.

    Args:
        stock: the adapted teacher's files, its own f16 first; none where no teacher was needed
        no_student: why there is none, where there is none
    """
    teacher = stock[0] if stock else None
    references = [*stock[:1], *(s for s in students if s.beats_teacher and not s.chance)]
    reference = max(references, key=lambda f: _rank(f, floor), default=None)
    best_score = reference.score if reference else None
    needed = floor.score(best_score)
    fit = (f for f in (*stock, *students) if not f.chance and not f.short)
    does = {f.candidate for f in fit if floor.holds(f.score, best_score)}
    learned = [s for s in students if not s.chance]
    able = [s for s in students if s.candidate in does]
    baselines_that_do = [f for f in stock if f.candidate in does]
    best = min(able, key=_cost) if able else max(learned, key=lambda f: _rank(f, floor), default=None)
    best_baseline = min(baselines_that_do, key=_cost) if baselines_that_do else None
    dear = not_cheaper(best, baselines_that_do) if able and best and baselines_that_do else None
    if able and not dear:
        return Selection("kept", "", best, None, best_baseline or teacher, reference, needed)
    if dear:
        reason = dear
    elif best and best.short:
        reason = f"of the best student: {best.short}"
    elif best:
        reason = f"the best student scores {units.text(best.scored.score)}, and {_needs(needed, floor)} was needed"
    elif students:
        reason = f"the student is at chance ({students[0].chance})"
    else:
        reason = no_student or "no student was made"
    reason = reason.replace("\N{NO-BREAK SPACE}", " ")
    verdict: Verdict = "not-shrunk" if best_baseline else "not-kept"
    return Selection(verdict, reason, best_baseline, best, best_baseline or teacher, reference, needed, bool(dear))


def sure(retention: Figure, score: Figure, floor: Floor, is_reference: bool) -> bool:
    """Whether the whole interval does what was asked, not its middle alone.

    Args:
        is_reference: nothing was better
    """
    ends = [] if floor.keep is None or is_reference else [(retention.low, floor.keep, 1)]
    if floor.at_least is not None:
        ends.append((score.low if floor.sign > 0 else score.high, floor.at_least, floor.sign))
    return all(end is not None and sign * (end - least) >= 0 for end, least, sign in ends)


def not_cheaper(student: File, baselines_that_do: Sequence[File]) -> str | None:
    """Why the student is not shown to cost less than the stock file that it saves least against; None where the whole
    interval of before / after is above 1 against each. The proof is the student's to give."""
    found = [(best_baseline, *saving(best_baseline, student)) for best_baseline in baselines_that_do]
    best_baseline, quantity, times = min(found, key=lambda row: row[2].value or 0.0)  # not measured is not shown
    if all(row[2].low is not None and row[2].low > 1 for row in found):
        return None
    after, before = (units.text(savings.figure_of(f.scored, quantity)) for f in (student, best_baseline))
    what = f"{after}{' of CPU time' if quantity == 'cpu_seconds_per_answer' else ''} an answer, against {before}"
    costs = "costs more" if times.high is not None and times.high < 1 else "is not shown to cost less"
    return f"the student {costs} than a stock file, {savings.in_a_sentence(best_baseline.scored)}: {what}"


def saving(before: File, after: File) -> tuple[Quantity, Figure]:
    """Of the ratios before / after, the one that says whether energy is saved: that of joules where a counter read
    them, else that of CPU seconds, which are measured and in which joules are estimated."""
    found = ratios(before.costs, after.costs)
    joules = found.get("joules_per_answer")
    if joules is not None and joules.value is not None and joules.source != "estimated":
        return "joules_per_answer", joules
    return "cpu_seconds_per_answer", found["cpu_seconds_per_answer"]


def _cost(file: File) -> float:
    """Joules an answer where a counter read them, else CPU seconds: one or the other for all files of a run."""
    joules, seconds = file.scored.joules_per_answer, file.scored.cpu_seconds_per_answer
    if joules is not None and joules.value is not None and joules.source != "estimated":
        return joules.value
    return float("inf") if seconds is None or seconds.value is None else seconds.value


def _rank(file: File, floor: Floor) -> float:
    return float("-inf") if file.score is None else floor.sign * file.score


def _needs(score: float, floor: Floor) -> str:
    return f"{score:.4g} or {'more' if floor.sign > 0 else 'less'}"


def break_even(making: Figure, before: Scored, after: Scored, saved: Figure) -> Figure:
    """Answers after which the joules saved equal the joules of making.

    The interval is that of what is saved times that of the making. Where joules are estimates, one watt model stands
    behind both sides: its low end is taken on both at once, and so is its high end, which leaves what does not
    cancel.

    Args:
        saved: joules an answer, before - after, paired
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
