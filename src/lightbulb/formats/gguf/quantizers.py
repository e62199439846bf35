"""Reference quantizers for the block types that gguf-py can only read: iq4_nl, q2_k, q3_k, q4_k and q6_k.

A group of weights gets the scale (and minimum) with the least weighted squared error among a few tries, each of which
rounds to the nearest levels and then solves for the scale: the method of llama.cpp's reference quantizers without an
importance matrix (K-quants: https://github.com/ggml-org/llama.cpp/pull/1684; iq4_nl:
https://github.com/ggml-org/llama.cpp/pull/5590; layouts: ggml-common.h). Everything is float32, summed from the first
weight of a group to the last, so that the files hold the same weights as llama.cpp's.

Inside, arrays are [n, G]: the n weights of a group, G groups side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce

import numpy as np

from lightbulb.formats.gguf import layouts
from lightbulb.formats.gguf.layouts import floats, halves

NOTHING = np.float32(1e-15)  # groups whose largest weight is smaller hold zeros
TINY = np.float32(1e-30)  # what is smaller is no divisor: quotients stay finite
IQ4_NL_LEVELS = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)
_HALF_STEPS = np.searchsorted((IQ4_NL_LEVELS[1:] + IQ4_NL_LEVELS[:-1]) / 2, np.arange(-256, 256) / 2, side="right")


def quantize_iq4_nl(blocks: np.ndarray) -> np.ndarray:
    """Blocks [N, 32] as bytes [N, 18]: a half-precision scale, and 4 bits a weight that choose one of 16 levels."""
    x_nG = np.ascontiguousarray(blocks.T)
    largest = _largest(x_nG)
    first = IQ4_NL_LEVELS[0]
    inverses = [_over(1, _over(-largest, first)), *(_over(first + step, largest) for step in range(-7, 8))]
    scale_G = _best_scale(x_nG, inverses, lambda v: IQ4_NL_LEVELS[iq4_nl_index(v)], x_first=False)
    index_nG = iq4_nl_index(x_nG * _over(1, scale_G)).astype(np.uint8)
    return np.concatenate([halves(scale_G), layouts.nibbles(index_nG.T)], axis=1)


def iq4_nl_index(values: np.ndarray) -> np.ndarray:
    """Of the nearest level, the upper one of two; levels lie half-way between at whole and half numbers."""
    return _HALF_STEPS.take((np.floor(2 * np.clip(values, -128, 127)) + 256).astype(np.int64), mode="clip")


def quantize_q6_k(blocks: np.ndarray) -> np.ndarray:
    """Blocks [N, 256] as bytes [N, 210]: 6 bits a weight (4 low, 2 high), an 8-bit scale for each 16, a half-precision
    scale of those."""
    n = len(blocks)
    x_nG = np.ascontiguousarray(blocks.reshape(-1, 16).T)
    largest = _largest(x_nG)
    tries = [0, *(step for step in range(-9, 10) if step)]
    inverses = [_over(-(32 + np.float32(0.1) * np.float32(step)), largest) for step in tries]
    scales = _best_scale(x_nG, inverses, lambda v: np.clip(np.rint(v), -32, 31), x_first=True).reshape(n, 16)
    inverse = _over(-128, _largest(scales.T))
    steps = np.minimum(np.rint(inverse[:, None] * scales), 127).astype(np.int8)
    outer = halves(_over(1, inverse))
    step_G = (floats(outer)[:, None] * steps).reshape(-1)
    level_nG = np.clip(np.rint(_over(x_nG, step_G)), -32, 31) + 32
    levels = level_nG.astype(np.uint8).T.reshape(n, 256)
    return np.concatenate(
        [layouts.pairs_of_64(levels), layouts.two_bits(levels >> 4), steps.view(np.uint8), outer], axis=1
    )


def quantize_q3_k(blocks: np.ndarray) -> np.ndarray:
    """Blocks [N, 256] as bytes [N, 110]: 3 bits a weight (2 low, 1 high), a 6-bit scale for each 16, a half-precision
    scale of those."""
    n = len(blocks)
    x_nG = np.ascontiguousarray(blocks.reshape(-1, 16).T)
    scales = _one_by_one(x_nG).reshape(n, 16)
    inverse = _over(-32, _largest(scales.T))
    steps = np.clip(np.rint(inverse[:, None] * scales), -32, 31)
    outer = halves(_over(1, inverse))
    step_G = (floats(outer)[:, None] * steps).reshape(-1)
    level_nG = np.clip(np.rint(_over(x_nG, step_G)), -4, 3) + 4
    levels = level_nG.astype(np.uint8).T.reshape(n, 256)
    packed_steps = layouts.six_bits((steps + 32).astype(np.uint8))
    return np.concatenate([layouts.third_bits(levels), layouts.two_bits(levels & 3), packed_steps, outer], axis=1)


def quantize_q2_k(blocks: np.ndarray) -> np.ndarray:
    """Blocks [N, 256] as bytes [N, 84]: 2 bits a weight; for each 16 a scale and a minimum of 4 bits; half-precision
    scales of both."""
    n = len(blocks)
    x_nG = np.ascontiguousarray(blocks.reshape(-1, 16).T)
    tries = np.float32(-0.5) + np.float32(0.1) * np.arange(16, dtype=np.float32)
    scale_G, low_G = _best_scale_and_minimum(x_nG, np.abs(x_nG), 3, tries, np.abs)
    scale_steps, scale_outer = _steps_of(scale_G.reshape(n, 16), 15)
    low_steps, low_outer = _steps_of(-low_G.reshape(n, 16), 15)
    levels = _levels_above(x_nG, scale_steps, scale_outer, low_steps, low_outer, 3)
    return np.concatenate([scale_steps | low_steps << 4, layouts.two_bits(levels), scale_outer, low_outer], axis=1)


def quantize_q4_k(blocks: np.ndarray) -> np.ndarray:
    """Blocks [N, 256] as bytes [N, 144]: 4 bits a weight; for each 32 a scale and a minimum of 6 bits; half-precision
    scales of both."""
    n = len(blocks)
    x_nG = np.ascontiguousarray(blocks.reshape(-1, 32).T)
    weight = np.sqrt(_sum(x_nG * x_nG) / np.float32(32)) + np.abs(x_nG)
    tries = np.float32(-1) + np.float32(0.1) * np.arange(21, dtype=np.float32)
    scale_G, low_G = _best_scale_and_minimum(x_nG, weight, 15, tries, np.square)
    scale_steps, scale_outer = _steps_of(scale_G.reshape(n, 8), 63)
    low_steps, low_outer = _steps_of(-low_G.reshape(n, 8), 63)
    levels = _levels_above(x_nG, scale_steps, scale_outer, low_steps, low_outer, 15)
    packed_steps = layouts.six_bit_pairs(scale_steps, low_steps)
    return np.concatenate([scale_outer, low_outer, packed_steps, layouts.pairs_of_32(levels)], axis=1)


def _steps_of(values: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Values [N, groups], none negative, as steps 0 to `top` of a half-precision scale [N, 2 bytes]."""
    most = values.max(axis=1)
    steps = np.minimum(np.rint(_over(top, most)[:, None] * values), top).astype(np.uint8)
    return steps, halves(most / np.float32(top))


def _levels_above(
    x_nG: np.ndarray,
    scale_steps: np.ndarray,
    scale_outer: np.ndarray,
    low_steps: np.ndarray,
    low_outer: np.ndarray,
    top: int,
) -> np.ndarray:
    """The nearest levels [N, 256] from 0 to `top` with these scales and minima."""
    step_G = (floats(scale_outer)[:, None] * scale_steps).reshape(-1)
    below_G = (floats(low_outer)[:, None] * low_steps).reshape(-1)
    level_nG = np.clip(np.rint(_over(x_nG + below_G, step_G)), 0, top).astype(np.uint8)
    return level_nG.T.reshape(len(scale_steps), 256)


def _best_scale(
    x_nG: np.ndarray, inverses: Iterable[np.ndarray], level: Callable[[np.ndarray], np.ndarray], x_first: bool
) -> np.ndarray:
    """Scales [G] with the least squared error of `scale * level(x / scale)`, errors weighted by x squared.

    inverses: of the scales [G] that are tried. x_first: order of the products, whose rounding decides near ties.
    """
    weight = x_nG * x_nG
    best, scale = np.zeros_like(x_nG[0]), np.zeros_like(x_nG[0])
    for inverse in inverses:
        q = level(x_nG * inverse)
        qx, qq = _sum(weight * x_nG * q if x_first else weight * q * x_nG), _sum(weight * q * q)
        better = (qq > 0) & (qx * qx > best * qq)
        scale = np.where(better, _over(qx, qq), scale)
        best = np.where(better, scale * qx, best)
    return np.where(np.abs(x_nG).max(axis=0) < NOTHING, np.float32(0), scale)


def _one_by_one(x_nG: np.ndarray) -> np.ndarray:
    """Scales [G] of levels -4 to 3, errors weighted by x squared: levels are changed one after the other where that
    lessens the error, in at most five rounds."""
    weight = x_nG * x_nG
    level_nG = np.clip(np.rint(_over(-4, _largest(x_nG)) * x_nG), -4, 3)
    qx, qq = _sum(weight * x_nG * level_nG), _sum(weight * level_nG * level_nG)
    for _ in range(5):
        before = level_nG.copy()
        for x, w, level in zip(x_nG, weight, level_nG, strict=True):
            rest_qx, rest_qq = qx - w * x * level, qq - w * level * level
            new = np.clip(np.rint(_over(x * rest_qq, rest_qx)), -4, 3)
            new_qx, new_qq = rest_qx + w * x * new, rest_qq + w * new * new
            better = (rest_qx > 0) & (new != level) & (new_qq > 0) & (new_qx * new_qx * qq > qx * qx * new_qq)
            level[better] = new[better]
            qx, qq = np.where(better, new_qx, qx), np.where(better, new_qq, qq)
        if np.array_equal(before, level_nG):
            break
    return np.where(np.abs(x_nG).max(axis=0) < NOTHING, np.float32(0), _over(qx, qq))


def _best_scale_and_minimum(
    x_nG: np.ndarray, weight: np.ndarray, top: int, tries: np.ndarray, loss: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Scales and minima [G], the latter at most 0, with the least weighted loss of `scale * level + minimum`, levels 0
    to `top`. tries: added to `top` for the level that the range is first divided into."""
    sum_w, sum_x = _sum(weight), _sum(weight * x_nG)
    low, high = np.minimum(x_nG.min(axis=0), 0), x_nG.max(axis=0)
    scale = _over(1, _over(top, high - low))

    def levels(inverse: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(inverse * (x_nG - low)), 0, top)

    def error(scale: np.ndarray, low: np.ndarray, q: np.ndarray) -> np.ndarray:
        return _sum(weight * loss(scale * q + low - x_nG))

    least = error(scale, low, levels(_over(top, high - low)))
    for step in tries:
        q = levels(_over(step + np.float32(top), high - low))
        sum_q, sum_qq, sum_qx = _sum(weight * q), _sum(weight * q * q), _sum(weight * q * x_nG)
        determinant = sum_w * sum_qq - sum_q * sum_q
        new_scale = _over(sum_w * sum_qx - sum_x * sum_q, determinant)
        new_low = _over(sum_qq * sum_x - sum_q * sum_qx, determinant)
        new_scale = np.where(new_low > 0, _over(sum_qx, sum_qq), new_scale)
        new_low = np.minimum(new_low, 0)
        found = error(new_scale, new_low, q)
        better = (determinant > 0) & (found < least)
        scale, low, least = (
            np.where(better, new, old) for new, old in ((new_scale, scale), (new_low, low), (found, least))
        )
    return scale, low


def _largest(x_nG: np.ndarray) -> np.ndarray:
    """Of each group [G] the value of largest magnitude, the first where there are several."""
    return np.take_along_axis(x_nG, np.abs(x_nG).argmax(axis=0)[None], axis=0)[0]


def _sum(x_nG: np.ndarray) -> np.ndarray:
    """Over the weights of a group, first to last: numpy's own sum takes them pairwise."""
    return reduce(np.add, x_nG)


def _over(a: np.ndarray | np.floating | float, b: np.ndarray) -> np.ndarray:
    """a / b in float32, and 0 where b is next to 0."""
    out = np.zeros(np.broadcast_shapes(np.shape(a), b.shape), np.float32)
    return np.divide(np.float32(a), b, out=out, where=np.abs(b) > TINY)
