"""Sub-models inside a model: what they compute, which are drawn, and that all of them learn."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import torch
from test_training import sequences
from tiny import FAMILIES, tiny_model, tiny_varied

from lightbulb.models.families import keep_layers
from lightbulb.models.loading import load_model
from lightbulb.models.narrowing import Kept, narrowed, reorder_channels, spec_of_model
from lightbulb.passes.fit import plain_loss
from lightbulb.train import loop
from lightbulb.train.data import collate
from lightbulb.train.elastic import Nested, sandwich
from lightbulb.train.engine import Engine
from lightbulb.train.forward import target_logits

NESTED = Nested(channels=[128, 96, 0, 160], leaving=[2, 0], least_share=0.25)


@pytest.fixture(params=[*FAMILIES, "varied"])
def model(request, tmp_path):
    torch.set_num_threads(1)
    if request.param == "varied":
        return load_model(tiny_varied(tmp_path))
    return load_model(tiny_model(tmp_path, request.param, layers=4))


def batch_of(count: int = 5):
    data = sequences(count, seed=1, most=30)
    return collate(data, list(range(count)))


def cut(model, kept):
    """The sub-model as a model of its own."""
    keep_layers(model, list(kept))
    return narrowed(model, [Kept(channels=range(n)) if n else Kept() for n in kept.values()])


@pytest.mark.parametrize("layers", [[0, 1, 3], [1, 2], [0]])
def test_a_sub_model_computes_what_the_cut_model_does(model, layers):
    """Logits, and gradients of what it has; the rest learns nothing."""
    sizes = [layer.feed_forward or 0 for layer in spec_of_model(model).layers]
    kept = {i: min(sizes[i], 32 * (1 + place)) for place, i in enumerate(layers)}
    batch = batch_of()
    found_PV = Engine(model, dtype=torch.float32).target_logits(batch, kept)
    plain_loss(found_PV, batch).backward()
    grads = {name: p.grad for name, p in model.named_parameters()}
    down = "model.layers.{}.mlp.down_proj.weight"
    found = {place: grads[down.format(i)] for place, i in enumerate(layers) if kept[i]}
    assert all(grads[down.format(i)] is None for i, size in enumerate(sizes) if size and i not in layers)
    small = cut(model, kept)
    wanted_PV = target_logits(small, batch)
    assert torch.allclose(found_PV, wanted_PV, atol=1e-4)
    plain_loss(wanted_PV, batch).backward()
    wanted = dict(small.named_parameters())
    for place, grad in found.items():
        own = wanted[down.format(place)].grad
        assert torch.allclose(grad[:, : own.shape[1]], own, atol=1e-5 + 1e-4 * float(own.abs().max()))
        assert not grad[:, own.shape[1] :].any()


def test_channels_in_another_order_are_the_same_model(model):
    batch = batch_of()
    with torch.no_grad():
        before = target_logits(model, batch)
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    sizes = [layer.feed_forward for layer in spec_of_model(model).layers]
    reorder_channels(model, [random.Random(i).sample(range(n), n) if n else None for i, n in enumerate(sizes)])
    with torch.no_grad():
        assert torch.allclose(target_logits(model, batch), before, atol=1e-4)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, weights[name])}
    assert moved and all("mlp" in name for name in moved)


def test_what_is_drawn_is_nested():
    """Between the smallest and the whole, of every depth, layers left in their order, channels in chunks."""
    assert NESTED.smallest() == {1: 32, 3: 32}
    drawn = [NESTED.drawn(random.Random(f"0/{step}")) for step in range(400)]
    layers = {2: {1, 3}, 3: {0, 1, 3}, 4: {0, 1, 2, 3}}
    assert all(set(kept) == layers[len(kept)] and list(kept) == sorted(kept) for kept in drawn)
    depths = Counter(map(len, drawn))
    assert set(depths) == {2, 3, 4} and min(depths.values()) > 40
    assert {kept[3] for kept in drawn} == {32, 64, 96, 128, 160} and {kept.get(2, 0) for kept in drawn} == {0}
    one_share = sum(kept == NESTED.kept(len(kept), lambda kept=kept: kept[3] / 160) for kept in drawn)
    assert 0.4 < one_share / len(drawn) < 0.9
    assert NESTED.drawn(random.Random("0/7")) == drawn[7]
    assert {len(Nested([64] * 4, [3, 1], 1.0).drawn(random.Random(i))) for i in range(50)} == {2, 3, 4}


def test_a_step_teaches_all_of_them(tmp_path):
    """The whole model, the smallest and those between, which learn from the whole one's logits."""
    torch.set_num_threads(1)
    model = load_model(tiny_model(tmp_path, layers=4))
    engine, nested = Engine(model, dtype=torch.float32), Nested([128] * 4, [1, 2], 0.5)
    batch = batch_of()
    every = [None, nested.smallest(), nested.kept(3, lambda: 0.75)]

    def losses() -> list[float]:
        with torch.no_grad():
            return [plain_loss(engine.target_logits(batch, kept), batch).item() for kept in every]

    before, optimizer = losses(), torch.optim.AdamW(model.parameters(), lr=3e-3)
    further = sandwich(engine, nested, 0, weight=0.8, temperature=2.0)
    for step in range(30):
        told = loop.take_step(
            model,
            [batch],
            lambda m, b: engine.target_logits(b),
            plain_loss,
            optimizer,
            [*model.parameters()],
            lambda b, logits_PV, step=step: further(step, b, logits_PV),
        )
        assert told == pytest.approx(before[0], rel=1e-4) or step
    assert all(after < 0.3 * first for after, first in zip(losses(), before, strict=True))
