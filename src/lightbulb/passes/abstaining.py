"""What leaving out answers does, as figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lightbulb.core.facts import AbstentionFacts
from lightbulb.core.figures import Figure
from lightbulb.ops.abstaining import Share, Sureness, precision_at, share_given
from lightbulb.tasks.metrics import item_scores
from lightbulb.tasks.task import Example


def sureness_of(
    examples: Sequence[Example],
    predictions: Sequence[str],
    probabilities: Sequence[float],
    outside: Sequence[float],
    share: float,
) -> Sureness:
    """How sure a model was.

    Args:
        examples: that have an answer
        predictions: what it answered
        probabilities: of these answers
        outside: of its answers to questions that none fits
        share: of all questions that the latter stand for
    """
    right = item_scores("accuracy", predictions, [e.completion for e in examples])
    return Sureness(np.array(probabilities, np.float32), np.array(right) >= 1, np.array(outside, np.float32), share)


def abstention_facts(sure: Sureness, threshold: float) -> AbstentionFacts:
    """What leaving out answers below `threshold` does."""
    items, outside = len(sure.inside_N), len(sure.outside_M)
    of = f"{items:,} questions with an answer"
    mixed = f"{of} and {outside:,} that none fits, which stand for {sure.share:.1%} of all" if outside else of
    abstains = share_given(sure.outside_M, threshold)
    return AbstentionFacts(
        threshold=threshold,
        precision=_figure(precision_at(sure, threshold), f"right among the answers given, of {mixed}; Wilson interval"),
        coverage=_figure(share_given(sure.inside_N, threshold), f"answers given, of {of}; Wilson interval"),
        recall=None
        if abstains is None
        else _figure(
            Share(1 - abstains.value, 1 - abstains.high, 1 - abstains.low),
            f"no answer given, of {outside:,} questions that none fits; Wilson interval",
        ),
        items=items,
        outside=outside,
        share=sure.share if outside else 0.0,
    )


def _figure(share: Share | None, method: str) -> Figure:
    if share is None:
        return Figure(value=None, unit="share", method=f"{method}; no answer was given")
    return Figure(value=share.value, low=share.low, high=share.high, unit="share", method=method)
