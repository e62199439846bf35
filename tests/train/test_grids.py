"""The block grids, bit for bit as gguf-py's reference quantizers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lightbulb.ops.grids import round_to_grid

TYPES = {"q8_0": GGMLQuantizationType.Q8_0, "q4_0": GGMLQuantizationType.Q4_0}
ODD = st.sampled_from([0.0, -0.0, 1e-40, -1e-45, 6e-8, 65504.0, 1.0, -1.0])
FLOATS = st.one_of(st.floats(-1e4, 1e4, width=32), ODD)


def reference(w: np.ndarray, grid: str) -> np.ndarray:
    with np.errstate(all="ignore"):  # it divides by denormals; those scales are 0 in the file
        return dequantize(quantize(w, TYPES[grid]), TYPES[grid])


@pytest.mark.parametrize("grid", TYPES)
@given(w=arrays(np.float32, st.tuples(st.integers(1, 3), st.sampled_from([32, 64])), elements=FLOATS))
def test_as_the_reference(grid, w):
    ours = round_to_grid(torch.from_numpy(w.copy()), grid).numpy()
    assert np.array_equal(ours, reference(w, grid))


@pytest.mark.parametrize("grid", TYPES)
def test_as_the_reference_on_a_real_sort_of_matrix(grid):
    w = 0.05 * torch.randn(64, 96, generator=torch.Generator().manual_seed(0))
    ours = round_to_grid(w, grid)
    assert np.array_equal(ours.numpy(), reference(w.numpy(), grid))
    assert torch.equal(round_to_grid(ours, grid), ours) or grid == "q8_0"
    assert (ours - w).abs().max() < {"q8_0": 0.002, "q4_0": 0.03}[grid]


@pytest.mark.parametrize("grid", TYPES)
def test_shape_and_type_stay(grid):
    w = torch.randn(2, 3, 32, dtype=torch.bfloat16)
    assert round_to_grid(w, grid).shape == w.shape and round_to_grid(w, grid).dtype == torch.bfloat16
    assert not round_to_grid(torch.zeros(1, 32), grid).any()
    with pytest.raises(ValueError, match="not a multiple of 32"):
        round_to_grid(torch.randn(2, 33), grid)
