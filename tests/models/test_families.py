from __future__ import annotations

import pytest
import torch
from tiny import FAMILIES, tiny_model

from lightbulb.core.errors import UnsupportedModel
from lightbulb.models.families import architecture_spec, embedding_of, final_norm_of, keep_layers, layers_of, part
from lightbulb.models.loading import load_model, save_model

IDS = torch.tensor([[5, 9, 300, 17, 42, 8]])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_part_is_where_its_family_says(tmp_path, family):
    model = load_model(tiny_model(tmp_path / "m", family))
    arch = architecture_spec(model.config)
    named = {arch.embed, arch.final_norm}
    plain = [path for path in (*arch.linears.values(), *arch.norms) if not path.startswith("mixer.")]
    for i, block in enumerate(layers_of(model)):  # none of which is recurrent
        for path in plain:
            assert part(block, path).weight is not None
            named.add(f"{arch.layers}.{i}.{path}")
    owners = {name.rpartition(".")[0] for name, _ in model.named_parameters()}
    assert owners - {arch.head} == named
    assert embedding_of(model).num_embeddings == model.config.vocab_size
    assert final_norm_of(model).weight.shape == (model.config.hidden_size,)


@pytest.mark.parametrize("family", FAMILIES)
def test_kept_layers_compute_the_same_after_reloading(tmp_path, family):
    model = load_model(tiny_model(tmp_path / "m", family, layers=7))
    kept = [0, 2, 5, 6]
    layers = [layers_of(model)[i] for i in kept]
    keep_layers(model, kept)
    assert list(layers_of(model)) == layers
    save_model(model, tmp_path / "cut")
    again = load_model(tmp_path / "cut")
    assert again.config.num_hidden_layers == len(layers_of(again)) == 4
    with torch.no_grad():
        assert torch.equal(again(IDS).logits, model(IDS).logits)
        step = again(IDS[:, -1:], past_key_values=again(IDS[:, :-1], use_cache=True).past_key_values).logits
    assert torch.allclose(step[:, -1], model(IDS).logits[:, -1], atol=1e-4)


def test_a_gemma_block_keeps_its_own_attention(tmp_path):
    model = load_model(tiny_model(tmp_path / "m", "gemma3_text", layers=7))
    keep_layers(model, [0, 5, 6])
    assert model.config.layer_types == ["sliding_attention", "full_attention", "sliding_attention"]
    assert [b.self_attn.is_sliding for b in layers_of(model)] == [True, False, True]


@pytest.mark.parametrize("kept", [[], [1, 0], [0, 0], [-1, 0], [0, 2]])
def test_impossible_layers_are_refused(tmp_path, kept):
    model = load_model(tiny_model(tmp_path / "m"))
    with pytest.raises(ValueError):
        keep_layers(model, kept)
    assert len(layers_of(model)) == 2


def test_other_families_get_a_list_of_what_works():
    with pytest.raises(UnsupportedModel) as e:
        architecture_spec({"model_type": "mamba"})
    assert "mamba" in str(e.value) and all(f in str(e.value) for f in FAMILIES)
