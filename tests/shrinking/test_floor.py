"""What a candidate must reach."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightbulb.core.errors import GoalError
from lightbulb.shrinking.floor import Floor
from lightbulb.shrinking.goal import KEEP, Goal

share = st.floats(0.01, 1.0)


@given(share, share, share)
def test_where_both_are_asked_both_hold(keep, at_least, reference):
    both = Floor("accuracy", keep, at_least)
    for score in (0.0, keep * reference, at_least, 1.0):
        each = score >= keep * reference and score >= at_least
        assert both.holds(score, reference) == each
    assert both.score(reference) == max(keep * reference, at_least)


@given(share, st.floats(0.1, 7.9), st.floats(0.1, 7.9))
def test_where_lower_is_better_it_is_an_upper_bound(keep, at_least, reference):
    both = Floor("bits-per-byte", keep, at_least)
    assert both.score(reference) == min(reference / keep, at_least)
    assert both.holds(0.0, reference) and not both.holds(8.0, reference) or keep * 8 <= reference


def test_an_absolute_score_needs_no_reference():
    assert Floor("accuracy", at_least=0.9).score(None) == 0.9
    assert Floor("accuracy", keep=0.9).score(None) == -math.inf
    assert not Floor("accuracy", at_least=0.9).holds(None, None)


@pytest.mark.parametrize("metric, best", [("accuracy", 0.9), ("bits-per-byte", 0.7)])
def test_the_best_of_what_is_known(metric, best):
    assert Floor(metric, keep=0.9).best([0.8, None, 0.9, 0.7]) == best
    assert Floor(metric, keep=0.9).best([None]) is None


def test_a_share_is_asked_only_where_nothing_else_is():
    assert (Goal().keep, Goal().at_least) == (KEEP, None)
    assert (Goal(at_least=0.9).keep, Goal(keep=0.5, at_least=0.9).keep) == (None, 0.5)
    assert Floor.of(Goal(at_least=0.9), "json-match").text == "at least 0.9 json-match"
    assert Floor.of(Goal(keep=0.925, at_least=1.25), "bits-per-byte").text == "92.5% and at most 1.25 bits per byte"


@pytest.mark.parametrize("asked, says", [(8.0, "between 0 and 8"), (0.0, "fewer are better"), (92.0, "upper bound")])
def test_bits_per_byte_have_a_range_of_their_own(asked, says):
    with pytest.raises(GoalError) as e:
        Goal(at_least=asked).check_for("bits-per-byte")
    assert says in str(e.value)
    Goal(at_least=1.2).check_for("bits-per-byte")
    Goal(keep=0.9).check_for("bits-per-byte")
    with pytest.raises(GoalError):
        Goal(at_least=1.2).check_for("accuracy")
