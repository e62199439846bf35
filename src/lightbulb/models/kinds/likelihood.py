"""Softmax in whole numbers (docs/format.md): the same probabilities in every runtime, floating point or none."""

from __future__ import annotations

import math

import numpy as np

ONE = 1 << 24  # the likelihood of the highest score
PLACES = 32  # of the table, in an octave: a gap that halves the likelihood
PARTS = 256  # between two entries of it
FAR = 32  # octaves, beyond which nothing is left
TABLE = np.array([round(ONE * 2 ** (-i / PLACES)) for i in range(PLACES + 1)], np.uint64)
MOST_SHIFT = 63


def octave_of(unit: float) -> tuple[int, int]:
    """(octave, shift): a score lower by root x octave / 2^shift is half as likely."""
    fraction, exponent = math.frexp(float(np.float32(unit)) * math.log(2))
    return round(fraction * (1 << 16)), max(-MOST_SHIFT, min(MOST_SHIFT, 16 - exponent))


def likelihoods(scores: np.ndarray, roots: np.ndarray, unit: float) -> np.ndarray:
    """How likely each answer is, of which the likeliest has ONE.

    Args:
        scores: int64 [texts, C]
        roots: of each text, int64 [texts], below 2^29
        unit: logit = score / (root x unit)

    Returns:
        uint64 [texts, C]
    """
    octave, shift = octave_of(unit)
    gaps = scores.max(axis=1, keepdims=True).view(np.uint64) - scores.view(np.uint64)  # right modulo 2^64
    spans = roots[:, None].astype(np.uint64) * np.uint64(octave)
    ends = spans * np.uint64(FAR)
    by = np.uint64(abs(shift))
    near = gaps <= (ends - np.uint64(1)) >> by if shift >= 0 else gaps >> by < ends
    steps = np.where(near, gaps, np.uint64(0))
    steps = steps << by if shift >= 0 else steps >> by
    parts = steps * np.uint64(PLACES * PARTS) // spans
    whole, place, part = parts // (PLACES * PARTS), parts // PARTS % PLACES, parts % PARTS
    likely = TABLE[place] - ((TABLE[place] - TABLE[place + np.uint64(1)]) * part >> np.uint64(8))
    return np.where(near, likely >> whole, np.uint64(0))


def most_total(threshold: float) -> int:
    """The largest sum of likelihoods at which the probability of the likeliest answer, as a float32, is `threshold` or
    more; 0 where that cannot be."""
    least = np.float32(threshold)
    if least > 1:
        return 0
    low, high = ONE, 1 << 60
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.float32(ONE / middle) >= least else (low, middle - 1)
    return low
