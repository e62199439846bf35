from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import FAMILIES, TEXT, tiny_model

from lightbulb.core.errors import ModelError, UnsupportedModel
from lightbulb.formats.gguf.tokenizer import tokenizer_fields
from lightbulb.models.gguf import write_gguf
from lightbulb.models.importing import import_model
from lightbulb.models.loading import load_model, load_tokenizer, save_model
from lightbulb.models.resolve import resolve


@pytest.mark.parametrize("family", FAMILIES)
def test_through_gguf_and_back_nothing_changes(tmp_path, family):
    folder = tiny_model(tmp_path / "m", family, layers=3)
    write_gguf(folder, tmp_path / "m.gguf", "f32")
    facts = import_model(resolve(str(tmp_path / "m.gguf")), tmp_path / "back")
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "back" / "model.safetensors")
    assert before.keys() == after.keys()
    for name in before:  # Gemma's norms go through w + 1 - 1
        assert torch.allclose(before[name], after[name], atol=2e-7 if "norm" in name else 0, rtol=0), name
    old, new = load_tokenizer(folder), load_tokenizer(tmp_path / "back")
    assert old(TEXT).input_ids == new(TEXT).input_ids
    assert old.chat_template == new.chat_template and old.eos_token == new.eos_token
    ids = torch.tensor([old(TEXT).input_ids[:100]])
    a, b = load_model(folder), load_model(tmp_path / "back")
    with torch.no_grad():
        assert torch.allclose(a(ids).logits, b(ids).logits, atol=1e-3)
    assert b.generation_config.eos_token_id == a.config.eos_token_id
    assert facts["parameters"] == sum(p.numel() for p in a.parameters())


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_saving_gives_the_same_bytes_and_a_tied_head_once(tmp_path, family):
    folder = tiny_model(tmp_path / "m", family)
    import_model(resolve(str(folder)), tmp_path / "a")
    save_model(load_model(tmp_path / "a"), tmp_path / "b")
    for name in ("model.safetensors", "config.json", "generation_config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (folder / "model.safetensors").read_bytes() == (tmp_path / "a" / "model.safetensors").read_bytes()
    tensors = load_file(tmp_path / "a" / "model.safetensors")
    assert ("lm_head.weight" in tensors) == (family == "qwen2")
    assert {t.dtype for t in tensors.values()} == {torch.float32}


def test_saving_over_the_folder_a_model_was_read_from(tmp_path):
    folder = tiny_model(tmp_path / "m")
    before = (folder / "model.safetensors").read_bytes()
    save_model(load_model(folder), folder)
    assert (folder / "model.safetensors").read_bytes() == before


def test_half_precision_folders_become_float32(tmp_path):
    folder = tiny_model(tmp_path / "m")
    tensors = {k: v.bfloat16() for k, v in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    import_model(resolve(str(folder)), tmp_path / "out")
    after = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(after[k], v.float()) for k, v in tensors.items())
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "float32"


def test_weights_that_do_not_fit_are_refused(tmp_path):
    folder = tiny_model(tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    lost = tensors.pop("model.layers.1.mlp.up_proj.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj"):
        load_model(folder)
    save_file(
        tensors | {"model.layers.1.mlp.up_proj.weight": lost[:, :8].contiguous()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(ModelError):
        load_model(folder)


def test_other_families_are_refused_before_loading(tmp_path):
    folder = tiny_model(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))
    with pytest.raises(UnsupportedModel, match="gpt2"):
        import_model(resolve(str(folder)), tmp_path / "out")


def test_a_folder_without_a_fast_tokenizer_says_how_to_write_one(tmp_path):
    folder = tiny_model(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError) as e:
        load_tokenizer(folder)
    assert "save_pretrained" in e.value.hint


def test_code_beside_a_tokenizer_is_not_named_in_the_copy(tmp_path):
    folder = tiny_model(tmp_path / "m")
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"auto_map": {"AutoTokenizer": "evil.py"}}))
    import_model(resolve(str(folder)), tmp_path / "out")
    assert "auto_map" not in json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())


def test_special_tokens_named_beside_the_config_are_exported(tmp_path):
    """As older folders have them: an exported file would not know where an answer ends."""
    folder = tiny_model(tmp_path / "m")
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text())
    special = {role: config.pop(role) for role in ("bos_token", "eos_token", "pad_token")}
    file.write_text(json.dumps(config))
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    import_model(resolve(str(folder)), tmp_path / "out")
    fields = tokenizer_fields(tmp_path / "out", 512)
    assert [fields[f"tokenizer.ggml.{role}_token_id"] for role in ("bos", "eos", "padding")] == [0, 2, 0]


def test_text_is_taught_as_gguf_runtimes_read_it(tmp_path):
    """Qwen's tokenizers compose characters first (NFC); llama.cpp does not."""
    folder = tiny_model(tmp_path / "m", "qwen2")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer | {"normalizer": {"type": "NFC"}}))
    import_model(resolve(str(folder)), tmp_path / "out")
    before, after = load_tokenizer(folder), load_tokenizer(tmp_path / "out")
    assert before(TEXT).input_ids == after(TEXT).input_ids  # which is composed
    decomposed = "cafe\u0301"
    assert after.decode(after(decomposed).input_ids) == decomposed != before.decode(before(decomposed).input_ids)


def test_what_no_gguf_can_hold_is_refused_before_any_training(tmp_path):
    folder = tiny_model(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    stretched = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0}
    (folder / "config.json").write_text(json.dumps(config | {"rope_scaling": stretched, "rope_parameters": stretched}))
    with pytest.raises(UnsupportedModel):
        import_model(resolve(str(folder)), tmp_path / "out")


def test_saved_padding_and_truncation_are_left_behind(tmp_path):
    folder = tiny_model(tmp_path / "m")
    tokenizer = load_tokenizer(folder).backend_tokenizer
    tokenizer.enable_padding(length=64)
    tokenizer.enable_truncation(8)
    tokenizer.save(str(folder / "tokenizer.json"))
    import_model(resolve(str(folder)), tmp_path / "out")
    saved = json.loads((tmp_path / "out" / "tokenizer.json").read_text())
    assert saved["padding"] is saved["truncation"] is None
