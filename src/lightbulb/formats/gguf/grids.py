"""Scales of blocks fitted to what their weights matter: the errors that count are those of what a layer computes.

A grid says which values a block of a type can hold: `level * step - below`, with the levels of the type and with steps
(and offsets) that the file stores. `fit` searches these for the least squared error, each weight's own factor given (of
an input channel, the mean square of what comes in: llama.cpp's importance matrix, https://github.com/ggml-org/llama.cpp/pull/4861);
which level a weight gets can then be decided one by one, as GPTQ does, and `pack` writes what was decided.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lightbulb.formats.gguf import layouts
from lightbulb.formats.gguf.layouts import floats, halves
from lightbulb.formats.gguf.quantizers import IQ4_NL_LEVELS, TINY, iq4_nl_index

WEIGHTS_AT_ONCE = 1 << 18  # what is worked on stays in the caches
ROUNDS = 3  # of rounding with the best scales so far and solving for them again
NEAR = (-1, 0, 1)  # steps that are tried around the nearest


@dataclass(frozen=True)
class Scales:
    """Of blocks [N, block].

    Attributes:
        step_NB: of each weight
        below_NB: of each weight: what 0 stands above the lowest level; None: nothing
        parts: what the file stores of them, as bytes [N, ...]
    """

    step_NB: np.ndarray
    below_NB: np.ndarray | None
    parts: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Grid:
    """The values that blocks of a type can hold.

    Attributes:
        block: weights of a block
        levels: rising; whole numbers without gaps, or those of iq4_nl
        fit: scales of blocks [N, block] whose squared errors are multiplied by factors [N, block]
        lay: bytes of a block from indices of levels [N, block] and the parts of its scales
    """

    block: int
    levels: np.ndarray
    fit: Callable[[np.ndarray, np.ndarray], Scales]
    lay: Callable[[np.ndarray, tuple[np.ndarray, ...]], np.ndarray]

    def nearest(self, x: np.ndarray, step: np.ndarray, below: np.ndarray | None = None) -> np.ndarray:
        """Indices of the levels whose values lie nearest."""
        return nearest(self.levels, divided(x if below is None else x + below, step))

    def values(self, index: np.ndarray, step: np.ndarray, below: np.ndarray | None = None) -> np.ndarray:
        """What a file holds of these levels, in float32."""
        held = self.levels[index] * step
        return held if below is None else held - below

    def quantize(self, rows: np.ndarray, importance: np.ndarray) -> np.ndarray:
        """Rows [R, n] as bytes [R, ...], squared errors of a column multiplied by its importance [n]."""
        at_once = max(1, WEIGHTS_AT_ONCE // rows.shape[1])
        parts = [self._quantize(rows[at : at + at_once], importance) for at in range(0, len(rows), at_once)]
        return np.concatenate(parts)

    def _quantize(self, rows: np.ndarray, importance: np.ndarray) -> np.ndarray:
        blocks_NB = rows.reshape(-1, self.block)
        scales = self.fit(blocks_NB, np.broadcast_to(importance, rows.shape).reshape(-1, self.block))
        index_NB = self.nearest(blocks_NB, scales.step_NB, scales.below_NB)
        return self.lay(index_NB, scales.parts).reshape(len(rows), -1)


def nearest(levels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Indices of the nearest levels, uint8."""
    low, high = levels[0], levels[-1]
    if high - low == len(levels) - 1:
        return (np.clip(np.rint(values), low, high) - low).astype(np.uint8)
    return iq4_nl_index(values).astype(np.uint8)


def divided(x: np.ndarray, step: np.ndarray) -> np.ndarray:
    """x / step, 0 where the step is 0."""
    return np.divide(
        x, step, out=np.zeros(np.broadcast_shapes(x.shape, step.shape), np.float32), where=np.abs(step) > TINY
    )


def best_step(x_NB: np.ndarray, w_NB: np.ndarray, levels: np.ndarray, tries: np.ndarray) -> np.ndarray:
    """Steps [N] with the least error of `step * level`: the weight of largest magnitude is put on each of the tries (in
    levels), the others on the nearest level, and the step is solved for."""
    largest_N1 = np.take_along_axis(x_NB, np.abs(x_NB).argmax(1)[:, None], axis=1)
    wx_NB = w_NB * x_NB
    best_N, step_N = np.zeros(len(x_NB), np.float32), np.zeros(len(x_NB), np.float32)

    def improve(values_NB: np.ndarray) -> None:
        q_NB = levels[nearest(levels, values_NB)]
        qx_N, qq_N = np.einsum("nb,nb->n", wx_NB, q_NB), np.einsum("nb,nb,nb->n", w_NB, q_NB, q_NB)
        gain_N = divided(qx_N * qx_N, qq_N)
        better = gain_N > best_N
        best_N[better], step_N[better] = gain_N[better], divided(qx_N, qq_N)[better]

    for position in tries:
        improve(divided(x_NB * position, largest_N1))
    for _ in range(ROUNDS):
        improve(divided(x_NB, step_N[:, None]))
    return step_N


def best_step_and_low(
    x_NB: np.ndarray, w_NB: np.ndarray, top: int, tries: np.ndarray, negative: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Steps and lowest values [N] with the least error of `step * level + low`, levels 0 to `top`. tries: in how many
    levels the range is first divided. negative: the lowest value is at most 0."""
    low_N, high_N = x_NB.min(1), x_NB.max(1)
    low_N = np.minimum(low_N, 0) if negative else low_N
    from_N, spread_N = low_N, high_N - low_N
    step_N, least_N = np.zeros_like(low_N), np.full(len(x_NB), np.inf, np.float32)
    sum_w, sum_x = w_NB.sum(1), np.einsum("nb,nb->n", w_NB, x_NB)

    def improve(values_NB: np.ndarray) -> None:
        nonlocal step_N, low_N, least_N
        q_NB = np.clip(np.rint(values_NB), 0, top)
        wq_NB = w_NB * q_NB
        sum_q, sum_qq, sum_qx = wq_NB.sum(1), np.einsum("nb,nb->n", wq_NB, q_NB), np.einsum("nb,nb->n", wq_NB, x_NB)
        determinant = sum_w * sum_qq - sum_q * sum_q
        step, low = (
            divided(sum_w * sum_qx - sum_x * sum_q, determinant),
            divided(sum_qq * sum_x - sum_q * sum_qx, determinant),
        )
        if negative:
            step, low = np.where(low > 0, divided(sum_qx, sum_qq), step), np.minimum(low, 0)
        off_NB = step[:, None] * q_NB + low[:, None] - x_NB
        error_N = np.einsum("nb,nb,nb->n", w_NB, off_NB, off_NB)
        better = (error_N < least_N) & (step > 0)
        step_N, low_N = np.where(better, step, step_N), np.where(better, low, low_N)
        least_N = np.where(better, error_N, least_N)

    for position in tries:
        improve(divided((x_NB - from_N[:, None]) * position, spread_N[:, None]))
    for _ in range(ROUNDS):
        improve(divided(x_NB - low_N[:, None], step_N[:, None]))
    return step_N, low_N


def one_step(levels: np.ndarray, tries: np.ndarray) -> Callable[[np.ndarray, np.ndarray], Scales]:
    """Of types with one half-precision step a block."""

    def fit(x_NB: np.ndarray, w_NB: np.ndarray) -> Scales:
        stored = halves(best_step(x_NB, w_NB, levels, tries))
        return Scales(np.broadcast_to(floats(stored)[:, None], x_NB.shape), None, (stored,))

    return fit


def step_and_low(top: int, tries: np.ndarray) -> Callable[[np.ndarray, np.ndarray], Scales]:
    """Of types with a half-precision step and lowest value a block."""

    def fit(x_NB: np.ndarray, w_NB: np.ndarray) -> Scales:
        step_N, low_N = best_step_and_low(x_NB, w_NB, top, tries, negative=False)
        step, low = halves(step_N), halves(low_N)
        wide = (np.broadcast_to(floats(part)[:, None], x_NB.shape) for part in (step, low))
        return Scales(next(wide), -next(wide), (step, low))

    return fit


def steps_of_groups(
    levels: np.ndarray, tries: np.ndarray, group: int, most: int
) -> Callable[[np.ndarray, np.ndarray], Scales]:
    """Of types with a whole number -`most - 1` to `most` for each group, times a half-precision step a block."""

    def fit(x_NB: np.ndarray, w_NB: np.ndarray) -> Scales:
        x_GB, w_GB = x_NB.reshape(-1, group), w_NB.reshape(-1, group)
        step_NG = best_step(x_GB, w_GB, levels, tries).reshape(len(x_NB), -1)
        largest_N = np.take_along_axis(step_NG, np.abs(step_NG).argmax(1)[:, None], axis=1)[:, 0]
        outer = halves(largest_N / np.float32(-most - 1))
        outer_N1 = floats(outer)[:, None]
        best_NG, least_NG = np.zeros_like(step_NG), np.full(step_NG.shape, np.inf, np.float32)
        for near in NEAR:
            whole_NG = np.clip(np.rint(divided(step_NG, outer_N1)) + np.float32(near), -most - 1, most)
            step_G1 = (outer_N1 * whole_NG).reshape(-1, 1)
            off_GB = levels[nearest(levels, divided(x_GB, step_G1))] * step_G1 - x_GB
            error_NG = np.einsum("nb,nb,nb->n", w_GB, off_GB, off_GB).reshape(step_NG.shape)
            better = error_NG < least_NG
            best_NG, least_NG = np.where(better, whole_NG, best_NG), np.where(better, error_NG, least_NG)
        step_NB = np.repeat(outer_N1 * best_NG, group, axis=1)
        return Scales(step_NB, None, (best_NG.astype(np.int8).view(np.uint8), outer))

    return fit


def steps_and_lows_of_groups(
    top: int, tries: np.ndarray, group: int, most: int
) -> Callable[[np.ndarray, np.ndarray], Scales]:
    """Of types with two whole numbers 0 to `most` for each group, times half-precision scales of steps and of lowest
    values a block."""

    def fit(x_NB: np.ndarray, w_NB: np.ndarray) -> Scales:
        x_GB, w_GB = x_NB.reshape(-1, group), w_NB.reshape(-1, group)
        found = best_step_and_low(x_GB, w_GB, top, tries, negative=True)
        step_NG, below_NG = found[0].reshape(len(x_NB), -1), -found[1].reshape(len(x_NB), -1)
        outer, outer_below = (halves(values.max(1) / np.float32(most)) for values in (step_NG, below_NG))
        outer_N1, outer_below_N1 = floats(outer)[:, None], floats(outer_below)[:, None]
        best, best_below = np.zeros_like(step_NG), np.zeros_like(step_NG)
        least_NG = np.full(step_NG.shape, np.inf, np.float32)
        for near, near_below in ((a, b) for a in NEAR for b in NEAR):
            whole = np.clip(np.rint(divided(step_NG, outer_N1)) + np.float32(near), 0, most)
            whole_below = np.clip(np.rint(divided(below_NG, outer_below_N1)) + np.float32(near_below), 0, most)
            step_G1, below_G1 = (outer_N1 * whole).reshape(-1, 1), (outer_below_N1 * whole_below).reshape(-1, 1)
            q_GB = np.clip(np.rint(divided(x_GB + below_G1, step_G1)), 0, top)
            off_GB = q_GB * step_G1 - below_G1 - x_GB
            error_NG = np.einsum("nb,nb,nb->n", w_GB, off_GB, off_GB).reshape(step_NG.shape)
            better = error_NG < least_NG
            best, best_below = np.where(better, whole, best), np.where(better, whole_below, best_below)
            least_NG = np.where(better, error_NG, least_NG)
        step_NB, below_NB = (
            np.repeat(o * b, group, axis=1) for o, b in ((outer_N1, best), (outer_below_N1, best_below))
        )
        return Scales(step_NB, below_NB, (best.astype(np.uint8), best_below.astype(np.uint8), outer, outer_below))

    return fit


def _whole(low: int, high: int) -> np.ndarray:
    return np.arange(low, high + 1, dtype=np.float32)


def _around(low: float, high: float, n: int, both: bool = False) -> np.ndarray:
    """Places for the weight of largest magnitude, in levels; both: on either side."""
    places = np.linspace(low, high, n, dtype=np.float32)
    return np.concatenate([places, -places]) if both else places


def _lay_q3_k(index: np.ndarray, parts: tuple[np.ndarray, ...]) -> np.ndarray:
    steps = layouts.six_bits((parts[0].view(np.int8) + 32).astype(np.uint8))
    return np.concatenate([layouts.third_bits(index), layouts.two_bits(index & 3), steps, parts[1]], axis=1)


def _lay_q6_k(index: np.ndarray, parts: tuple[np.ndarray, ...]) -> np.ndarray:
    return np.concatenate([layouts.pairs_of_64(index), layouts.two_bits(index >> 4), *parts], axis=1)


def _lay_q2_k(index: np.ndarray, parts: tuple[np.ndarray, ...]) -> np.ndarray:
    return np.concatenate([parts[0] | parts[1] << 4, layouts.two_bits(index), *parts[2:]], axis=1)


def _lay_q4_k(index: np.ndarray, parts: tuple[np.ndarray, ...]) -> np.ndarray:
    return np.concatenate([*parts[2:], layouts.six_bit_pairs(*parts[:2]), layouts.pairs_of_32(index)], axis=1)


def _lay_nibbles(index: np.ndarray, parts: tuple[np.ndarray, ...]) -> np.ndarray:
    return np.concatenate([*parts, layouts.nibbles(index)], axis=1)


def _lay_q5_0(index: np.ndarray, parts: tuple[np.ndarray, ...]) -> np.ndarray:
    return np.concatenate([*parts, layouts.fifth_bits(index), layouts.nibbles(index & 15)], axis=1)


def _lay_q8_0(index: np.ndarray, parts: tuple[np.ndarray, ...]) -> np.ndarray:
    return np.concatenate([*parts, (index.astype(np.int16) - 127).astype(np.int8).view(np.uint8)], axis=1)


Q8, Q6, Q5, Q4, Q3 = _whole(-127, 127), _whole(-32, 31), _whole(-16, 15), _whole(-8, 7), _whole(-4, 3)
GRIDS = {
    "q8_0": Grid(32, Q8, one_step(Q8, _around(124, 127, 4)), _lay_q8_0),
    "q5_0": Grid(32, Q5, one_step(Q5, _around(-17.5, -13.5, 13)), _lay_q5_0),
    "q4_0": Grid(32, Q4, one_step(Q4, _around(5.2, 9, 16, both=True)), _lay_nibbles),
    "q4_1": Grid(32, _whole(0, 15), step_and_low(15, _around(13, 18, 11)), _lay_nibbles),
    "iq4_nl": Grid(32, IQ4_NL_LEVELS, one_step(IQ4_NL_LEVELS, _around(85, 140, 16, both=True)), _lay_nibbles),
    "q2_k": Grid(256, _whole(0, 3), steps_and_lows_of_groups(3, _around(2, 4.5, 16), 16, 15), _lay_q2_k),
    "q3_k": Grid(256, Q3, steps_of_groups(Q3, _around(2.4, 4.8, 12, both=True), 16, 31), _lay_q3_k),
    "q4_k": Grid(256, _whole(0, 15), steps_and_lows_of_groups(15, _around(12.5, 17.5, 16), 32, 63), _lay_q4_k),
    "q6_k": Grid(256, Q6, steps_of_groups(Q6, _around(-33.5, -29, 12), 16, 127), _lay_q6_k),
}
