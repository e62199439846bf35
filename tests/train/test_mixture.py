"""Types under a budget: the greedy choice beside all choices, and what a file then holds."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from lightbulb.ops.allocation import allocate, convex_hull

OPTIONS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 50)), min_size=1, max_size=4, unique_by=lambda o: o[0])


@given(items=st.lists(OPTIONS, min_size=1, max_size=4), budget=st.integers(1, 40))
def test_near_the_best_of_all_choices(items, budget):
    chosen = allocate(items, budget)
    fitting = [
        sum(lost for _, lost in choice) for choice in product(*items) if sum(takes for takes, _ in choice) <= budget
    ]
    assert (chosen is None) == (not fitting)
    if chosen is not None:
        taken = [options[at] for options, at in zip(items, chosen, strict=True)]
        assert sum(takes for takes, _ in taken) <= budget
        steps = [
            options[a][1] - options[b][1]
            for options in items
            for a, b in zip(convex_hull(options), convex_hull(options)[1:], strict=False)
        ]
        assert sum(lost for _, lost in taken) <= min(fitting) + max(steps, default=0)  # one step short at most


def test_what_is_worth_taking():
    assert convex_hull([(4, 10), (1, 20), (2, 21), (8, 1), (6, 9)]) == [1, 0, 3]
    assert allocate([[(1, 20), (4, 10), (8, 1)], [(1, 5), (3, 4)]], 9) == [2, 0]
