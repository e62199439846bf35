"""The one description of a model against what transformers builds and what the exporter writes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from tiny import FAMILIES, tiny_model, tiny_varied

from lightbulb.formats.gguf.header import read_header
from lightbulb.formats.gguf.type_map import TypeMap
from lightbulb.models.gguf import weight_bytes, write_gguf
from lightbulb.models.gguf_shape import spec_of_gguf
from lightbulb.models.loading import json_object, load_model
from lightbulb.models.spec import LayerSpec, ModelSpec, Rope
from lightbulb.models.spec_config import config_of, spec_of_config

LAYER = LayerSpec(heads=4, kv_heads=2, head_width=16, feed_forward=128, norms=("attn_norm", "ffn_norm"))


def spec_in(folder) -> ModelSpec:
    return spec_of_config(json_object(folder / "config.json"))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_tensors_are_those_of_transformers(tmp_path, family, tied):
    folder = tiny_model(tmp_path / "m", family, layers=3, tied=tied)
    model, spec = load_model(folder), spec_in(folder)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert spec.tensors == shapes
    assert spec.parameters() == sum(p.numel() for p in model.parameters())
    layer = model.model.layers[0]
    assert spec.layers[0].parameters(spec.width) == sum(p.numel() for p in layer.parameters())


@pytest.mark.parametrize(
    "types", [TypeMap("f32"), TypeMap("q8_0"), TypeMap.of("q4_0", "q8_0"), TypeMap("q4_k", {"attention.v": "f16"})]
)
@pytest.mark.parametrize("make", [tiny_model, partial(tiny_model, width=48), tiny_varied])
def test_bytes_are_those_of_the_file(tmp_path, types, make):
    folder = make(tmp_path / "m")
    write_gguf(folder, tmp_path / "m.gguf", types)
    written = sum(tensor.bytes for tensor in read_header(tmp_path / "m.gguf").tensors)
    assert weight_bytes(spec_in(folder), types) == written


@pytest.mark.parametrize("family", FAMILIES)
def test_a_config_and_a_spec_say_the_same(tmp_path, family):
    spec = spec_in(tiny_model(tmp_path / "m", family, layers=7))
    values = config_of(spec)
    assert values["model_type"] == family and spec_of_config(values) == spec
    assert ModelSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "mistral"])  # which a file calls llama
def test_a_file_says_what_the_config_said(tmp_path, family):
    folder = tiny_model(tmp_path / "m", family, layers=7)
    write_gguf(folder, tmp_path / "m.gguf", "f16")
    said, written = spec_in(folder), spec_of_gguf(read_header(tmp_path / "m.gguf"))
    assert written.epsilon == pytest.approx(said.epsilon)  # a file holds single precision
    assert written.model_copy(update={"epsilon": said.epsilon}) == said


def test_a_config_of_layers_that_differ_is_ours(tmp_path):
    spec = spec_in(tiny_varied(tmp_path / "m"))
    values = config_of(spec)
    assert values["model_type"] == "lightbulb" and spec_of_config(values) == spec and not spec.alike
    assert [layer.mixer for layer in spec.layers] == ["attention", "attention", "none", "attention"]


def test_only_some_layers_of_gemma_have_their_own_positions(tmp_path):
    spec = spec_in(tiny_model(tmp_path / "m", "gemma3_text", layers=7))
    assert [layer.slides for layer in spec.layers] == [True] * 5 + [False, True]
    assert spec.alike and spec.rope_of(spec.layers[0]) != spec.rope_of(spec.layers[5]) == spec.rope
    assert spec.embedding_scale == 8.0


def test_a_layer_without_a_part_has_fewer_weights():
    whole, width = LAYER.parameters(64), 64
    assert whole == 2 * 64 * 64 + 2 * 32 * 64 + 3 * 128 * 64 + 2 * 64
    assert LAYER.without("mixer").parameters(width) == 3 * 128 * 64 + 64
    assert LAYER.without("feed_forward").parameters(width) == whole - 3 * 128 * 64 - 64
    with pytest.raises(ValueError, match="needs a feed-forward"):
        LAYER.without("mixer").without("feed_forward")


@pytest.mark.parametrize("changes", [{"kv_heads": 3}, {"heads": 0}, {"feed_forward": 0}, {"mixer": "none"}])
def test_impossible_layers_are_refused(changes):
    with pytest.raises(ValueError):
        LayerSpec(**LAYER.model_dump() | changes)


@pytest.mark.parametrize(
    "changes", [{"layers": ()}, {"family": "mamba"}, {"tied": True, "vocabulary_out": 8}, {"width": 0}]
)
def test_impossible_models_are_refused(changes):
    plain = {"family": "llama", "width": 64, "vocabulary": 512, "vocabulary_out": 512, "tied": False, "context": 512,
             "epsilon": 1e-6, "rope": Rope(), "layers": (LAYER,)}  # fmt: skip
    assert ModelSpec(**plain).layers == (LAYER,)
    with pytest.raises(ValueError):
        ModelSpec(**plain | changes)


def test_llama_3_slows_long_waves_only():
    rope = Rope(kind="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_context=64)
    divisors = rope.divisors(64)
    assert divisors[0] == 1.0 and divisors[-1] == 8.0 and np.all(np.diff(divisors) >= 0)
    assert np.allclose(rope.frequencies(64), Rope().frequencies(64) / divisors)
    assert Rope().divisors(64) is None
