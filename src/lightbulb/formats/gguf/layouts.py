"""How levels and scales of a block lie in its bytes (ggml-common.h). Levels count from 0, the lowest of a type."""

from __future__ import annotations

import numpy as np


def halves(values: np.ndarray) -> np.ndarray:
    """Values [N] in half precision, as bytes [N, 2]."""
    return np.ascontiguousarray(values.astype(np.float16))[:, None].view(np.uint8)


def floats(packed: np.ndarray) -> np.ndarray:
    """The inverse of `halves`, in float32 [N]."""
    return packed.view(np.float16).astype(np.float32)[:, 0]


def nibbles(levels_N32: np.ndarray) -> np.ndarray:
    """4 bits a weight of blocks of 32: [N, 16], the second half above the first."""
    return levels_N32[:, :16] | levels_N32[:, 16:] << 4


def fifth_bits(levels_N32: np.ndarray) -> np.ndarray:
    """The highest of 5 bits a weight: [N, 4]."""
    return np.packbits(levels_N32 >> 4, axis=1, bitorder="little")


def pairs_of_32(levels: np.ndarray) -> np.ndarray:
    """4 bits a weight of blocks of 256: [N, 128], groups of 32 two by two."""
    of_64 = levels.reshape(-1, 4, 2, 32)
    return (of_64[:, :, 0] | of_64[:, :, 1] << 4).reshape(-1, 128)


def pairs_of_64(levels: np.ndarray) -> np.ndarray:
    """The low 4 of 6 bits a weight of blocks of 256: [N, 128]."""
    of_128 = levels.reshape(-1, 2, 4, 32) & 15
    return (of_128[:, :, :2] | of_128[:, :, 2:] << 4).reshape(-1, 128)


def two_bits(levels: np.ndarray) -> np.ndarray:
    """2 bits a weight of blocks of 256: [N, 64], groups of 32 four by four."""
    of_128 = levels.reshape(-1, 2, 4, 32)
    packed = of_128[:, :, 0] | of_128[:, :, 1] << 2 | of_128[:, :, 2] << 4 | of_128[:, :, 3] << 6
    return packed.reshape(-1, 64)


def third_bits(levels: np.ndarray) -> np.ndarray:
    """The highest of 3 bits a weight of blocks of 256: [N, 32], one bit of each group of 32."""
    return np.packbits((levels >> 2).reshape(-1, 8, 32), axis=1, bitorder="little").reshape(-1, 32)


def six_bit_pairs(scales_N8: np.ndarray, minima_N8: np.ndarray) -> np.ndarray:
    """8 scales and 8 minima of 6 bits: [N, 12]."""
    first_scales, first_minima = (steps[:, :4] | steps[:, 4:] >> 4 << 6 for steps in (scales_N8, minima_N8))
    rest = (scales_N8[:, 4:] & 15) | (minima_N8[:, 4:] & 15) << 4
    return np.concatenate([first_scales, first_minima, rest], axis=1)


def six_bits(scales_N16: np.ndarray) -> np.ndarray:
    """16 scales of 6 bits: [N, 12]."""
    low = (scales_N16[:, :8] & 15) | (scales_N16[:, 8:] & 15) << 4
    high = (scales_N16 >> 4).reshape(-1, 4, 4)
    return np.concatenate([low, high[:, 0] | high[:, 1] << 2 | high[:, 2] << 4 | high[:, 3] << 6], axis=1)
