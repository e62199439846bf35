"""A type of block: 32 weights as signed bytes with one power of two as their scale."""

from __future__ import annotations

import numpy as np

from lightbulb.formats.gguf.quant_types import QuantType

BLOCK, MOST = 32, 127


def pack(rows: np.ndarray) -> np.ndarray:
    """Rows [R, n] float32 as bytes [R, n / 32 * 34]: a scale in half precision, then 32 codes."""
    blocks_RBK = rows.reshape(len(rows), -1, BLOCK)
    largest = np.abs(blocks_RBK).max(-1, keepdims=True)
    exponent = np.floor(np.log2(np.where(largest > 0, largest, 1.0)))
    scales = np.where(largest > 0, 2.0**exponent / 64, 0.0).astype(np.float16)
    codes = np.where(scales > 0, np.rint(blocks_RBK / scales.astype(np.float32)), 0).clip(-MOST, MOST)
    parts = [scales.view(np.uint8), codes.astype(np.int8).view(np.uint8)]
    return np.concatenate(parts, -1).reshape(len(rows), -1)


def unpack(packed: np.ndarray) -> np.ndarray:
    """The inverse, as float32."""
    blocks = packed.reshape(len(packed), -1, BLOCK + 2)
    scales = np.ascontiguousarray(blocks[..., :2]).view(np.float16).astype(np.float32)
    codes = np.ascontiguousarray(blocks[..., 2:]).view(np.int8)
    return (scales * codes).reshape(len(packed), -1)


# Of a number that no format has: stock runtimes refuse such a file, lightbulb reads and writes it.
TYPE = QuantType("q8_p2", 1000, BLOCK, BLOCK + 2, pack=pack, unpack=unpack, runtimes=())
