"""A metric: whether the first words agree, for answers that begin with what matters ("yes, because ...")."""

from __future__ import annotations


def score(prediction: str, reference: str) -> float:
    """1 or 0. lightbulb averages it over the items, with an interval."""
    said, wanted = prediction.split()[:1], reference.split()[:1]
    return float(
        [word.strip(".,:;!").casefold() for word in said] == [word.strip(".,:;!").casefold() for word in wanted]
    )
