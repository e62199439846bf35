"""Folders that are no float checkpoint of a language model are named, with what to give instead."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tiny import tiny_model

from lightbulb.api import validate_model
from lightbulb.core.errors import ModelError


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("whole") / "model")


@pytest.fixture
def model(whole, tmp_path) -> Path:
    """A copy that may be spoilt."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def config_with(folder: Path, **more) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | more))


def refused(folder: Path) -> str:
    with pytest.raises(ModelError) as e:
        validate_model(str(folder))
    assert e.value.hint and str(folder) in (e.value.where or "")
    return str(e.value)


@pytest.mark.parametrize(
    "said",
    [
        {"quantization_config": {"quant_method": "gptq", "bits": 4}},
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
        {"quantization_config": {"quant_method": "compressed-tensors"}},
        {"quantization_config": {"quant_method": "fp8"}},
        {"quantization_config": {"quant_method": "mxfp4"}},
        {"quantization_config": {"quant_algo": "NVFP4"}},
        {"quantization": {"group_size": 64, "bits": 4}},
        {"text_config": {"quantization_config": {"quant_method": "aqlm"}}},
    ],
)
def test_quantized_checkpoints_are_named_with_their_method(model, said):
    config_with(model, **said)
    inner = next(iter(said.values()))
    inner = inner.get("quantization_config", inner)
    message = refused(model)
    assert (inner.get("quant_method") or inner.get("quant_algo") or "MLX") in message and "float checkpoint" in message


def test_an_empty_word_on_quantization_is_none(model):
    config_with(model, quantization_config=None)
    assert validate_model(str(model)).path == model


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "float8_e4m3fn"])
def test_packed_weights_are_quantized_whatever_the_config_says(model, dtype):
    import torch

    state = load_file(model / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    save_file(state | {name: state[name].to(getattr(torch, dtype))}, model / "model.safetensors")
    assert "quantized" in refused(model)


def test_an_adapter_is_named_with_its_base_and_how_to_merge_it(tmp_path, whole):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/base"}))
    shutil.copyfile(whole / "model.safetensors", tmp_path / "adapter_model.safetensors")
    message = refused(tmp_path)
    assert "adapter" in message and "org/base" in message and "merge_and_unload" in message


def test_an_adapter_beside_a_whole_model_is_not_put_on_it_in_silence(model):
    (model / "adapter_config.json").write_text("{}")
    assert "adapter" in refused(model)


@pytest.mark.parametrize(
    "file, what",
    [
        ("model.onnx", "ONNX"),
        ("onnx/model.onnx", "ONNX"),
        ("openvino_model.xml", "OpenVINO"),
        ("weights.npz", "MLX"),
        ("model_index.json", "diffusers"),
        ("rank0.engine", "TensorRT"),
        ("params.json", "params.json"),
        ("tf_model.h5", "Keras"),
        ("flax_model.msgpack", "Flax"),
    ],
)
def test_what_other_programs_write(model, file, what):
    (model / "model.safetensors").unlink()
    (model / file).parent.mkdir(exist_ok=True)
    (model / file).write_bytes(b"x")
    assert what in refused(model)


def test_an_export_beside_a_whole_checkpoint_is_no_hindrance(model):
    (model / "onnx").mkdir()
    (model / "onnx" / "model.onnx").write_bytes(b"x")
    assert validate_model(str(model)).path == model


def test_a_model_of_vectors_is_none_that_writes(model):
    (model / "modules.json").write_text("[]")
    assert "sentence-transformers" in refused(model)


@pytest.mark.parametrize(
    "architecture", ["LlamaForSequenceClassification", "LlamaModel", "LlamaForTokenClassification"]
)
def test_architectures_that_do_not_write(model, architecture):
    config_with(model, architectures=[architecture])
    assert architecture in refused(model)


def test_several_ggufs_are_named_one_by_one(tmp_path):
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    assert "2 GGUF files" in refused(tmp_path) and "a.gguf" in refused(tmp_path)


def test_a_token_without_a_row_is_named_with_what_to_type(model):
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    tokenizer["added_tokens"].append({"id": 512, "content": "[PAD]", "special": True, **flags})
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    message = refused(model)
    assert "'[PAD]'" in message and "resize_token_embeddings(513)" in message and "tokenizer.json" in message


def test_rows_beyond_the_tokenizer_are_no_hindrance(tmp_path):
    folder = tiny_model(tmp_path / "model", vocabulary=500)  # padded to 504 rows
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    assert len(tokenizer["model"]["vocab"]) < json.loads((folder / "config.json").read_text())["vocab_size"]
    assert validate_model(str(folder)).path == folder
