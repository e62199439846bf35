"""Our own decoder: the same numbers as transformers where layers are alike, and a folder of its own where they are
not."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch
from tiny import FAMILIES, tiny_model, tiny_varied
from transformers.models.gemma3 import modeling_gemma3

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import ModelError
from lightbulb.models.decoder import Decoder, config_for, load_decoder
from lightbulb.models.families import keep_layers
from lightbulb.models.importing import import_model
from lightbulb.models.loading import json_object, load_model, save_model
from lightbulb.models.resolve import resolve
from lightbulb.models.spec_config import spec_of_config
from lightbulb.runtimes.torch import Torch

IDS = torch.tensor([[5, 9, 300, 17, 42, 8, 11, 7, 300, 2, 99, 4, 250, 31, 6, 77, 12, 13, 200, 3]])
ROPES = {
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 10_000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
    "linear": {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0},
}


def ours(folder) -> Decoder:
    values = json_object(folder / "config.json")
    config = config_for(spec_of_config(values))
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(config, name, values[name])
    return load_decoder(folder, config)


def changed(folder, **changes):
    config = json_object(folder / "config.json")
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


@torch.no_grad()
def difference(folder) -> float:
    theirs = load_model(folder)
    assert not isinstance(theirs, Decoder)
    return (ours(folder)(IDS).logits - theirs(IDS).logits).abs().max().item()


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_transformers(tmp_path, family):
    folder = tiny_model(tmp_path / "m", family, layers=7)  # Gemma: a sixth layer that sees everything
    assert difference(folder) < 1e-4


@pytest.mark.parametrize("rope", ROPES)
def test_stretched_positions(tmp_path, rope):
    assert difference(changed(tiny_model(tmp_path / "m"), rope_parameters=ROPES[rope])) < 1e-4


def test_windows(tmp_path):
    folder = changed(tiny_model(tmp_path / "m", "mistral"), sliding_window=4)
    whole = ours(changed(tiny_model(tmp_path / "whole", "mistral"), sliding_window=None))
    assert difference(folder) < 1e-4
    assert (ours(folder)(IDS).logits - whole(IDS).logits).abs().max() > 0.1
    kinds = {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 4, "use_sliding_window": True}
    assert difference(changed(tiny_model(tmp_path / "q", "qwen3"), **kinds)) < 1e-4


def test_caps_of_scores_and_logits(tmp_path, monkeypatch):
    folder = tiny_model(tmp_path / "m", "gemma3_text")
    plain = load_model(folder)
    changed(folder, attn_logit_softcapping=0.5, final_logit_softcapping=3.0)
    theirs = load_model(folder)
    theirs.set_attn_implementation("eager")
    capped = partial(modeling_gemma3.eager_attention_forward, softcap=0.5)  # transformers' Gemma 3 never gives it on
    monkeypatch.setattr(modeling_gemma3, "eager_attention_forward", capped)
    with torch.no_grad():
        logits = ours(folder)(IDS).logits
        assert (logits - plain(IDS).logits).abs().max() > 0.1
        assert (logits - theirs(IDS).logits).abs().max() < 1e-4


def test_biases(tmp_path):
    folder = tiny_model(tmp_path / "m")
    model = load_model(folder)
    spec = spec_of_config(json_object(folder / "config.json"))
    layers = [each.model_copy(update={"biases": ("q", "k", "v", "o", "gate", "up", "down")}) for each in spec.layers]
    biased = Decoder(config_for(spec.model_copy(update={"layers": tuple(layers)}))).eval()
    biased.load_state_dict(model.state_dict(), strict=False)
    with torch.no_grad():
        for name, p in biased.named_parameters():
            if name.endswith("bias"):
                p.normal_()
    save_model(biased, folder)
    assert json_object(folder / "config.json")["attention_bias"]
    assert difference(folder) < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_as_its_family_where_layers_are_alike(tmp_path, family):
    folder = tiny_model(tmp_path / "m", family)
    save_model(ours(folder), tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    again, before = (json_object(f / "config.json") for f in (tmp_path / "again", folder))
    assert again | {"attention_bias": None} == before | {"attention_bias": None}  # Qwen 2 has some whatever it says


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_of_its_own_where_layers_differ(tmp_path, family):
    folder = tiny_varied(tmp_path / "m", family)
    model = load_model(folder)
    assert isinstance(model, Decoder) and json_object(folder / "config.json")["model_type"] == "lightbulb"
    assert dict(model.state_dict()).keys() - {"lm_head.weight"} <= model.spec.tensors.keys()
    assert sum(p.numel() for p in model.parameters()) == model.spec.parameters()
    save_model(model, tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "again")(IDS).logits, model(IDS).logits)


def test_imported_like_any_other_folder(tmp_path):
    folder = tiny_varied(tmp_path / "m")
    facts = import_model(resolve(str(folder)), tmp_path / "again")
    assert facts["layers"] == 4 and facts["parameters"] == load_model(folder).spec.parameters()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_a_layer_without_a_part_leaves_it_out(tmp_path):
    """As if what the part adds were zero."""
    folder = tiny_model(tmp_path / "m", layers=4)
    whole, spec = ours(folder), spec_of_config(json_object(folder / "config.json"))
    layers = list(spec.layers)
    layers[0], layers[2] = layers[0].without("feed_forward"), layers[2].without("mixer")
    cut = Decoder(config_for(spec.model_copy(update={"layers": tuple(layers)}))).eval()
    missing, _ = cut.load_state_dict(whole.state_dict(), strict=False)
    assert not missing
    with torch.no_grad():
        before = whole(IDS).logits
        whole.model.layers[0].mlp.down_proj.weight.zero_()
        whole.model.layers[2].self_attn.o_proj.weight.zero_()
        assert torch.allclose(cut(IDS).logits, whole(IDS).logits, atol=1e-5)
        assert not torch.allclose(cut(IDS).logits, before, atol=0.1)


def test_layers_kept_of_a_varied_model(tmp_path):
    model = load_model(tiny_varied(tmp_path / "m"))
    keep_layers(model, [2, 3])
    save_model(model, tmp_path / "cut")
    again = load_model(tmp_path / "cut")
    assert [layer.heads for layer in again.spec.layers] == [0, 6]
    with torch.no_grad():
        assert torch.equal(again(IDS).logits, model(IDS).logits)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    folder = tiny_varied(tmp_path / "m")
    config = json_object(folder / "config.json")
    config["spec"]["layers"][1]["feed_forward"] = 96
    changed(folder, spec=config["spec"])
    with pytest.raises(ModelError, match=r"layers\.1\.mlp"):
        load_model(folder)
    changed(folder, spec={"family": "llama", "layers": []})
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(folder)


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_writes_the_same_with_a_cache_with_padding_and_token_by_token(tmp_path, family):
    folder = tiny_varied(tmp_path / "m", family)
    model = load_model(folder)
    with torch.no_grad():
        expected = IDS[:, :6]
        for _ in range(20):
            expected = torch.cat([expected, model(expected).logits[:, -1:].argmax(-1)], 1)
        written = model.generate(IDS[:, :6], min_new_tokens=20, max_new_tokens=20, do_sample=False, pad_token_id=0)
    assert torch.equal(written, expected)
    runtime = Torch(Artifact(path=folder, kind="model", key="m", made_by="test", facts={}))
    prompts = ["Turn the kitchen lights off", "What's the weather like tomorrow? I can't find my card"]
    together = runtime.generate(prompts, 12).texts
    assert together == [runtime.generate([prompt], 12).texts[0] for prompt in prompts]
    alone = []
    for prompt in prompts:
        ids = torch.tensor([runtime.tokenize(prompt)])
        start = ids.shape[1]
        with torch.no_grad():
            while ids.shape[1] < start + 12 and ids[0, -1] != runtime.tokenizer.eos_token_id:
                ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], 1)
        row = ids[0, start:].tolist()
        alone.append(runtime.tokenizer.decode(row[:-1] if row[-1] == runtime.tokenizer.eos_token_id else row))
    assert together == alone
