"""Fake quantization on tensors: bit for bit what a file of the type holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lightbulb.formats.gguf.quant_types import QUANT_TYPES, writable_types
from lightbulb.train.quantized import ON_TENSORS, quantize_dequantize

ODD = st.sampled_from([0.0, -0.0, 1e-40, -1e-45, 6e-8, 65504.0, 1.0, -1.0])
FLOATS = st.one_of(st.floats(-1e4, 1e4, width=32), ODD)


@pytest.mark.parametrize("name", ON_TENSORS)
@given(w=arrays(np.float32, st.tuples(st.integers(1, 3), st.sampled_from([32, 64])), elements=FLOATS))
def test_as_the_reference(name, w):
    ours = quantize_dequantize(torch.from_numpy(w.copy()), name).numpy()
    assert np.array_equal(ours, QUANT_TYPES[name].quantize_dequantize(w))


@pytest.mark.parametrize("name", ON_TENSORS)
def test_as_the_reference_on_a_real_sort_of_matrix(name):
    w = 0.05 * torch.randn(64, 96, generator=torch.Generator().manual_seed(0))
    ours = quantize_dequantize(w, name)
    assert np.array_equal(ours.numpy(), QUANT_TYPES[name].quantize_dequantize(w.numpy()))
    assert torch.equal(quantize_dequantize(ours, name), ours) or name == "q8_0"
    assert (ours - w).abs().max() < {"q8_0": 0.002, "q4_0": 0.03}[name]


@pytest.mark.parametrize("name", writable_types())
def test_shape_and_dtype_stay(name):
    block = QUANT_TYPES[name].block
    w = torch.randn(2, 3, block, dtype=torch.bfloat16)
    held = quantize_dequantize(w, name)
    assert held.shape == w.shape and held.dtype == torch.bfloat16
    assert not quantize_dequantize(torch.zeros(1, block), name).any()
    if block > 1:
        with pytest.raises(ValueError, match=rf"{block + 1} (is|are) no"):
            quantize_dequantize(torch.randn(2, block + 1), name)
