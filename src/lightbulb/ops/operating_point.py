"""Where the borders between answers lie: what is added to their logits so that a metric is at its best."""

from __future__ import annotations

import numpy as np

ROUNDS = 3  # over all answers; later ones hardly move anything


def shift_for_macro_f1(logits_NC: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """What to add to the logits for the highest macro-F1 of the likeliest answers: one answer's border after the other
    is put where it is best, the others being as they are (as thresholds of F1 are set in Fan and Lin 2007, "A study on
    threshold selection for multi-label classification", their cyclic optimization).

    Args:
        logits_NC: of items that the model was not fitted on
        labels_N: numbers of their answers

    Returns:
        float64 [C], of mean 0; 0 where nothing is better than the logits as they are.
    """
    logits_NC, answers = logits_NC.astype(np.float64), logits_NC.shape[1]
    shift_C = np.zeros(answers)
    for _ in range(ROUNDS if answers > 1 and len(labels_N) else 0):
        before_C = shift_C.copy()
        for answer in range(answers):
            shift_C[answer] += _step(logits_NC + shift_C, labels_N, answer)
        if np.array_equal(before_C, shift_C):
            break
    return shift_C - shift_C.mean()


def _step(logits_NC: np.ndarray, labels_N: np.ndarray, answer: int) -> float:
    """What to add to one answer's logits; 0 unless something is better."""
    answers = logits_NC.shape[1]
    others_NC = logits_NC.copy()
    others_NC[:, answer] = -np.inf
    rival_N = others_NC.argmax(axis=1)
    needed_N = others_NC.max(axis=1) - logits_NC[:, answer]  # this and more makes it the likeliest
    order_N = np.argsort(needed_N, kind="stable")
    needed_N, rival_N, label_N = needed_N[order_N], rival_N[order_N], labels_N[order_N]

    def taken(of_N: np.ndarray) -> np.ndarray:
        """How many of the first 0, 1, ... N items there are of each answer, [N + 1, C]."""
        one_hot = (of_N[:, None] == np.arange(answers)).astype(np.float64)
        return np.concatenate([np.zeros((1, answers)), np.cumsum(one_hot, axis=0)])

    lost = taken(rival_N)  # by the rivals, once the first items are answered with `answer`
    lost_right = taken(np.where(rival_N == label_N, rival_N, -1))
    said, right = lost[-1] - lost, lost_right[-1] - lost_right
    said[:, answer] = np.arange(len(label_N) + 1)
    right[:, answer] = taken(np.where(label_N == answer, answer, -1))[:, answer]
    score = (2 * right / np.maximum(said + np.bincount(labels_N, minlength=answers), 1)).mean(axis=1)
    now, best = int(np.sum(needed_N < 0)), int(score.argmax())
    if score[best] <= score[now]:
        return 0.0
    if best == 0:
        return float(needed_N[0] - 1)
    return float((needed_N[best - 1] + needed_N[best]) / 2 if best < len(needed_N) else needed_N[-1] + 1)
