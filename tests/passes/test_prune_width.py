"""Narrower models: real ones that run everywhere; what is kept is what does most."""

from __future__ import annotations

import importlib.util
from contextlib import nullcontext

import pytest
import torch
from llama_server import llama_server
from test_trim_vocab import GENERATE
from tiny import FAMILIES, TEXT, tiny_model, tiny_varied

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import RecipeError, UnsupportedModel
from lightbulb.core.progress import Silent
from lightbulb.models.families import OWN, architecture_spec, layers_of
from lightbulb.models.gguf import write_gguf
from lightbulb.models.loading import json_object, load_model, load_tokenizer, save_model
from lightbulb.models.narrowing import Kept, narrowed, spec_of_model
from lightbulb.passes.adapt import Adapt
from lightbulb.passes.base import Context
from lightbulb.passes.prune_width import PruneWidth
from lightbulb.train import engine, importance
from lightbulb.train.data import encode_split
from lightbulb.train.importance import activation_scores, gradient_scores, task_loss
from lightbulb.train.loop import Schedule

TIED = {"qwen3": True}  # openelm has no head of its own


def artifact_of(folder) -> Artifact:
    return Artifact(path=folder, kind="model", key="k", made_by="import", facts={})


def cut(folder, out, **parameters):
    out.mkdir()
    facts = PruneWidth(**parameters).apply(artifact_of(folder), out, Context(GENERATE, 0, Silent(), out / "scratch"))
    return load_model(out), facts


def examples(folder):
    return encode_split(GENERATE, "train", load_tokenizer(folder), None, 512)


@torch.no_grad()
def logits_of(model, folder, text=TEXT[:120]):
    return model(torch.tensor([load_tokenizer(folder)(text).input_ids])).logits


def silence(model, layer: int, role: str, places) -> None:
    """Makes what stands at these places of a matrix's input count for nothing."""
    path = architecture_spec(model.config).linears[role]
    with torch.no_grad():
        layers_of(model)[layer].get_submodule(path).weight[:, places] = 0.0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("by", ["taylor", "activation"])
def test_what_counts_for_nothing_goes_and_nothing_changes(tmp_path, family, by):
    """Channels and heads of each family that nothing reads are the ones that are cut."""
    model = load_model(tiny_model(tmp_path / "m", family))
    silence(model, 0, "down", range(32, 96))
    silence(model, 1, "down", range(0, 64))
    silence(model, 0, "o", range(0, 32))  # both heads of queries of the first group
    silence(model, 1, "o", range(32, 64))
    save_model(model, tmp_path / "m")
    before = logits_of(model, tmp_path / "m")
    small, facts = cut(tmp_path / "m", tmp_path / "cut", feed_forward=0.5, groups=0.5, importance=by)
    assert facts["feed_forward"] == [64, 64] and facts["heads"] == [2, 2] and facts["kv_heads"] == [1, 1]
    assert small.config.model_type == family  # layers alike: a plain model of its family
    assert torch.allclose(logits_of(small, tmp_path / "cut"), before, atol=1e-4)
    assert facts["parameters"] == spec_of_model(small).parameters() < spec_of_model(model).parameters()


def test_heads_of_each_group_and_columns(tmp_path):
    model = load_model(tiny_model(tmp_path / "m"))
    for layer in (0, 1):
        silence(model, layer, "o", [*range(16, 32), *range(32, 48)])  # the second head of a group, the first of another
    save_model(model, tmp_path / "m")
    before = logits_of(model, tmp_path / "m")
    small, facts = cut(tmp_path / "m", tmp_path / "heads", heads=0.5)
    assert facts["heads"] == facts["kv_heads"] == [2, 2]
    assert torch.allclose(logits_of(small, tmp_path / "heads"), before, atol=1e-4)
    small, facts = cut(tmp_path / "m", tmp_path / "narrow", width=0.5)
    assert facts["width"] == small.config.hidden_size == 32 and small.config.head_dim == 16
    assert torch.isfinite(logits_of(small, tmp_path / "narrow")).all()


@pytest.mark.parametrize("family, architecture", [("llama", "deci"), ("qwen2", "deci"), ("qwen3", "openelm")])
def test_across_layers_the_best_are_kept_and_every_runtime_agrees(tmp_path, family, architecture):
    """Two chunks of the first layer count for nothing, one of the second: so many go of each."""
    folder = tiny_model(tmp_path / "m", family, tied=TIED.get(family))
    model = load_model(folder)
    silence(model, 0, "down", range(64))
    silence(model, 1, "down", range(32))
    silence(model, 1, "o", range(32))
    save_model(model, folder)
    small, facts = cut(folder, tmp_path / "cut", feed_forward=5 / 8, groups=3 / 4, ranking="global")
    assert facts["feed_forward"] == [64, 96] and facts["kv_heads"] == [2, 1]
    assert json_object(tmp_path / "cut" / "config.json")["model_type"] == OWN
    wanted = logits_of(model, folder)[0, -1].log_softmax(-1)
    assert torch.allclose(logits_of(small, folder)[0, -1].log_softmax(-1), wanted, atol=1e-4)
    file = tmp_path / "m.gguf"
    assert write_gguf(tmp_path / "cut", file, "f32")["architecture"] == architecture
    ids = load_tokenizer(folder)(TEXT[:120]).input_ids
    with llama_server(file) as server:
        found = server.logprobs(ids, 10)
    assert max(abs(wanted[i].item() - value) for i, value in found.items()) < 1e-3
    if importlib.util.find_spec("lightbulb_filament") is not None:
        from lightbulb.runtimes.filament import Filament

        runtime = Filament(file, threads=1, slots=1, context=512)
        found = runtime.score_next(ids, None, 17)
        runtime.close()
        assert found.likeliest == int(wanted.argmax())
        assert found.log_prob == pytest.approx(wanted[17].item(), abs=0.15)  # it rounds what it multiplies


def test_it_trains_by_the_engine_and_in_rounds(tmp_path):
    folder = tiny_varied(tmp_path / "m")  # its third layer has no attention
    small, facts = cut(folder, tmp_path / "cut", feed_forward=0.5, groups=0.5, rounds=2)
    assert facts["feed_forward"] == [64, 32, 64, 64] and facts["kv_heads"] == [1, 1, 0, 2]
    assert engine.fits(small)
    before = task_loss(small, examples(folder))
    out = tmp_path / "trained"
    out.mkdir()
    adapt = Adapt(schedule=Schedule(epochs=10, batch_size=4, learning_rate=5e-3))
    adapt.apply(artifact_of(tmp_path / "cut"), out, Context(GENERATE, 0, Silent(), tmp_path / "scratch"))
    assert task_loss(load_model(out), examples(folder)) < 0.5 * before


def test_gradients_say_what_a_part_costs(tmp_path, monkeypatch):
    """First order: the score of a channel is the change of each example's loss by its weight, for small weights."""
    monkeypatch.setattr(importance, "fast_math", lambda device: nullcontext())
    folder = tiny_model(tmp_path / "m")
    model, data = load_model(folder), examples(folder)[:1]
    targets, step = len(data[0].targets), 1e-3
    scores = gradient_scores(model, data, lambda done, note: None)
    whole = task_loss(model, data)
    down = architecture_spec(model.config).linears["down"]
    for channel in (3, 77):
        weight = layers_of(model)[1].get_submodule(down).weight
        with torch.no_grad():
            weight[:, channel] *= 1 - step
        slope = (task_loss(model, data) - whole) * targets / step
        with torch.no_grad():
            weight[:, channel] /= 1 - step
        assert abs(slope) == pytest.approx(float(scores.channels[1][channel]), rel=0.1, abs=0.02)


def test_scores_of_all_parts(tmp_path):
    folder = tiny_varied(tmp_path / "m")
    model, data = load_model(folder), examples(folder)
    for measure in (gradient_scores, activation_scores):
        scores = measure(model, data, lambda done, note: None)
        assert [None if s is None else len(s) for s in scores.channels] == [128, 64, 160, 96]
        assert [None if s is None else len(s) for s in scores.heads] == [4, 2, None, 6]
        assert len(scores.columns) == 64 and all(p.requires_grad for p in model.parameters())
        assert all((s > 0).any() for s in (*scores.channels, scores.columns))


def test_what_no_file_could_hold_is_refused(tmp_path):
    gemma = tiny_model(tmp_path / "gemma", "gemma3_text")
    with pytest.raises(RecipeError, match="scales its embedding"):
        cut(gemma, tmp_path / "narrow", width=0.5)
    model = load_model(gemma)
    silence(model, 0, "down", range(64))
    save_model(model, gemma)
    with pytest.raises(UnsupportedModel, match="no architecture for a gemma3_text whose layers differ"):
        cut(gemma, tmp_path / "global", feed_forward=0.75, ranking="global")
    assert not list((tmp_path / "global").iterdir())


def test_everything_kept_is_the_same_model(tmp_path):
    model = load_model(tiny_model(tmp_path / "m", "qwen3"))
    whole = [Kept(range(128), range(2), range(4))] * 2
    again = narrowed(model, whole, range(64))
    assert torch.equal(logits_of(again, tmp_path / "m"), logits_of(narrowed(model, [Kept()] * 2), tmp_path / "m"))
    assert torch.allclose(logits_of(again, tmp_path / "m"), logits_of(model, tmp_path / "m"), atol=1e-4)
    assert not {p.data_ptr() for p in again.parameters()} & {p.data_ptr() for p in model.parameters()}
