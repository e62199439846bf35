from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_server import llama_server
from tiny import CHAT_TEMPLATE, FAMILIES, TEXT, tiny_model

from lightbulb.core.errors import ModelError, UnsupportedModel
from lightbulb.models.anatomy import keep_layers
from lightbulb.models.gguf import interleave, read_gguf, read_weights, separate, write_gguf
from lightbulb.models.loading import copy_tokenizer, load_model, load_tokenizer, save_model
from lightbulb.models.spec import spec_of_config

GRIDS = {"q8_0": GGMLQuantizationType.Q8_0, "q4_0": GGMLQuantizationType.Q4_0}
PROMPTS = ["<|im_start|>user\nTurn the lights off<|im_end|>\n", TEXT[:180], "  I can't 12345 né \n\n\n x"]


def largest_difference(folder, gguf):
    """Largest difference of log-probabilities (nats) over the prompts, among llama.cpp's ten likeliest next tokens, and
    between its likeliest token and transformers'."""
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    worst = 0.0
    with llama_server(gguf) as server:
        for prompt in PROMPTS:
            ids = tokenizer(prompt).input_ids
            with torch.no_grad():
                logprobs = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
            top = server.logprobs(ids, 10)
            best = max(top, key=top.__getitem__)
            worst = max(worst, logprobs.max().item() - logprobs[best].item())
            worst = max(worst, *(abs(logprobs[i].item() - v) for i, v in top.items()))
    return worst


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("quantization", ["f32", "f16"])
def test_llama_cpp_computes_what_transformers_computes(tmp_path, family, quantization):
    folder = tiny_model(tmp_path / "m", family)
    write_gguf(folder, tmp_path / "m.gguf", quantization)
    worst = largest_difference(folder, tmp_path / "m.gguf")
    # ggml looks GELU up in a table of halves; half-precision weights move logits a little
    assert worst < (1e-4 if quantization == "f32" and family != "gemma3_text" else 0.03)


@pytest.mark.parametrize("kept", [[1, 5], [0, 1, 5, 6], [5, 6]])
def test_gemma_layers_in_any_order_of_attention_kinds(tmp_path, kept):
    model = load_model(tiny_model(tmp_path / "m", "gemma3_text", layers=7))
    keep_layers(model, kept)
    (tmp_path / "cut").mkdir()
    copy_tokenizer(tmp_path / "m", tmp_path / "cut")
    save_model(model, tmp_path / "cut")
    write_gguf(tmp_path / "cut", tmp_path / "m.gguf", "f32")
    worst = largest_difference(tmp_path / "cut", tmp_path / "m.gguf")
    assert worst < 0.03


@pytest.mark.parametrize(
    "rope",
    [
        {
            "rope_type": "llama3",
            "rope_theta": 10_000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
        {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0},
    ],
)
def test_stretched_positions(tmp_path, rope):
    folder = tiny_model(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rope_parameters": rope}))
    write_gguf(folder, tmp_path / "m.gguf", "f32")
    worst = largest_difference(folder, tmp_path / "m.gguf")
    assert worst < 1e-4
    assert read_gguf(tmp_path / "m.gguf").has_rope_factors == (rope["rope_type"] == "llama3")


@pytest.mark.parametrize("quantization", ["bf16", "q8_0", "q4_0"])
def test_quantized_files_load_and_hold_the_rounded_weights(tmp_path, quantization):
    folder = tiny_model(tmp_path / "m")
    facts = write_gguf(folder, tmp_path / "m.gguf", quantization, metadata={"lightbulb.answers": ["a", "b"]})
    info = read_gguf(tmp_path / "m.gguf")
    config = json.loads((folder / "config.json").read_text())
    weights = read_weights(tmp_path / "m.gguf", spec_of_config(config))
    model = load_model(folder)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.from_numpy(weights[name]))
    (tmp_path / "rounded").mkdir()
    copy_tokenizer(folder, tmp_path / "rounded")
    save_model(model, tmp_path / "rounded")
    worst = largest_difference(tmp_path / "rounded", tmp_path / "m.gguf")
    assert worst < 0.3  # llama.cpp rounds activations to 8 bits too
    assert not facts["unchanged"] and facts["fallbacks"] == [] and info.quantization == facts["quantization"]
    assert info.metadata == {"lightbulb.answers": ["a", "b"]}
    again = write_gguf(
        tmp_path / "rounded", tmp_path / "again.gguf", quantization, metadata={"lightbulb.answers": ["a", "b"]}
    )
    assert again["unchanged"]
    assert (tmp_path / "again.gguf").read_bytes() == (tmp_path / "m.gguf").read_bytes()


@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1e-4, 0.02, 1.0, 300.0]), grid=st.sampled_from(sorted(GRIDS)))
@settings(max_examples=50, deadline=None)
def test_rounding_to_a_grid_twice_changes_nothing(seed, scale, grid):
    rows = np.random.default_rng(seed).normal(0, scale, (8, 64)).astype(np.float32)
    rows[0, :32] = 0
    once = dequantize(quantize(rows, GRIDS[grid]), GRIDS[grid])
    assert np.array_equal(dequantize(quantize(once, GRIDS[grid]), GRIDS[grid]), once)
    coarse_scale = 128 * 2.0**-25  # tiny scales are subnormal halves
    assert np.abs(once - rows).max() <= np.abs(rows).max() * {"q8_0": 0.005, "q4_0": 0.126}[grid] + coarse_scale


def test_the_same_folder_gives_the_same_bytes_and_stays_as_it_was(tmp_path):
    folder = tiny_model(tmp_path / "m")
    before = {f.name: f.read_bytes() for f in folder.iterdir()}
    for name in ("a", "b"):
        write_gguf(folder, tmp_path / f"{name}.gguf", "q4_0", "q8_0", {"lightbulb.task": "t"})
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
    assert {f.name: f.read_bytes() for f in folder.iterdir()} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.gguf", "b.gguf", "m"]


@pytest.mark.parametrize("tied", [True, False])
def test_the_embedding_and_head_can_be_kept_finer(tmp_path, tied):
    folder = tiny_model(tmp_path / "m", tied=tied)
    coarse = write_gguf(folder, tmp_path / "coarse.gguf", "q4_0")
    fine = write_gguf(folder, tmp_path / "fine.gguf", "q4_0", embedding="q8_0")
    assert fine["quantization"]["Q8_0"] == (1 if tied else 2) and "Q8_0" not in coarse["quantization"]
    assert 4.5 < coarse["bits_per_weight"] < fine["bits_per_weight"] < 8.5


def test_rows_that_are_no_whole_blocks_stay_at_half_precision_and_are_named(tmp_path):
    folder = tiny_model(tmp_path / "m", width=48)
    facts = write_gguf(folder, tmp_path / "m.gguf", "q4_0")
    assert "token_embd.weight" in facts["fallbacks"] and "blk.0.ffn_down.weight" not in facts["fallbacks"]
    assert facts["quantization"]["F16"] == len(facts["fallbacks"])
    worst = largest_difference(folder, tmp_path / "m.gguf")
    assert np.isfinite(worst)


def test_the_chat_template_survives_byte_for_byte(tmp_path):
    folder = tiny_model(tmp_path / "m")
    write_gguf(folder, tmp_path / "m.gguf", "f16")
    assert read_gguf(tmp_path / "m.gguf").chat_template == CHAT_TEMPLATE
    turns = [{"role": "user", "content": "Où est « la gare » ? {{ 1 }}"}]
    ours = load_tokenizer(folder).apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    with llama_server(tmp_path / "m.gguf") as server:
        assert server.post("/apply-template", messages=turns)["prompt"] == ours
    odd = "{# naïve #}{% for m in messages %}{{ m['content'] }}\r\n{% endfor %}\n"
    (folder / "chat_template.jinja").write_bytes(odd.encode())
    write_gguf(folder, tmp_path / "odd.gguf", "f16")
    assert read_gguf(tmp_path / "odd.gguf").chat_template == odd


def test_what_llama_cpp_cannot_compute_is_refused_before_writing(tmp_path):
    folder = tiny_model(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    for change in ({"hidden_act": "relu"}, {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}):
        (folder / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(UnsupportedModel):
            write_gguf(folder, tmp_path / "m.gguf", "f16")
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(ModelError, match=r"layers\.2"):
        write_gguf(folder, tmp_path / "m.gguf", "f16")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m"]


def test_a_sliding_window_that_llama_cpp_lacks_bounds_the_context(tmp_path):
    folder = tiny_model(tmp_path / "m", "mistral")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"sliding_window": 128}))
    assert write_gguf(folder, tmp_path / "m.gguf", "f16")["context_length"] == 128
    assert read_gguf(tmp_path / "m.gguf").context_length == 128


def test_interleaving_undone():
    rows = np.arange(4 * 6 * 3, dtype=np.float32).reshape(24, 3)
    assert np.array_equal(separate(interleave(rows, 4), 4), rows)
    assert interleave(np.arange(6), 1).tolist() == [0, 3, 1, 4, 2, 5]
