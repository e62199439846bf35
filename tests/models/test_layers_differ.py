"""GGUF files of models whose layers differ: written, run by stock llama.cpp and filament, and read back."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from llama_server import llama_server
from tiny import TEXT, tiny_varied

from lightbulb.core.errors import UnsupportedModel
from lightbulb.formats.gguf.header import read_header
from lightbulb.models.families import OWN
from lightbulb.models.gguf import write_gguf
from lightbulb.models.gguf_info import read_gguf
from lightbulb.models.gguf_shape import spec_of_gguf
from lightbulb.models.importing import import_model
from lightbulb.models.loading import json_object, load_model, load_tokenizer
from lightbulb.models.resolve import check_family, resolve

PROMPTS = ["Turn the kitchen lights off at 7:45", TEXT[:180]]
ARCHITECTURE = {"llama": "deci", "mistral": "deci", "qwen2": "deci", "qwen3": "openelm"}


def varied(folder, family, **changes):
    tied = {"tied": True} if family == "qwen3" else {}  # openelm has no head of its own
    return tiny_varied(folder, family, **tied, **changes)


@torch.no_grad()
def log_probabilities(folder, prompt: str) -> tuple[list[int], torch.Tensor]:
    """Tokens of the prompt, and what our decoder says of the next one."""
    ids = load_tokenizer(folder)(prompt).input_ids
    return ids, load_model(folder)(torch.tensor([ids])).logits[0, -1].log_softmax(-1)


@pytest.mark.parametrize("family", ARCHITECTURE)
def test_stock_llama_cpp_computes_the_same(tmp_path, family):
    folder, file = varied(tmp_path / "m", family), tmp_path / "m.gguf"
    facts = write_gguf(folder, file, "f32")
    assert facts["architecture"] == ARCHITECTURE[family] == read_gguf(file).architecture
    with llama_server(file) as server:
        for prompt in PROMPTS:
            ids, expected = log_probabilities(folder, prompt)
            found = server.logprobs(ids, 10)
            assert int(expected.argmax()) in found
            assert max(abs(expected[i].item() - value) for i, value in found.items()) < 1e-4


@pytest.mark.parametrize("family", ARCHITECTURE)
def test_filament_computes_the_same(tmp_path, family):
    if importlib.util.find_spec("lightbulb_filament") is None:
        pytest.skip("filament is not built")
    from lightbulb.runtimes.filament import Filament

    folder, file = varied(tmp_path / "m", family), tmp_path / "m.gguf"
    write_gguf(folder, file, "f32")
    runtime = Filament(file, threads=1, slots=1, context=512)
    try:
        for prompt in PROMPTS:
            ids, expected = log_probabilities(folder, prompt)
            found = runtime.score_next(ids, None, 17)
            assert found.likeliest == int(expected.argmax())
            assert found.log_prob == pytest.approx(expected[17].item(), abs=0.15)  # it rounds what it multiplies
    finally:
        runtime.close()


@pytest.mark.parametrize("family", ARCHITECTURE)
def test_read_back_as_it_was(tmp_path, family):
    folder, file = varied(tmp_path / "m", family), tmp_path / "m.gguf"
    write_gguf(folder, file, "f32")
    assert check_family(resolve(str(file))) == ARCHITECTURE[family]
    facts = import_model(resolve(str(file)), tmp_path / "again")
    model, again = load_model(folder), load_model(tmp_path / "again")
    assert json_object(tmp_path / "again" / "config.json")["model_type"] == OWN
    layers = tuple(each.model_copy(update={"slides": False}) for each in model.spec.layers)  # the context is as short
    assert again.spec.layers == layers == spec_of_gguf(read_header(file)).layers
    assert facts["parameters"] == model.spec.parameters() == read_gguf(file).parameters
    ids = torch.tensor([load_tokenizer(folder)(PROMPTS[0]).input_ids])
    with torch.no_grad():
        assert torch.equal(again(ids).logits, model(ids).logits)
    write_gguf(tmp_path / "again", tmp_path / "twice.gguf", "f32")
    assert (tmp_path / "twice.gguf").read_bytes() == file.read_bytes()


def test_llama_3_positions_of_a_varied_model(tmp_path):
    rope = {"kind": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_context": 64}
    folder, file = varied(tmp_path / "m", "llama", rope=rope), tmp_path / "m.gguf"
    write_gguf(folder, file, "f32")
    with llama_server(file) as server:
        ids, expected = log_probabilities(folder, PROMPTS[1])
        assert max(abs(expected[i].item() - value) for i, value in server.logprobs(ids, 10).items()) < 1e-4


def test_a_file_of_layers_that_are_alike_opens_as_the_family(tmp_path):
    folder, file = varied(tmp_path / "m", "llama"), tmp_path / "m.gguf"
    layers = [load_model(folder).spec.layers[1].model_dump()] * 3
    write_gguf(varied(tmp_path / "alike", "llama", layers=layers), file, "f32")
    assert read_gguf(file).architecture == "llama"
    import_model(resolve(str(file)), tmp_path / "again")
    assert json_object(tmp_path / "again" / "config.json")["model_type"] == "llama"


def without(part, index):
    def change(layers):
        return [layer.without(part) if n == index else layer for n, layer in enumerate(layers)]

    return change


@pytest.mark.parametrize(
    "family, changes, reason",
    [
        ("llama", without("mixer", 0), "deci cannot compute a first layer without attention"),
        ("llama", without("feed_forward", 1), "llama cannot compute a layer without a feed-forward"),
        ("qwen3", without("mixer", 1), "openelm cannot compute a layer without attention"),
        ("gemma3_text", without("mixer", 1), "no architecture for a gemma3_text whose layers differ"),
    ],
)
def test_what_no_file_can_hold_is_refused_before_writing(tmp_path, family, changes, reason):
    layers = changes(load_model(varied(tmp_path / "all", family)).spec.layers)
    folder = varied(tmp_path / "m", family, layers=[layer.model_dump() for layer in layers])
    with pytest.raises(UnsupportedModel, match=reason):
        write_gguf(folder, tmp_path / "m.gguf", "f16")
    assert not (tmp_path / "m.gguf").exists()


def test_openelm_has_no_head_of_its_own(tmp_path):
    folder = tiny_varied(tmp_path / "m", "qwen3", tied=False)
    with pytest.raises(UnsupportedModel, match="openelm cannot compute a head of its own"):
        write_gguf(folder, tmp_path / "m.gguf", "f16")


def test_attention_without_keys_is_not_read_back(tmp_path):
    folder, file = varied(tmp_path / "m", "llama"), tmp_path / "m.gguf"
    write_gguf(folder, file, "f32")
    header = read_header(file)
    header.fields["deci.attention.head_count_kv"][1] = 0
    with pytest.raises(UnsupportedModel, match="layer 1 of this GGUF has heads without keys"):
        spec_of_gguf(header)
