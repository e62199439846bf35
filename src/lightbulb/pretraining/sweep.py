"""Several trainings of one text: sizes by learning rates."""

from __future__ import annotations

from collections.abc import Sequence

from lightbulb.core.errors import UserError
from lightbulb.pretraining.goal import TrainingGoal

PAGE, RECORD = "sweep.html", "sweep.json"


def goals_of(goal: TrainingGoal, sizes: Sequence[float], rates: Sequence[float]) -> dict[str, TrainingGoal]:
    """Every size with every learning rate, by the name of the folder that its run gets.

    Args:
        goal: what all of them have
        sizes: in parameters; empty: the goal's
        rates: learning rates; empty: the goal's

    Raises:
        UserError: one is there twice, or sizes that `layers` and `width` decide
    """
    if len(sizes) > 1 and goal.layers and goal.width:
        raise UserError("several sizes, and layers and a width that decide it", hint="leave out `layers` or `width`")
    found: dict[str, TrainingGoal] = {}
    for size in sizes or [goal.size]:
        for rate in rates or [goal.rate]:
            name = f"{size / 1e6:g}m-{rate:g}"
            if name in found:
                raise UserError(f"{size:g} parameters at {rate:g} are asked for twice", hint="give each value once")
            found[name] = goal.model_copy(update={"size": size, "learning_rate": rate})
    return found
