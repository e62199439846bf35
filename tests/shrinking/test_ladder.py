"""Kinds that need no teacher: the cheapest that is enough ends the search; cascades follow from what was tried."""

from __future__ import annotations

import pytest

from lightbulb.core.events import Stream
from lightbulb.core.figures import Figure
from lightbulb.shrinking.candidate import Candidate, Outcome
from lightbulb.shrinking.floor import Floor, holds_with_margin
from lightbulb.shrinking.kinds.cascade import GIVE_UP, combined
from lightbulb.shrinking.ladder import CheapestFirst
from lightbulb.shrinking.strategy import search

LINEAR = Candidate(kind="linear", method="plain")
ENCODER = Candidate(kind="encoder", method="plain", quant_type="q8_0", variant="frozen")
COSTS = {"linear": 1e-5, "encoder": 3e-3, "cascade": 1e-3}


class Scores:
    """An evaluator that knows what every kind scores; 0.01 is a standard error."""

    def __init__(self, **by_kind: float):
        self.by_kind, self.tried = by_kind, []

    def evaluate(self, trial):
        kind = trial.candidate.kind
        self.tried.append(kind)
        value = self.by_kind[kind]
        score = Figure(value=value, low=value - 0.0196, high=value + 0.0196, unit="share")
        return Outcome(trial, score, Figure(value=COSTS[kind], unit="s"), 1.0, "exported")


def climb(floor, scores, allows=lambda candidate: True, last=False):
    ladder = CheapestFirst([LINEAR, ENCODER], floor, allows, combined, lambda text: None, last)
    return search(ladder, scores, Stream())


def test_what_is_enough_by_itself_ends_the_search():
    scores = Scores(linear=0.91, encoder=0.93, cascade=0.93)
    choice = climb(Floor("accuracy", at_least=0.9), scores)
    assert scores.tried == ["linear"] and choice.candidate == LINEAR and choice.files == (LINEAR,)
    assert choice.tried[0].chosen and "taken" in choice.tried[0].why


def test_within_half_a_standard_error_is_not_enough():
    scores = Scores(linear=0.904, encoder=0.93, cascade=0.92)
    choice = climb(Floor("accuracy", at_least=0.9), scores)
    assert scores.tried == ["linear", "encoder", *["cascade"] * len(GIVE_UP)]
    assert choice.candidate is not None and choice.candidate.kind == "cascade", "it is enough, and costs less"


def test_a_share_of_the_best_needs_all_of_them():
    scores = Scores(linear=0.99, encoder=0.5, cascade=0.9)
    choice = climb(Floor("accuracy", keep=0.9), scores)
    assert scores.tried == ["linear", "encoder"] and choice.candidate is None
    assert choice.files == (LINEAR, ENCODER) and not any(o.chosen for o in choice.tried)


def test_where_nothing_is_enough_there_is_no_choice():
    choice = climb(Floor("accuracy", at_least=0.99), Scores(linear=0.6, encoder=0.7, cascade=0.7))
    assert choice.candidate is None and len(choice.files) == 2 + len(GIVE_UP)


def test_what_there_is_no_time_for_is_not_tried():
    scores = Scores(linear=0.6, encoder=0.7)
    choice = climb(Floor("accuracy", at_least=0.99), scores, lambda candidate: candidate.kind == "linear")
    assert scores.tried == ["linear"] and choice.files == (LINEAR,)
    assert choice.missed == ("the time does not allow to try encoder, frozen, q8_0",)


def test_lower_is_better_too():
    """Bits per byte, where a floor is an upper bound."""
    score = Figure(value=1.0, low=0.9, high=1.1, unit="bits")
    floor = Floor("bits-per-byte", at_least=1.05)
    assert holds_with_margin(floor, score, 1.05) and not holds_with_margin(floor, score, 1.02)


def outcome(candidate, score, cost):
    from lightbulb.shrinking.candidate import Trial

    value = Figure(value=score, low=score - 0.0196, high=score + 0.0196, unit="share")
    return Outcome(Trial(candidate, "exported"), value, Figure(value=cost, unit="s"), 1.0)


@pytest.mark.parametrize(
    "linear, encoder, cost, made", [(0.9, 0.93, 3e-3, True), (0.9, 0.88, 3e-3, False), (0.9, 0.93, 2e-5, False)]
)
def test_a_cascade_needs_a_better_file_that_costs_much_more(linear, encoder, cost, made):
    """Not surely worse by a standard error of 0.01, and three times dearer."""
    found = combined([outcome(LINEAR, linear, 1e-5), outcome(ENCODER, encoder, cost)], Floor("accuracy", keep=0.97))
    assert [c.stages for c in found] == ([(LINEAR, ENCODER)] * len(GIVE_UP) if made else [])
    assert len({c.label for c in found}) == len(found)


def test_one_that_lies_between_makes_cascades_of_three():
    between = Candidate(kind="encoder", layers=1, method="plain", quant_type="q8_0", variant="adapted")
    floor, cheap, dear = Floor("accuracy", keep=0.97), outcome(LINEAR, 0.85, 1e-5), outcome(ENCODER, 0.93, 3e-3)
    found = combined([cheap, dear, outcome(between, 0.9, 5e-4)], floor)
    assert [c.stages for c in found] == [(LINEAR, ENCODER)] * 3 + [(LINEAR, between, ENCODER)] * 3
    assert len({c.label for c in found}) == len({c.name for c in found}) == 6
    for score, cost in ((0.84, 5e-4), (0.9, 2e-3)):  # no better than the cheap one; no cheaper than the dear one
        others = combined([cheap, dear, outcome(between, score, cost)], floor)
        assert all(len(c.stages) == 2 for c in others)


def test_what_is_enough_leaves_only_what_is_cut_from_it():
    cuts = [Candidate(kind="encoder", layers=n, method="plain", quant_type="q8_0", variant="adapted") for n in (1, 2)]
    whole = Candidate(kind="encoder", method="plain", quant_type="q8_0", variant="adapted")
    tried: list[Candidate] = []

    class Evaluator:
        def evaluate(self, trial):
            tried.append(trial.candidate)
            return outcome(trial.candidate, {LINEAR: 0.5, cuts[0]: 0.8}.get(trial.candidate, 0.95), 1e-3)

    ladder = CheapestFirst(
        [LINEAR, ENCODER, *cuts, whole],
        Floor("accuracy", at_least=0.9),
        lambda c: True,
        lambda *_: [],
        lambda text: None,
    )
    choice = search(ladder, Evaluator(), Stream())
    assert tried == [LINEAR, ENCODER, *cuts] and choice.candidate in (ENCODER, cuts[1])


def test_where_no_language_model_follows_the_best_kind_is_the_reference():
    choice = climb(Floor("accuracy", keep=0.97), Scores(linear=0.92, encoder=0.93, cascade=0.93), last=True)
    assert choice.candidate == LINEAR and len(choice.files) == 2 + len(GIVE_UP)
    choice = climb(Floor("accuracy", keep=0.97), Scores(linear=0.8, encoder=0.93, cascade=0.85), last=True)
    assert choice.candidate == ENCODER
    choice = climb(Floor("accuracy", at_least=0.99), Scores(linear=0.8, encoder=0.93, cascade=0.85), last=True)
    assert choice.candidate == ENCODER, "nothing does; it is the nearest"
