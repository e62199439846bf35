"""replace-mixer: recurrent layers that begin near the attention whose place they take, and learn from there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import tiny_task
from tiny import tiny_model, tiny_recurrent

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import RecipeError, UnsupportedModel
from lightbulb.core.progress import Silent
from lightbulb.models.loading import load_model, load_tokenizer
from lightbulb.models.spec_config import spec_of_config
from lightbulb.ops.linearize import best_decays, decayed, explained, ridge
from lightbulb.passes.base import Context
from lightbulb.passes.prune_width import PruneWidth
from lightbulb.passes.replace_mixer import ReplaceMixer
from lightbulb.train.data import encode_split, within
from lightbulb.train.layerwise import LayerWalk
from lightbulb.train.linearize import channels_of

TASK = tiny_task("generate")


def artifact_of(folder: Path) -> Artifact:
    return Artifact(path=folder, kind="model", key="k", made_by="import", facts={})


def replaced(folder: Path, out: Path, **parameters):
    out.mkdir()
    facts = ReplaceMixer(**parameters).apply(artifact_of(folder), out, Context(TASK, 0, Silent(), out / "scratch"))
    return load_model(out), facts


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("layers", [None, (1,)])
def test_only_attention_changes(family, layers, tmp_path):
    folder = tiny_model(tmp_path / "model", family)
    made, facts = replaced(folder, tmp_path / "out", layers=layers)
    before, after = load_model(folder).state_dict(), made.state_dict()
    chosen = [0, 1] if layers is None else [1]
    assert facts["replaced_layers"] == chosen and facts["parameters"] == made.spec.parameters()
    assert [layer.mixer == "mlgru" for layer in made.spec.layers] == [i in chosen for i in range(2)]
    for name, values in before.items():
        if not any(f"layers.{i}.self_attn" in name for i in chosen):
            assert torch.equal(after[name], values), name
    assert not any(f"layers.{i}.self_attn" in name for name in after for i in chosen)


def test_what_the_mixer_tells_is_what_the_facts_say(tmp_path):
    """Against attention itself, computed by the modules, one text at a time."""
    folder = tiny_model(tmp_path / "model")
    made, facts = replaced(folder, tmp_path / "out", layers=(0,))
    model, gave, said = load_model(folder), [], []
    model.model.layers[0].self_attn.register_forward_hook(lambda m, args, out: gave.append(out[0][0]))
    made.model.layers[0].mixer.register_forward_hook(lambda m, args, out: said.append(out[0][0]))
    data = within(encode_split(TASK, "train", load_tokenizer(folder), None, 512, 256), 8192)
    with torch.no_grad():
        for item in data:
            ids = torch.tensor([item.ids[:-1]])
            model(ids), made(ids)
    share = explained(torch.cat(gave), torch.cat(said))
    assert 0.1 < share <= 1 and abs(share - facts["explained"][0]) < 0.02  # read in bfloat16


def test_decays_are_found_again_and_copies_are_none():
    generator = torch.Generator().manual_seed(0)
    c_NW, begins_N = torch.randn(400, 6, generator=generator), torch.arange(400) % 40 == 0
    wanted_W = torch.tensor([0.0, 0.5, 0.75, 0.875, 0.9375, 0.96875])
    decays = tuple(wanted_W.tolist())
    read_NW = 3 * decayed(c_NW, wanted_W, begins_N)
    assert torch.equal(best_decays(c_NW, read_NW, begins_N, decays, list(range(6))), wanted_W)
    same = c_NW[:, :1].expand(-1, 6).contiguous()
    found = best_decays(same, 3 * decayed(same, wanted_W, begins_N), begins_N, decays, [0] * 6)
    assert sorted(found.tolist()) == sorted(decays)
    step, h = [], torch.zeros(6)
    for row, begins in zip(c_NW, begins_N, strict=True):
        h = (torch.zeros(6) if begins else wanted_W * h) + (1 - wanted_W) * row
        step.append(h)
    assert torch.allclose(decayed(c_NW, wanted_W, begins_N), torch.stack(step), atol=1e-5)


def test_ridge_is_least_squares_and_bounded_where_nothing_is_told():
    x, w = torch.randn(200, 5, generator=torch.Generator().manual_seed(0)), torch.randn(3, 5)
    assert torch.allclose(ridge(x, x @ w.T), w, rtol=0.02, atol=0.02)
    assert ridge(torch.zeros(9, 2), torch.ones(9, 3)).abs().max() == 0


@pytest.mark.parametrize("width", [64, 32, 96])
def test_a_state_holds_the_channels_that_add_most(width):
    """Of 4 heads of 16 channels on 2 of keys; narrower and wider than they are together."""
    layer = spec_of_config(
        {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
         "intermediate_size": 8, "vocab_size": 8, "max_position_embeddings": 8, "rms_norm_eps": 1e-6,
         "num_hidden_layers": 1}
    ).layers[0]  # fmt: skip
    heads, o = torch.ones(3, 64), torch.ones(width, 64)
    heads[:, 40] = 5
    channel_W, row_W = channels_of(layer, o, heads)
    assert len(channel_W) == width and 40 in channel_W.tolist()
    assert row_W[channel_W.tolist().index(40)] == 24  # head 2 is the first of the second group
    assert len(set(channel_W.tolist())) == min(width, 64)


def test_layers_are_read_one_text_behind_the_other(tmp_path):
    folder = tiny_model(tmp_path / "model")
    data = encode_split(TASK, "train", load_tokenizer(folder), None, 512)[:5]
    walk = LayerWalk(load_model(folder), data)
    read = walk.reads(0, ("q", "o"))
    lengths = sorted(len(item.ids) - 1 for item in data)
    assert walk.starts == [0, *torch.tensor(lengths).cumsum(0).tolist()][:-1]
    assert sum(len(each["o"]) for each in read) == sum(lengths)


def test_what_cannot_be_replaced_is_refused(tmp_path):
    folder = tiny_model(tmp_path / "model")
    for layers in ((2,), ()):
        with pytest.raises(RecipeError, match="those with attention are"):
            replaced(folder, tmp_path / f"out-{len(layers)}", layers=layers)
        assert not list((tmp_path / f"out-{len(layers)}").iterdir())
    with pytest.raises(RecipeError, match="leave the pass out|those with attention"):
        replaced(tiny_recurrent(tmp_path / "again", mixers=("mlgru",)), tmp_path / "out-again")
    with pytest.raises(UnsupportedModel, match="norms behind the parts of a layer"):
        replaced(tiny_model(tmp_path / "gemma", "gemma3_text"), tmp_path / "out-gemma")


def test_a_recurrent_student_is_made_narrower_but_in_its_width(tmp_path):
    folder, out = tiny_recurrent(tmp_path / "model"), tmp_path / "out"
    out.mkdir()
    context = Context(TASK, 0, Silent(), out / "scratch")
    PruneWidth(feed_forward=0.5).apply(artifact_of(folder), out, context)
    made = load_model(out)
    assert {layer.feed_forward for layer in made.spec.layers} == {64}
    before, after = load_model(folder).state_dict(), made.state_dict()
    assert all(torch.equal(after[n], before[n]) for n in after if ".mixer." in n)
    with pytest.raises(RecipeError, match="recurrent layers"):
        PruneWidth(width=0.5).apply(artifact_of(folder), tmp_path, context)
    assert json.loads((out / "config.json").read_text())["model_type"] == "lightbulb"
