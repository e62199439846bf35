"""What to spend where: the choice for each of many items that loses least within a budget."""

from __future__ import annotations

from collections.abc import Sequence

Option = tuple[float, float]  # what it takes, what is lost with it


def allocate(items: Sequence[Sequence[Option]], budget: float) -> list[int] | None:
    """One option for each item: the least that they take to begin with, then the steps along each item's convex hull
    that save most for what they take (the greedy solution of the multiple-choice knapsack, Sinha & Zoltners 1979).

    Args:
        items: the options of each
        budget: of all together

    Returns:
        Indices of the options; None where even the least is over the budget.
    """
    hulls = [convex_hull(options) for options in items]
    chosen = [hull[0] for hull in hulls]
    left = budget - sum(options[at][0] for options, at in zip(items, chosen, strict=True))
    if left < 0:
        return None
    steps = []
    for item, (options, hull) in enumerate(zip(items, hulls, strict=True)):
        for before, after in zip(hull, hull[1:], strict=False):
            more, saved = options[after][0] - options[before][0], options[before][1] - options[after][1]
            steps.append((-saved / more, item, before, after, more))
    for _, item, before, after, more in sorted(steps):
        if chosen[item] == before and more <= left:
            chosen[item] = after
            left -= more
    return chosen


def convex_hull(options: Sequence[Option]) -> list[int]:
    """Indices of the options worth taking, cheapest first: each saves less for what it takes than the one before."""
    hull: list[int] = []
    for at in sorted(range(len(options)), key=lambda i: options[i]):
        takes, loses = options[at]
        if hull and loses >= options[hull[-1]][1]:
            continue
        while len(hull) > 1:
            (a_takes, a_loses), (b_takes, b_loses) = options[hull[-2]], options[hull[-1]]
            if (a_loses - b_loses) * (takes - b_takes) > (b_loses - loses) * (b_takes - a_takes):
                break
            hull.pop()
        hull.append(at)
    return hull
