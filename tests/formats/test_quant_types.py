"""The registry of quant types: sizes as ggml's, weights as llama.cpp's, errors within what each type can hold."""

from __future__ import annotations

import platform

import numpy as np
import pytest
from gguf import GGMLQuantizationType, LlamaFileType
from gguf.constants import GGML_QUANT_SIZES
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from llama_quantize import llama_quantize

from lightbulb.formats.gguf.quant_types import QUANT_TYPES, QuantType, quant_type_of, register, writable_types
from lightbulb.testing import QuantTypeCase, QuantTypeConformance

WRITABLE = [QUANT_TYPES[name] for name in writable_types()]
ODD = st.sampled_from([0.0, -0.0, 1e-40, 6e-8, 1e-4, 6e4, -6e4, 1.0, -1.0])
FLOATS = st.one_of(st.floats(-1e4, 1e4, width=32), ODD)
# (root mean square of the error of normal weights, largest error / largest weight of the block), as each type allows
ERRORS = {"f32": (0, 0), "f16": (2.2e-4, 2**-11), "bf16": (1.7e-3, 2**-8), "q8_0": (0.0055, 1 / 230),
          "q5_0": (0.044, 1 / 15), "q4_0": (0.088, 1 / 7.9), "q4_1": (0.083, 1 / 14), "iq4_nl": (0.078, 0.21),
          "q4_k": (0.073, 0.17), "q6_k": (0.0185, 1 / 25), "tq2_0": (0.84, 0.51), "q2_k": (0.31, 0.51),
          "q3_k": (0.16, 0.3)}  # fmt: skip
LARGEST_LEVEL = {"f32": 0, "f16": 1, "bf16": 1, "q8_0": 127, "q5_0": 16, "q4_0": 8, "q4_1": 16, "iq4_nl": 127,
                 "tq2_0": 1, "q4_k": 2 * 15 * 63, "q6_k": 32 * 128, "q2_k": 2 * 3 * 15,
                 "q3_k": 4 * 32}  # fmt: skip
MOVING = {"iq4_nl": 0.02, "q3_k": 0.5}  # the scale of scales of q3_k is -32 or 31 times the largest
OURS = ("iq4_nl", "q2_k", "q3_k", "q4_k", "q6_k")  # quantizers; the others are gguf-py's


def smallest(name: str) -> float:
    """The largest weight that vanishes: steps of a half-precision scale next to 0."""
    return LARGEST_LEVEL[name] * 2.0**-24


@pytest.mark.parametrize("name", writable_types())
class TestQuantTypes(QuantTypeConformance):
    @pytest.fixture
    def case(self, name):
        return QuantTypeCase(QUANT_TYPES[name], *ERRORS[name], smallest(name), moving=MOVING.get(name, 0))


def odd_rows(width: int) -> np.ndarray:
    rows = np.random.default_rng(0).normal(0, 0.05, (40, width)).astype(np.float32)
    rows[0] = 0
    rows[1, :32] = 0
    rows[2], rows[3] = 1, -1
    rows[4, 7] = 6e4
    rows[5], rows[6] = np.abs(rows[5]), -np.abs(rows[6])
    rows[7] *= 1e-6
    rows[8] *= 1e-20
    rows[9, 16:] = 0
    rows[10] = 1e-40
    rows[11] *= 1e4
    rows[12, :16] *= 1e-6
    rows[13] = np.sign(rows[13])
    return rows


def test_the_table_is_ggml_s():
    ggml = {t.name.lower(): (t.value, *sizes) for t, sizes in GGML_QUANT_SIZES.items()}
    assert ggml == {t.name: (t.id, t.block, t.block_bytes) for t in QUANT_TYPES.values()}
    for quant_type in WRITABLE:
        stem = LlamaFileType(quant_type.file_type).name.removeprefix("MOSTLY_").removeprefix("ALL_").lower()
        assert stem.removesuffix("_s") == quant_type.name
        assert QUANT_TYPES[quant_type.fallback].fits(32) and quant_type_of(quant_type.id) is quant_type


@pytest.mark.parametrize("quant_type", WRITABLE, ids=lambda t: t.name)
@given(x=arrays(np.float32, (2, 256), elements=FLOATS))
@settings(max_examples=60, deadline=None)
def test_what_is_held_is_near(quant_type, x):
    held = quant_type.quantize_dequantize(x)
    largest = np.abs(x.reshape(-1, 32 if quant_type.block < 256 else 256)).max(axis=1)
    off = np.abs(held - x).reshape(len(largest), -1).max(axis=1)
    assert (off <= ERRORS[quant_type.name][1] * largest + smallest(quant_type.name)).all()


@pytest.mark.parametrize("name", [name for name in writable_types() if name not in OURS])
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1e-4, 0.02, 1.0, 300.0]))
@settings(max_examples=20, deadline=None)
def test_what_is_held_is_held_again(name, seed, scale):
    x = np.random.default_rng(seed).normal(0, scale, (4, 256)).astype(np.float32)
    x[0, :32] = 0
    once = QUANT_TYPES[name].quantize_dequantize(x)
    assert np.array_equal(QUANT_TYPES[name].quantize_dequantize(once), once)


@pytest.mark.parametrize("quant_type", WRITABLE, ids=lambda t: t.name)
@pytest.mark.parametrize("rows", ["normal", "heavy tails", "odd"])
def test_llama_cpp_writes_the_same_weights(quant_type, rows):
    rng = np.random.default_rng(2)
    values = {
        "normal": lambda: rng.normal(0, 0.05, (300, 512)),
        "heavy tails": lambda: rng.standard_t(3, (300, 512)),
        "odd": lambda: odd_rows(512),
    }[rows]().astype(np.float32)
    ours, theirs = quant_type.quantize(values), llama_quantize(quant_type, values)
    if quant_type.name not in OURS or platform.machine() in ("x86_64", "AMD64"):
        assert np.array_equal(quant_type.dequantize(ours), quant_type.dequantize(theirs))
    else:  # compilers for other machines fuse products and sums, and a near tie falls the other way
        same = (ours == theirs).all(axis=1).mean()
        assert same > 0.95
    if rows != "odd":  # a group whose scale is 0 has levels that mean nothing
        assert (ours == theirs).all(axis=1).mean() > 0.95


def test_a_type_that_can_only_be_read_says_so():
    with pytest.raises(ValueError, match="can be written as q5_k"):
        QUANT_TYPES["q5_k"].quantize(np.zeros((1, 256), np.float32))
    with pytest.raises(ValueError, match="can be read from i32"):
        QUANT_TYPES["i32"].dequantize(np.zeros((1, 256), np.uint8))
    with pytest.raises(ValueError, match="rows of 48 are no whole number of q4_0's blocks of 32"):
        QUANT_TYPES["q4_0"].quantize(np.zeros((1, 48), np.float32))
    assert QUANT_TYPES["q5_k"].dequantize(np.zeros((2, 176), np.uint8)).shape == (2, 256)


@pytest.mark.parametrize("name, number, fallback", [("q4_0", 200, "f16"), ("new", 2, "f16"), ("new", 200, "nothing")])
def test_a_type_that_does_not_fit_in_is_refused(name, number, fallback):
    before = dict(QUANT_TYPES)
    with pytest.raises(ValueError, match="quant type"):
        register(QuantType(name, number, 32, 16, fallback=fallback))
    assert before == QUANT_TYPES


def test_every_number_that_gguf_py_knows_is_known():
    assert all(quant_type_of(number.value) for number in GGMLQuantizationType)
    assert quant_type_of(4) is None
