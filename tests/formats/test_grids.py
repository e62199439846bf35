"""Scales fitted to importance: what is written is what was decided, and beats llama.cpp with the same importance."""

from __future__ import annotations

import numpy as np
import pytest
from llama_quantize import llama_quantize

from lightbulb.formats.gguf.grids import GRIDS
from lightbulb.formats.gguf.quant_types import QUANT_TYPES
from lightbulb.testing.quant_types import odd_blocks

WIDTH = 512


def matrix(rows: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Weights with a few large ones, and how much each column matters."""
    rng = np.random.default_rng(3)
    weights = 0.03 * rng.standard_t(4, (rows, WIDTH))
    return weights.astype(np.float32), np.exp(rng.normal(0, 1.5, WIDTH)).astype(np.float32)


def error(name: str, packed: np.ndarray, weights: np.ndarray, importance: np.ndarray) -> float:
    off = QUANT_TYPES[name].dequantize(packed) - weights
    return float((importance * off * off).sum())


@pytest.mark.parametrize("name", GRIDS)
def test_errors_that_matter_are_smaller_than_llama_cpp_makes_them(name):
    weights, importance = matrix()
    quant_type = QUANT_TYPES[name]
    ours = error(name, quant_type.quantize(weights, importance), weights, importance)
    theirs = error(name, llama_quantize(quant_type, weights, importance), weights, importance)
    assert ours < theirs and ours < error(name, quant_type.quantize(weights), weights, importance)


@pytest.mark.parametrize("name", GRIDS)
def test_a_file_holds_the_levels_that_were_decided(name):
    grid, quant_type = GRIDS[name], QUANT_TYPES[name]
    blocks = matrix()[0].reshape(-1, grid.block)
    with np.errstate(all="ignore"):
        scales = grid.fit(blocks, np.ones_like(blocks))
    index = np.random.default_rng(0).integers(0, len(grid.levels), blocks.shape).astype(np.uint8)  # any levels at all
    held = quant_type.dequantize(grid.lay(index, scales.parts))
    assert np.array_equal(held, grid.values(index, scales.step_NB, scales.below_NB))
    assert np.array_equal(grid.nearest(held, scales.step_NB, scales.below_NB), index)


@pytest.mark.parametrize("name", GRIDS)
def test_odd_blocks_stay_finite_and_zeros_stay_zeros(name):
    quant_type = QUANT_TYPES[name]
    blocks = odd_blocks(quant_type.block)
    for importance in (np.ones(quant_type.block), np.zeros(quant_type.block), np.arange(quant_type.block) * 1e6):
        held = quant_type.dequantize(quant_type.quantize(blocks, importance))
        assert np.isfinite(held).all() and not held[0].any()
