"""Which trial comes next: a strategy is asked for trials and told what came of them, as in optuna.

`BoldFirst` is today's: start with the fewest layers, probe with a short training, back off when the score does not
hold. Every decision hangs on scores on the validation split, which are the same in every run of one plan; the clock is
only asked whether there is time for another try.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from typing import Protocol

from lightbulb.core.events import Decided, Stream
from lightbulb.core.figures import Figure, standard_error
from lightbulb.shrinking.candidate import DECODER, METHODS, Candidate, Choice, Method, Outcome, Trial, other_kinds
from lightbulb.shrinking.floor import Floor, holds_with_margin
from lightbulb.shrinking.ladder import answer_cost, cheapest_that_holds
from lightbulb.shrinking.space import SearchSpace
from lightbulb.shrinking.student_time import StudentTime

MOST_RECURRENT = 3  # layers of a student that is also tried with recurrent ones
GAP_CLOSED = 0.8  # most of a probe's distance to the teacher that the rest of training closes (docs/lab-notes.md)


Pairs = Callable[[Sequence[Outcome], Floor, Outcome | None], Sequence[Candidate]]


class Strategy(Protocol):
    """Asked again before it is told, it says the same."""

    def ask(self) -> Trial | None:
        """The next trial; None where the search is over."""
        ...

    def tell(self, outcome: Outcome) -> None:
        """What came of the trial that was asked for."""
        ...

    def choice(self) -> Choice:
        """What is taken, of all that was told."""
        ...


class Evaluator(Protocol):
    """Carries out a trial: its score, and what it cost."""

    def evaluate(self, trial: Trial) -> Outcome: ...


def search(strategy: Strategy, evaluator: Evaluator, events: Stream) -> Choice:
    """Trial after trial, until the strategy has no more.

    Args:
        events: hear what was tried, and why it was taken or not
    """
    while (trial := strategy.ask()) is not None:
        outcome = evaluator.evaluate(trial)
        strategy.tell(outcome)
        events.emit(Decided(by="search", what=trial.name, value=outcome.score.value, why=outcome.why))
    choice = strategy.choice()
    chosen = [o for o in choice.tried if o.chosen]
    label = choice.candidate.label if choice.candidate else None
    events.emit(Decided(by="search", what="student", value=label, why=choice.why or "".join(o.why for o in chosen)))
    return choice


class BoldFirst:
    """Walks through the depths of a space, unless a kind that costs less does what is needed; then makes the student
    that holds narrower.

    Args:
        teacher: its score on validation
        say: hears what is decided, and why
        before: what came of other kinds before the teacher
        pairs: of what was tried those in which a cheap file hands on to a language model, given the floor and what
            holds it
    """

    def __init__(
        self,
        space: SearchSpace,
        floor: Floor,
        teacher: Figure,
        time: StudentTime,
        say: Callable[[str], None],
        before: Sequence[Outcome] = (),
        pairs: Pairs = lambda tried, floor, held: (),
    ):
        self.space, self.floor, self.teacher, self.time, self.say = space, floor, teacher, time, say
        self.pairs = pairs
        self.tried: list[Outcome] = list(before)
        self._held: Outcome | None = None
        self._walk = self._trials()
        self._next: Trial | None = None
        self._begun = False

    def ask(self) -> Trial | None:
        if not self._begun:
            self._begun = True
            self.say(f"teacher: {self.teacher} on validation; the student must hold {self._needed():.4g}")
            self._next = next(self._walk, None)
        return self._next

    def tell(self, outcome: Outcome) -> None:
        self.say(f"{outcome.trial.name}: {outcome.score} on validation")
        self.tried.append(outcome)
        try:
            self._next = self._walk.send(outcome)
        except StopIteration:
            self._next = None

    def choice(self) -> Choice:
        """The student that held the floor; else the exported one that scored best."""
        tried, exported = tuple(self.tried), [o for o in self.tried if o.trial.fidelity == "exported"]
        if not exported:
            minutes = math.ceil(self.time.enough_seconds() / 60)
            why = f"the time did not allow a student that has a chance; about {minutes} minutes would do"
            self.say(why)
            return Choice(None, tried, why=why)
        taken = self._held or self._best(exported)
        taken.chosen = True
        decoders = [o for o in exported if _is_decoder(o)]
        decoder = taken if _is_decoder(taken) else self._best(decoders) if decoders else None
        others = [c for c in other_kinds(tried) if not c.hands_on or c == taken.trial.candidate]
        files = ((decoder.trial.candidate,) if decoder else ()) + tuple(others)
        mixer = files[0].mixer if decoder else None
        if rivals := [o for o in decoders if o.trial.candidate.mixer != mixer]:
            files = (*files[:1], self._best(rivals).trial.candidate, *files[1:])
        return Choice(taken.trial.candidate, tried, files)

    def _best(self, outcomes: Sequence[Outcome]) -> Outcome:
        return max(outcomes, key=lambda o: self.floor.sign * (o.score.value or 0))

    def _trials(self) -> Generator[Trial, Outcome, None]:
        yield from self._students()
        yield from self._handing_on()

    def _handing_on(self) -> Generator[Trial, Outcome, None]:
        """Pairs of a cheap file and a language model, until one holds the floor for less than the student alone."""
        for pair in self.pairs(self.tried, self.floor, self._held):
            if not self.time.allows_other(pair):
                continue
            outcome = yield Trial(pair, "exported")
            if self._held and answer_cost(outcome) >= answer_cost(self._held):
                self._note("costs no less than its language model alone")
            elif self._judge(outcome):
                return
            else:
                self._note(f"does not hold {self._needed():.4g} with a margin")

    def _students(self) -> Generator[Trial, Outcome, None]:
        for other in self.space.others:
            if self.time.allows_other(other):
                yield Trial(other, "exported")
        self._take_another_kind()
        if self._held and not self._decoder_may_cost_less(self._held):
            return
        method = self.space.methods[0] if len(self.space.methods) == 1 else None
        for place, layers in enumerate(self.space.depths):
            needed = self._needed()
            if not self.time.allows_student(layers):
                return
            exported = any(o.trial.fidelity == "exported" and _is_decoder(o) for o in self.tried)
            last = not exported and not self._time_for_a_wider_one(place, method)
            if method is None or not last:
                method, probe = yield from self._probe(layers, method)
                if not last and not self._promises(probe, needed):
                    self._note(f"back off: too far below {needed:.4g} for a probe")
                    continue
            if (yield from self._finish(self.space.candidate(layers, method))):
                yield from self._narrow((yield from self._remixed(self.space.candidate(layers, method))))
                return

    def _take_another_kind(self) -> None:
        """The cheapest of the other kinds that holds the floor, now that all that may be its reference were tried."""
        others = [o for o in self.tried if not _is_decoder(o)]
        self._held = cheapest_that_holds(others, self.floor, self._needed(), self._note)

    def _decoder_may_cost_less(self, held: Outcome) -> bool:
        """Whether the smallest decoder might answer for less than `held` does."""
        return bool(self.space.depths) and self.time.answer_seconds(self.space.depths[0]) < answer_cost(held)

    def _judge(self, outcome: Outcome) -> bool:
        """Takes a file that holds the floor with a margin."""
        if holds_with_margin(self.floor, outcome.score, self._needed()):
            self._note("holds the floor with a margin: taken")
            self._held = outcome
            return True
        return False

    def _time_for_a_wider_one(self, place: int, method: Method | None) -> bool:
        """Whether a student of the next depth could still be finished after a probe of this one."""
        if place == len(self.space.depths) - 1:
            return False
        layers, wider = self.space.depths[place : place + 2]
        return self.time.allows_student(wider, after_probe_of=layers, probes=1 if method else 2)

    def _probe(self, layers: int, method: Method | None) -> Generator[Trial, Outcome, tuple[Method, Figure]]:
        """A short training of `layers` layers; the first time also without the teacher, to see whether it is needed.

        Plain training must be better by a standard error: the logits are there by now, and what they add shows late,
        when plain training has long learned its examples by heart (docs/lab-notes.md, banking77 of 2026-11-22).
        """
        scores: dict[Method, Figure] = {}
        for m in (method,) if method else METHODS:
            outcome = yield Trial(self.space.candidate(layers, m), "probe")
            scores[m] = outcome.score
        if method is None:
            distilled, plain = scores["distill"], scores["plain"]
            gain = self.floor.sign * ((distilled.value or 0) - (plain.value or 0))
            method = "distill" if gain > -standard_error(plain) else "plain"
            help_ = "help" if gain > 0 else "may help yet" if method == "distill" else "do not help"
            self._note(f"the teacher's logits {help_} ({gain:+.3g}): go on with {method}")
        return method, scores[method]

    def _finish(self, student: Candidate) -> Generator[Trial, Outcome, bool]:
        """Trains in full and exports, boldest type first, until a file holds the floor; whether one does."""
        full = yield Trial(student, "trained")
        for quant_type in self.space.quant_types:
            if self._judge((yield Trial(student.in_type(quant_type), "exported"))):
                return True
            held = holds_with_margin(self.floor, full.score, self._needed(), errors=0)
            if not held or not self.time.allows_another_type(student.layers):
                break  # it did not hold before rounding either: a finer type cannot help
        self._note(f"back off: the exported file does not hold {self._needed():.4g} with a margin")
        return False

    def _remixed(self, student: Candidate) -> Generator[Trial, Outcome, Candidate]:
        """Tries other mixers in the layers of a student that holds; the one that holds and answers for less."""
        for mixer in self.space.mixers:
            held, other = self._held, student.model_copy(update={"mixer": mixer})
            few = student.layers <= MOST_RECURRENT
            if held is None or other == student or not few or not self.time.allows_recurrent(other):
                continue
            full = yield Trial(other, "trained")
            if not holds_with_margin(self.floor, full.score, self._needed(), errors=0):
                self._note("back off: attention is kept")
                continue
            quant_type = held.trial.candidate.quant_type or "f16"
            file = yield Trial(other.in_type(quant_type), "exported")
            if not self._judge(file):
                self._note(f"back off: the exported file does not hold {self._needed():.4g} with a margin")
            elif answer_cost(file) < answer_cost(held):
                student = other
            else:
                self._note("attention costs less and is kept")
                self._held = held
        return student

    def _narrow(self, student: Candidate) -> Generator[Trial, Outcome, None]:
        """Cuts the feed-forward of a student that holds, as long as there is time and the file still holds."""
        for share in self.space.feed_forwards:
            held, narrower = self._held, student.model_copy(update={"feed_forward": share})
            if held is None or not self.time.allows_narrower(narrower):
                return
            full = yield Trial(narrower, "trained")
            if not holds_with_margin(self.floor, full.score, self._needed(), errors=0):
                self._note("back off: the wider one is kept")
                return
            quant_type = held.trial.candidate.quant_type or "f16"
            if not self._judge((yield Trial(narrower.in_type(quant_type), "exported"))):
                self._note(f"back off: the exported file does not hold {self._needed():.4g} with a margin")
                return

    def _needed(self) -> float:
        """The worst score that still does, after the best that was trained so far: the teacher, or what beat it."""
        return self.floor.score(
            self.floor.best(score.value for score in (self.teacher, *(o.score for o in self.tried)))
        )

    def _promises(self, probe: Figure, needed: float) -> bool:
        """Whether the full training could bring a probe's score to the floor, a standard error aside."""
        if probe.value is None or self.teacher.value is None:
            return False
        if self.floor.sign * (probe.value - self.teacher.value) >= 0:
            return True  # a teacher that a probe beats is no measure of what is within reach
        hoped = probe.value + GAP_CLOSED * (self.teacher.value - probe.value)
        return self.floor.sign * (hoped - needed) + standard_error(probe) >= 0

    def _note(self, why: str, outcome: Outcome | None = None) -> None:
        """Says why something was done, of the last trial or of another."""
        self.say(f"  {outcome.trial.name}: {why}" if outcome else f"  {why}")
        (outcome or self.tried[-1]).why += "; " + why


def _is_decoder(outcome: Outcome) -> bool:
    return outcome.trial.candidate.kind == DECODER
