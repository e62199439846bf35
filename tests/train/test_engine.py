"""The engine against transformers' modules and autograd: logits, gradients, frozen and rounded weights, families."""

from __future__ import annotations

import pytest
import torch
from test_training import sequences
from tiny import FAMILIES, tiny_model, tiny_recurrent, tiny_varied

from lightbulb.core.progress import Silent
from lightbulb.formats.gguf.type_map import TypeMap
from lightbulb.models.form import Encoded
from lightbulb.models.loading import load_model
from lightbulb.passes.adapt import freeze
from lightbulb.passes.fit import plain_loss
from lightbulb.testing import Stop, Stopped, frequent_checkpoints
from lightbulb.train import block, engine, frozen, loop
from lightbulb.train.data import collate
from lightbulb.train.forward import deterministic, target_logits
from lightbulb.train.quantized import FakeQuantized, block_weights, matrices_of, round_


@pytest.fixture
def model(tiny_folder):
    torch.set_num_threads(1)
    return load_model(tiny_folder)


VARIED = [f"varied {f}" for f in ("llama", "qwen2", "qwen3", "gemma3_text")]
RECURRENT = {"pure": ("mlgru", "mlgru"), "hybrid": ("mlgru", "attention", "mlgru"), "below": ("mlgru", "attention")}


@pytest.fixture(params=[*FAMILIES, *VARIED, *RECURRENT])
def family(request, tmp_path):
    """A model of each family, also with layers that differ; mistral and gemma3_text look back through a window shorter
    than the sequences."""
    torch.set_num_threads(1)
    if request.param.startswith("varied "):
        model = load_model(tiny_varied(tmp_path, request.param.removeprefix("varied "), logit_cap=3.0))
        assert not model.spec.alike
        return model
    if mixers := RECURRENT.get(request.param):
        return load_model(tiny_recurrent(tmp_path, mixers=mixers))
    model = load_model(tiny_model(tmp_path, request.param, layers=3))
    if request.param in ("mistral", "gemma3_text"):
        model.config.sliding_window = 8
    return model


def gradients(model, logits, batch):
    model.zero_grad(set_to_none=True)
    plain_loss(logits, batch).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("plain_attention", [512, 4])
@pytest.mark.parametrize("answers", [None, [5, 9, 100]])
def test_the_engine_computes_what_transformers_computes(family, answers, plain_attention, monkeypatch):
    """Logits and gradients, in sequences of one length and of many."""
    monkeypatch.setattr(block, "PLAIN_ATTENTION", plain_attention)
    assert engine.fits(family)
    ours = engine.Engine(family, answers, dtype=torch.float32)
    even = [Encoded(list(range(i, i + 20)), 15) for i in range(3)]
    for data in (sequences(7, seed=1, most=40), even):
        batch = collate(data, list(range(len(data))))
        theirs = target_logits(family, batch, answers)
        wanted = gradients(family, theirs, batch)
        logits = ours.target_logits(batch)
        found = gradients(family, logits, batch)
        assert torch.allclose(logits, theirs, atol=1e-4)
        assert found.keys() == wanted.keys()
        for name, grad in wanted.items():
            assert torch.allclose(found[name], grad, atol=1e-5 + 1e-4 * float(grad.abs().max())), name


def test_in_bfloat16_the_engine_is_near(family):
    batch = collate(data := sequences(7, seed=1, most=40), list(range(len(data))))
    ours = engine.Engine(family, dtype=torch.bfloat16).target_logits(batch)
    theirs = target_logits(family, batch)
    assert ours.dtype == torch.bfloat16
    found, wanted = gradients(family, ours, batch), gradients(family, theirs, batch)
    assert (ours.float() - theirs).std() < 0.03 * theirs.std()
    assert all(p.grad.dtype == torch.float32 for p in family.parameters())
    assert all(torch.cosine_similarity(found[n].flatten(), g.flatten(), dim=0) > 0.98 for n, g in wanted.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_working_copies_follow_their_masters(model, dtype):
    batch = collate(data := sequences(4), list(range(len(data))))
    ours = engine.Engine(model, dtype=dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    before = loop.take_step(
        model, [batch], lambda m, b: ours.target_logits(b), plain_loss, optimizer, [*model.parameters()]
    )
    after = plain_loss(ours.target_logits(batch), batch)
    assert torch.equal(after, plain_loss(engine.Engine(model, dtype=dtype).target_logits(batch), batch))
    assert after < 0.8 * before


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("keep_head", [True, False])
def test_the_engine_learns_where_the_model_does_above_frozen_layers(model, keep_head, layers):
    freeze(model, layers, keep_head=keep_head)
    batch = collate(data := sequences(4), list(range(len(data))))
    answers = [5, 9] if keep_head else None
    wanted = gradients(model, target_logits(model, batch, answers), batch)
    found = gradients(model, engine.Engine(model, answers, dtype=torch.float32).target_logits(batch), batch)
    assert found.keys() == wanted.keys()
    assert all(torch.allclose(found[n], g, atol=1e-5 + 1e-4 * float(g.abs().max())) for n, g in wanted.items())


@pytest.mark.parametrize("quant_type", ["q8_0", "q4_0"])
def test_the_engine_s_rounded_weights_are_those_of_the_type(model, tiny_folder, quant_type):
    types = TypeMap.of(quant_type, "q8_0")
    batch = collate(data := sequences(4), list(range(len(data))))
    rounded = {id(w): to for w, to in block_weights(model, types)}
    ours = engine.Engine(model, [5, 9], rounded, dtype=torch.float32)
    found = gradients(model, acting := ours.target_logits(batch), batch)
    wanted = gradients(model, FakeQuantized(model, types).target_logits(batch, [5, 9]), batch)
    assert all(torch.allclose(found[n], g, atol=1e-5 + 1e-4 * float(g.abs().max())) for n, g in wanted.items())
    other = load_model(tiny_folder)
    for matrix in matrices_of(other):
        round_(matrix, types.asked_for(matrix.tensor).name)
    with torch.no_grad():
        assert torch.allclose(acting, target_logits(other, batch), atol=1e-4)


def test_what_the_engine_does_not_know_goes_the_long_way(model):
    peft = pytest.importorskip("peft")
    batch = collate(data := sequences(4), list(range(len(data))))
    model.config.attention_dropout = 0.1
    assert not engine.fits(model)
    model.config.attention_dropout = 0.0
    assert engine.fits(model)
    peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"]))
    assert not engine.fits(model)
    with torch.no_grad():
        assert torch.equal(engine.forward_of(model)(model, batch), target_logits(model, batch))


def kept_run(folder, scratch, progress=None):
    """Three epochs above two frozen layers, in bfloat16; returns the loss, the weights, and which examples went through
    the frozen layers."""
    model = load_model(folder)
    freeze(model, 2, keep_head=True)
    data = [Encoded([*item.ids[:-1], 500 + i % 2], len(item.ids) - 1) for i, item in enumerate(sequences(22))]
    ours = engine.Engine(model, [500, 501], dtype=torch.bfloat16)
    ours.keep(engine.Epochs(data, 4, 0))
    assert ours.kept is not None
    computed: list[int] = []
    frozen_states = ours._frozen_states
    ours._frozen_states = lambda batch: (computed.extend(batch.examples), frozen_states(batch))[1]
    with deterministic(0, 1):
        done = loop.train(
            model,
            data,
            loop.Schedule(epochs=3, learning_rate=1e-3, batch_size=4),
            lambda m, b: ours.target_logits(b),
            plain_loss,
            seed=0,
            scratch=scratch,
            progress=progress or Silent(),
            label="test",
        )
    return done.loss, {name: p.detach().clone() for name, p in model.named_parameters()}, computed


@pytest.mark.parametrize("tokens", [10**6, 120])
@pytest.mark.parametrize("after", [3, 8, 14])
def test_kept_states_survive_a_kill(tiny_folder, tmp_path, after, tokens, monkeypatch):
    """Resumed in any epoch, the bytes are those of a straight training, also where not all is kept."""
    monkeypatch.setattr(frozen, "MOST_BYTES", tokens * 64 * 2)
    loss, weights, computed = kept_run(tiny_folder, tmp_path / "a")
    assert tokens == 120 or sorted(computed) == list(range(22)), "each example once, in three epochs"
    assert tokens != 120 or 22 < len(computed) < 3 * 22
    with frequent_checkpoints():
        with pytest.raises(Stopped):
            kept_run(tiny_folder, tmp_path / "b", Stop(after))
        again_loss, again, _ = kept_run(tiny_folder, tmp_path / "b")
    assert again_loss == loss and all(torch.equal(weights[n], again[n]) for n in weights)


def test_kept_states_are_what_the_frozen_layers_give(model):
    freeze(model, 2, keep_head=False)
    data = sequences(9)
    batch = collate(data, [4, 0, 8])
    ours = engine.Engine(model, dtype=torch.float32)
    ours.keep(engine.Epochs(data, 4, 0))
    plain = engine.Engine(model, dtype=torch.float32)
    for _ in range(2):
        assert torch.allclose(ours.target_logits(batch), plain.target_logits(batch), atol=1e-4)
    assert ours.kept is not None and set(ours.kept.states) >= {4, 0, 8}


def test_nothing_is_kept_where_a_word_that_is_read_learns(model):
    freeze(model, 2, keep_head=True)
    data = [Encoded([1, 2, 3, 400], 3)]
    for answers, keeps in (([400, 401], True), ([2, 400], False), (None, False)):
        ours = engine.Engine(model, answers)
        ours.keep(engine.Epochs(data, 4, 0))
        assert (ours.kept is not None) is keeps
