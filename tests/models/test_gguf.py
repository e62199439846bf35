from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from llama_server import llama_server
from tiny import CHAT_TEMPLATE, FAMILIES, TEXT, tiny_model

from lightbulb.core.errors import ModelError, UnsupportedModel
from lightbulb.formats.gguf.header import read_header
from lightbulb.formats.gguf.quant_types import QUANT_TYPES, QuantType, register, writable_types
from lightbulb.formats.gguf.type_map import TypeMap
from lightbulb.models.families import keep_layers
from lightbulb.models.gguf import interleave, read_weights, separate, write_gguf
from lightbulb.models.gguf_info import read_gguf
from lightbulb.models.loading import copy_tokenizer, load_model, load_tokenizer, save_model
from lightbulb.models.spec_config import spec_of_config

PROMPTS = ["<|im_start|>user\nTurn the lights off<|im_end|>\n", TEXT[:180], "  I can't 12345 né \n\n\n x"]


EXACT = ("bf16", "q8_0", "q5_0", "q4_0", "q4_1", "tq2_0")  # types that hold what they held before


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


@pytest.mark.parametrize("name", [name for name in writable_types() if name not in ("f32", "f16")])
def test_quantized_files_load_and_hold_the_rounded_weights(tmp_path, name):
    folder = tiny_model(tmp_path / "m", width=max(64, QUANT_TYPES[name].block))
    facts = write_gguf(folder, tmp_path / "m.gguf", name, metadata={"lightbulb.answers": ["a", "b"]})
    info = read_gguf(tmp_path / "m.gguf")
    rounded = rounded_model(folder, tmp_path / "m.gguf", tmp_path / "rounded")
    worst = largest_difference(rounded, tmp_path / "m.gguf")
    assert worst < 0.3  # llama.cpp rounds activations to 8 bits too
    assert not facts["unchanged"] and facts["fallbacks"] == [] and info.quantization == facts["quantization"]
    assert set(info.quantization) == {"F32", name.upper()} and info.metadata == {"lightbulb.answers": ["a", "b"]}
    if name in EXACT:
        again = write_gguf(rounded, tmp_path / "again.gguf", name, metadata={"lightbulb.answers": ["a", "b"]})
        assert again["unchanged"]
        assert (tmp_path / "again.gguf").read_bytes() == (tmp_path / "m.gguf").read_bytes()


def rounded_model(folder, gguf, out):
    """The model with the weights that the file holds."""
    config = json.loads((folder / "config.json").read_text())
    weights = read_weights(gguf, spec_of_config(config))
    model = load_model(folder)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.from_numpy(weights[name]))
    out.mkdir()
    copy_tokenizer(folder, out)
    save_model(model, out)
    return out


def test_types_by_role(tmp_path):
    folder = tiny_model(tmp_path / "m", width=256)
    types = TypeMap("q4_k", {"embedding": "q6_k", "attention.v": "q8_0", "feed_forward.down": "iq4_nl"})
    facts = write_gguf(folder, tmp_path / "m.gguf", types)
    held = {t.name: t.type for t in read_header(tmp_path / "m.gguf").tensors}
    for tensor, name in (
        ("token_embd", "q6_k"),
        ("blk.1.attn_v", "q8_0"),
        ("blk.0.ffn_down", "iq4_nl"),
        ("blk.0.ffn_up", "q4_k"),
        ("blk.1.attn_norm", "f32"),
    ):
        assert held[f"{tensor}.weight"] == QUANT_TYPES[name].id
    assert facts["fallbacks"] == []
    assert largest_difference(rounded_model(folder, tmp_path / "m.gguf", tmp_path / "r"), tmp_path / "m.gguf") < 0.3


def test_a_type_that_was_registered_is_written_and_read(tmp_path):
    def pack(rows):
        return np.clip(np.rint(rows * 16), -127, 127).astype(np.int8).view(np.uint8)

    def unpack(packed):
        return packed.view(np.int8).astype(np.float32) / 16

    register(QuantType("sixteenths", 999, 8, 8, pack, unpack, runtimes=()))
    try:
        folder = tiny_model(tmp_path / "m")
        facts = write_gguf(folder, tmp_path / "m.gguf", "sixteenths")
        again = write_gguf(
            rounded_model(folder, tmp_path / "m.gguf", tmp_path / "r"), tmp_path / "n.gguf", "sixteenths"
        )
        assert "SIXTEENTHS" in facts["quantization"] and not facts["unchanged"] and again["unchanged"]
    finally:
        QUANT_TYPES.pop("sixteenths")
    with pytest.raises(ModelError, match="type 999"):
        read_gguf(tmp_path / "m.gguf")


def test_the_same_folder_gives_the_same_bytes_and_stays_as_it_was(tmp_path):
    folder = tiny_model(tmp_path / "m")
    before = {f.name: f.read_bytes() for f in folder.iterdir()}
    for name in ("a", "b"):
        write_gguf(folder, tmp_path / f"{name}.gguf", TypeMap.of("q4_0", "q8_0"), {"lightbulb.task": "t"})
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
    assert {f.name: f.read_bytes() for f in folder.iterdir()} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.gguf", "b.gguf", "m"]


@pytest.mark.parametrize("tied", [True, False])
def test_the_embedding_and_head_can_be_kept_finer(tmp_path, tied):
    folder = tiny_model(tmp_path / "m", tied=tied)
    coarse = write_gguf(folder, tmp_path / "coarse.gguf", "q4_0")
    fine = write_gguf(folder, tmp_path / "fine.gguf", TypeMap.of("q4_0", "q8_0"))
    assert fine["quantization"]["Q8_0"] == (1 if tied else 2) and "Q8_0" not in coarse["quantization"]
    assert 4.5 < coarse["bits_per_weight"] < fine["bits_per_weight"] < 8.5


def test_rows_that_are_no_whole_blocks_get_the_fallback_and_are_named(tmp_path):
    folder = tiny_model(tmp_path / "m", width=48)
    facts = write_gguf(folder, tmp_path / "m.gguf", "q4_0")
    assert "token_embd.weight" in facts["fallbacks"] and "blk.0.ffn_down.weight" not in facts["fallbacks"]
    assert facts["quantization"]["F16"] == len(facts["fallbacks"])
    worst = largest_difference(folder, tmp_path / "m.gguf")
    assert np.isfinite(worst)
    wider = write_gguf(tiny_model(tmp_path / "w", width=128), tmp_path / "w.gguf", TypeMap.of("q4_k", "q6_k"))
    assert wider["quantization"] == {"F32": 5, "Q5_0": 12, "Q8_0": 1, "Q4_K": 2}  # llama.cpp chooses the same
    assert len(wider["fallbacks"]) == 13 and "blk.0.ffn_down.weight" not in wider["fallbacks"]


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
    with pytest.raises(ValueError, match="cannot be written as q5_k"):
        write_gguf(folder, tmp_path / "m.gguf", "q5_k")
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
