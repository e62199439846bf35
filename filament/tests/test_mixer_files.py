"""Files of the architectures `matmulfree`, `lightbulb-recurrent` and `bitnet` that are cut short, damaged or hostile:
one clear error each, never a crash."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from loading import tried
from random_matmulfree import BITNET, RECURRENT, SMALL_MIXED, Fields, Tensors, write_matmulfree
from random_models import Type, damaged_headers, damaged_weights


def without(name: str) -> Callable[[Fields, Tensors], None]:
    return lambda fields, tensors: void(tensors.pop(name))


def field(name: str, value) -> Callable[[Fields, Tensors], None]:
    return lambda fields, tensors: fields.update({name: value})


def no_field(name: str) -> Callable[[Fields, Tensors], None]:
    return lambda fields, tensors: void(fields.pop(name))


def vector(name: str, values) -> Callable[[Fields, Tensors], None]:
    array = np.asarray(values, np.float32)
    return lambda fields, tensors: tensors.update({name: (array, Type.F32, array.shape)})


def ternary(name: str, rows: int, columns: int) -> Callable[[Fields, Tensors], None]:
    data = np.zeros(rows * columns // 256 * 66, np.uint8)
    return lambda fields, tensors: tensors.update({name: (data, Type.TQ2_0, (rows, columns))})


def void(_) -> None:
    """Of what is called for its effect."""


ATTENTION = [
    (no_field("attention.head_count"), "attention.head_count is missing"),
    (field("attention.head_count_kv", 0), "on 0 of keys"),
    (field("attention.head_count", 3), "does not have 384 rows"),
    (field("attention.key_length", 127), "heads of width 127"),
    (field("attention.key_length", 1 << 20), "heads of width 1048576"),
    (field("attention.value_length", 64), "keys and values of different widths"),
    (field("rope.dimension_count", 64), "positions that turn a part of a head only"),
]
SIZES = [
    (field("vocab_size", 17), "does not fit {}.vocab_size"),
    (field("feed_forward_length", 512), "does not have 512 rows"),
    (field("embedding_length", 512), "does not fit {}.embedding_length"),
    (field("block_count", 0), "block_count"),
    (field("block_count", "two"), "{}.block_count"),
    (field("block_count", 1 << 30), "{}.block_count cannot be 1073741824"),
    (field("block_count", 5000), "a model of 5000 layers"),
]
MIXERS = [
    (field("mixer", ["mlgru", "mamba"]), "mixers of the kind mamba cannot be run; these can: mlgru, attention"),
    (field("mixer", ["mlgru"]), "names 1 layers, not the model's 2"),
    (field("mixer", ["mlgru"] * 3), "names 3 layers, not the model's 2"),
    (field("mixer", "mlgru"), "{}.mixer is no list of texts"),
    (field("mixer", [0, 1]), "{}.mixer is no list of texts"),
    (no_field("mixer"), "{}.mixer is missing"),
    (field("attention.head_count", [2, 0]), "heads cannot be 0"),
    (field("block_count", 1), "names 2 layers"),
]
HOSTILE = {
    "matmulfree": [
        *MIXERS, *SIZES, *ATTENTION,
        *[(without(f"{name}.weight"), f"{name}.weight is missing") for name in (
            "blk.0.attn_norm", "blk.0.mix_f", "blk.0.mix_c", "blk.0.mix_g", "blk.0.mix_lower", "blk.0.mix_out_norm",
            "blk.0.mix_out", "blk.1.attn_q", "blk.1.attn_out_norm", "blk.1.ffn_norm", "blk.1.ffn_down_norm",
            "output_norm", "token_embd",
        )],
        (ternary("blk.0.mix_f.weight", 512, 256), "mix_f.weight does not have 256 rows"),
        (ternary("blk.0.mix_g.weight", 256, 512), "mix_g.weight does not have 256 columns"),
        (ternary("blk.0.mix_c.weight", 256, 250), "rows of 250 weights are not whole blocks of TQ2_0"),
        (vector("blk.0.mix_lower.weight", np.zeros(255)), "mix_lower.weight does not have 256 entries"),
        (vector("blk.0.mix_out_norm.weight", np.ones(16)), "mix_out_norm.weight does not have 256 entries"),
        (vector("blk.1.ffn_down_norm.weight", np.ones(512)), "ffn_down_norm.weight does not have 256 entries"),
        (vector("blk.0.mix_lower.weight", np.full(256, 1.0)), "not from 0 to below 1"),
        (vector("blk.0.mix_lower.weight", np.full(256, -0.1)), "not from 0 to below 1"),
        (vector("blk.0.mix_lower.weight", np.full(256, np.nan)), "not from 0 to below 1"),
        (vector("blk.0.mix_h.weight", np.ones(256)), "the tensor blk.0.mix_h.weight has no place in this model"),
    ],
    RECURRENT: [
        *MIXERS, *SIZES, *ATTENTION,
        *[(without(f"{name}.weight"), f"{name}.weight is missing") for name in (
            "blk.0.attn_norm", "blk.0.mix_f", "blk.0.mix_c", "blk.0.mix_g", "blk.0.mix_out", "blk.1.attn_k",
            "blk.1.ffn_norm", "blk.1.ffn_up", "output_norm", "token_embd",
        )],
        (ternary("blk.0.mix_f.weight", 512, 256), "mix_f.weight does not have 256 rows"),
        (ternary("blk.0.mix_out.weight", 256, 512), "mix_out.weight does not have 256 columns"),
        (vector("blk.0.mix_f.bias", np.zeros(255)), "mix_f.bias does not have 256 entries"),
        (vector("blk.0.mix_lower.weight", np.full(256, 2.0)), "not from 0 to below 1"),
        (vector("blk.1.ffn_down_norm.weight", np.ones(256)), "the tensor blk.1.ffn_down_norm.weight has no place"),
        (vector("blk.0.mix_h.weight", np.ones(256)), "the tensor blk.0.mix_h.weight has no place in this model"),
    ],
    BITNET: [
        *SIZES, *ATTENTION,
        (field("attention.head_count", [2, 0]), "the tensor blk.1.attn_k.weight has no place in this model"),
        (field("block_count", 1), "the tensor blk.1.attn_k.weight has no place in this model"),
        (field("block_count", 3), "blk.2.attn_q.weight is missing"),
        *[(without(f"{name}.weight"), f"{name}.weight is missing") for name in (
            "blk.0.attn_norm", "blk.0.attn_q", "blk.0.attn_v", "blk.0.attn_sub_norm", "blk.0.attn_output",
            "blk.1.ffn_norm", "blk.1.ffn_gate", "blk.1.ffn_sub_norm", "blk.1.ffn_down", "output_norm", "token_embd",
        )],
        (ternary("blk.0.attn_q.weight", 512, 256), "attn_q.weight does not have 256 rows"),
        (ternary("blk.0.ffn_down.weight", 256, 512), "ffn_down.weight does not have 256 columns"),
        (vector("blk.0.attn_sub_norm.weight", np.ones(128)), "attn_sub_norm.weight does not have 256 entries"),
        (vector("blk.1.ffn_sub_norm.weight", np.ones(512)), "ffn_sub_norm.weight does not have 256 entries"),
        (vector("blk.0.attn_out_norm.weight", np.ones(256)), "the tensor blk.0.attn_out_norm.weight has no place"),
    ],
}  # fmt: skip
CASES = [(name, change, said.format(name)) for name, cases in HOSTILE.items() for change, said in cases]


@pytest.mark.parametrize(("name", "change", "said"), CASES, ids=[f"{name}: {said}" for name, _, said in CASES])
def test_what_does_not_fit_is_refused(tmp_path, name, change, said):
    path = write_matmulfree(tmp_path / "m.gguf", SMALL_MIXED[name], change=change)
    assert said in (error := tried(path) or "works") and str(path) in error


@pytest.mark.parametrize("name", SMALL_MIXED)
def test_a_file_cut_anywhere_is_refused(tmp_path, name):
    whole = write_matmulfree(tmp_path / "m.gguf", SMALL_MIXED[name]).read_bytes()
    cut = tmp_path / "cut.gguf"
    assert tried(tmp_path / "m.gguf") is None
    for length in [*range(0, 2000, 97), *range(2000, len(whole) - 40, len(whole) // 40)]:
        cut.write_bytes(whole[:length])
        assert (said := tried(cut)) and str(cut) in said


@pytest.mark.parametrize("name", SMALL_MIXED)
def test_damage_gives_numbers_or_one_error(tmp_path, name):
    whole = write_matmulfree(tmp_path / "m.gguf", SMALL_MIXED[name]).read_bytes()
    damaged, refused = tmp_path / "damaged.gguf", 0
    for content in damaged_headers(whole, 300):
        damaged.write_bytes(content)
        refused += tried(damaged) is not None
    assert refused > 100
    for content in damaged_weights(whole, 100):
        damaged.write_bytes(content)
        said = tried(damaged)
        assert said is None or "weights are damaged" in said or str(damaged) in said
