"""What every quant type must hold: rows that know nothing of each other, small errors, and weights that stay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from lightbulb.formats.gguf.quant_types import QUANT_TYPES, QuantType, quant_type_of

WIDTH, BLOCKS = 2, 64


@dataclass(frozen=True)
class QuantTypeCase:
    """A registered type that can be written.

    Attributes:
        quant_type: the type
        error: the most that the root mean square of the error may be of normal weights with deviation 1
        worst: the largest error in a block / its largest weight
        smallest: the largest weight of a block that may be taken for zeros
        moving: the share of blocks that may change when what was held is written once more (types that search for their
            scale)
    """

    quant_type: QuantType
    error: float
    worst: float
    smallest: float = 2.0**-14
    moving: float = 0.0


class QuantTypeConformance:
    """Sizes are as said; a block depends on nothing but its weights; zeros are zeros and odd blocks stay finite; errors
    are small; what is held is held when it is written again. Needs a fixture `case` that gives a QuantTypeCase."""

    def weights(self, case: QuantTypeCase) -> np.ndarray:
        shape = (BLOCKS, WIDTH * case.quant_type.block)
        return np.random.default_rng(0).standard_normal(shape).astype(np.float32)

    def test_it_is_registered(self, case: QuantTypeCase) -> None:
        quant_type = case.quant_type
        assert QUANT_TYPES[quant_type.name] is quant_type_of(quant_type.id) is quant_type
        assert quant_type.name == quant_type.name.lower() and quant_type.writable
        assert (
            quant_type.block == 1
            or QUANT_TYPES[quant_type.fallback].block < quant_type.block
            or (quant_type.fallback == "f16")
        )

    def test_sizes_are_as_said(self, case: QuantTypeCase) -> None:
        quant_type, weights = case.quant_type, self.weights(case)
        for shaped in (weights, weights.reshape(4, -1, weights.shape[1]), weights[0]):
            packed = quant_type.quantize(shaped)
            assert packed.dtype == np.uint8 and packed.shape == (*shaped.shape[:-1], WIDTH * quant_type.block_bytes)
            held = quant_type.dequantize(packed)
            assert held.dtype == np.float32 and held.shape == shaped.shape
        assert quant_type.bits_per_weight == 8 * quant_type.quantize(weights).size / weights.size
        if quant_type.block > 1:
            with pytest.raises(ValueError, match="no whole number"):
                quant_type.quantize(weights[:, :-1])

    def test_a_block_depends_on_nothing_but_its_weights(self, case: QuantTypeCase) -> None:
        quant_type, weights = case.quant_type, self.weights(case)
        before = weights.copy()
        alone = [quant_type.quantize(block) for block in weights.reshape(-1, quant_type.block)]
        assert np.array_equal(quant_type.quantize(weights).reshape(len(alone), -1), alone)
        assert np.array_equal(weights, before)

    def test_errors_are_small(self, case: QuantTypeCase) -> None:
        weights = self.weights(case)
        off = np.abs(case.quant_type.quantize_dequantize(weights) - weights)
        assert np.sqrt((off**2).mean()) <= case.error

    def test_odd_blocks(self, case: QuantTypeCase) -> None:
        quant_type, blocks = case.quant_type, odd_blocks(case.quant_type.block)
        held = quant_type.quantize_dequantize(blocks)
        assert not held[0].any() and np.isfinite(held).all()
        largest, off = np.abs(blocks).max(axis=1), np.abs(held - blocks).max(axis=1)
        assert (off <= case.worst * largest + case.smallest).all()

    def test_what_is_held_is_held_again(self, case: QuantTypeCase) -> None:
        """Training rounds weights to what the file will hold, which must be what is written then."""
        quant_type, weights = case.quant_type, self.weights(case)
        held = quant_type.quantize_dequantize(weights)
        moved = (quant_type.quantize_dequantize(held) != held).reshape(-1, quant_type.block).any(axis=1)
        assert moved.mean() <= case.moving


def odd_blocks(block: int) -> np.ndarray:
    """Blocks [n, block], zeros first: one sign, one value, one huge value, next to nothing, half zeros."""
    rows = np.random.default_rng(1).normal(0, 0.05, (12, block)).astype(np.float32)
    rows[0] = 0
    rows[1], rows[2] = 1, -1
    rows[3], rows[4] = np.abs(rows[3]), -np.abs(rows[4])
    rows[5, -1], rows[6, 0] = 6e4, -6e4
    rows[7], rows[8] = 1e-40, rows[8] * 1e-20
    rows[9] *= 1e4
    rows[10, block // 2 :] = 0
    rows[11] = np.sign(rows[11])
    return rows
