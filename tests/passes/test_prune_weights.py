"""Zeros: which weights go, what the others become, and that nothing is said to be saved by it."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from conftest import tiny_task
from tiny import FAMILIES, tiny_model, tiny_varied

from lightbulb.core.artifact import Artifact
from lightbulb.core.progress import Silent
from lightbulb.models.families import layers_of
from lightbulb.models.loading import load_model, load_tokenizer
from lightbulb.ops import sparsity
from lightbulb.passes.base import Context
from lightbulb.passes.prune_weights import PruneWeights, matrices
from lightbulb.train import layerwise
from lightbulb.train.data import collate, encode_split
from lightbulb.train.forward import target_logits
from lightbulb.train.importance import task_loss
from lightbulb.train.layerwise import LayerWalk
from lightbulb.train.loop import Schedule

TASK = tiny_task("generate")


def pruned(folder, out, **parameters):
    out.mkdir()
    source = Artifact(path=folder, kind="model", key="k", made_by="import", facts={})
    facts = PruneWeights(**parameters).apply(source, out, Context(TASK, 0, Silent(), out.parent / "scratch"))
    return load_model(out), facts


def inputs(channels: int = 24, tokens: int = 400) -> np.ndarray:
    """Channels of different sizes that hang together, the third always zero."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(tokens, 6)) @ rng.normal(size=(6, channels)) + 0.3 * rng.normal(size=(tokens, channels))
    x *= np.exp(rng.normal(size=channels))
    x[:, 2] = 0
    return x


def plain_sparsegpt(w: np.ndarray, gram: np.ndarray, share: float | None, block: int) -> np.ndarray:
    """The method as its paper states it: column after column, with the inverse of what is left computed anew."""
    w, h = w.astype(np.float64).copy(), gram.astype(np.float64).copy()
    dead = np.diag(h) == 0
    w[:, dead] = 0
    h[dead, dead] = 1
    h += 0.01 * np.diag(h).mean() * np.eye(len(h))
    columns = w.shape[1]
    first = [np.linalg.inv(h[j:, j:])[0] for j in range(columns)]  # of the inverse over the columns from j on
    cost = np.array([row[0] for row in first])
    gone = np.zeros(w.shape, bool)
    for j in range(columns):
        if share is not None and j % block == 0:
            part = w[:, j : j + block] ** 2 / cost[j : j + block]
            order = np.argsort(part, axis=None, kind="stable")[: int(share * part.size)]
            mask = np.zeros(part.size, bool)
            mask[order] = True
            gone[:, j : j + block] = mask.reshape(part.shape)
        if share is None and j % 4 == 0:
            for row in range(len(w)):
                part = w[row, j : j + 4] ** 2 / cost[j : j + 4]
                gone[row, j + np.argsort(part, kind="stable")[:2]] = True
        for row in np.flatnonzero(gone[:, j]):
            w[row, j:] -= w[row, j] / first[j][0] * first[j]
            w[row, j] = 0
    return w


@pytest.mark.parametrize("share", [0.5, 0.25, None])
def test_sparsegpt_is_what_its_paper_states(monkeypatch, share):
    monkeypatch.setattr(sparsity, "BLOCK", 8)
    x, w = inputs(), np.random.default_rng(1).normal(size=(10, 24)).astype(np.float32)
    gram = (x.T @ x).astype(np.float32)
    found = sparsity.sparsegpt(torch.from_numpy(w), torch.from_numpy(gram), share).numpy()
    wanted = plain_sparsegpt(w, gram, share, 8)
    assert ((found == 0) == (wanted == 0)).all() and (found == 0).mean() >= (share or 0.5)
    assert np.allclose(found, wanted, atol=2e-3)


def test_wanda_compares_within_a_row():
    w, norms = np.array([[3.0, -1.0, 2.0, 0.5], [0.1, 0.2, 0.3, 0.4]]), np.array([0.1, 1.0, 1.0, 10.0])
    gone = sparsity.lowest(sparsity.wanda(torch.from_numpy(w), torch.from_numpy(norms)), 0.5)
    assert gone.tolist() == [[True, True, False, False], [True, True, False, False]]
    assert sparsity.lowest_two_of_four(torch.from_numpy(w).abs()).tolist() == [
        [False, True, False, True],
        [True, True, False, False],
    ]
    with pytest.raises(ValueError, match="no whole number of fours"):
        sparsity.lowest_two_of_four(torch.ones(2, 6))


def test_the_order_of_the_literature():
    """What comes out stays nearest with SparseGPT, then with Wanda, then with the smallest weights gone."""
    x, w = torch.from_numpy(inputs(64)).float(), torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    gram = x.T @ x
    smallest = w.masked_fill(sparsity.lowest(w.abs().reshape(1, -1), 0.5).view_as(w), 0.0)
    wanda = w.masked_fill(sparsity.lowest(sparsity.wanda(w, gram.diagonal().sqrt()), 0.5), 0.0)
    found = [
        float(((w - other) @ x.T).square().mean()) for other in (sparsity.sparsegpt(w, gram, 0.5), wanda, smallest)
    ]
    assert found[0] < 0.5 * found[1] and found[1] < 0.8 * found[2]


@pytest.mark.parametrize("method", ["magnitude", "wanda", "sparsegpt"])
@pytest.mark.parametrize("pattern", ["unstructured", "2:4"])
def test_so_many_are_zero_and_nothing_is_saved(tiny_folder, tmp_path, method, pattern):
    model, facts = pruned(tiny_folder, tmp_path / "out", share=0.4, method=method, pattern=pattern)
    wanted = 0.5 if pattern == "2:4" else 0.4
    assert facts["share"] == pytest.approx(wanted, abs=0.02) and facts["saving"] is None
    assert facts["zeros"] == sum(int((m.weight == 0).sum()) for m in matrices(model))
    assert facts["parameters"] == sum(p.numel() for p in load_model(tiny_folder).parameters())
    if pattern == "2:4":
        assert all(((m.weight == 0).view(-1, 4).sum(1) >= 2).all() for m in matrices(model))
    assert (model.get_input_embeddings().weight != 0).any(1).all()  # the embedding is left alone


def test_zeros_stay_zeros_while_the_others_learn(tiny_folder, tmp_path):
    data = encode_split(TASK, "train", load_tokenizer(tiny_folder), None, 512)
    bare, _ = pruned(tiny_folder, tmp_path / "bare", share=0.6)
    trained, facts = pruned(
        tiny_folder, tmp_path / "out", share=0.6, recover=Schedule(epochs=1, batch_size=8, learning_rate=5e-3)
    )
    for before, after in zip(matrices(bare), matrices(trained), strict=True):
        assert torch.equal(before.weight == 0, after.weight == 0) and not torch.equal(before.weight, after.weight)
    assert facts["steps"] > 0 and task_loss(trained, data) < 0.8 * task_loss(bare, data)


@pytest.mark.parametrize("family", [*FAMILIES, "varied"])
def test_layer_by_layer_is_what_the_whole_model_computes(tmp_path, family, monkeypatch):
    """States that went up layer by layer are those of one forward pass; so are the products of what a matrix reads."""
    monkeypatch.setattr(layerwise, "fast_math", lambda device: nullcontext())
    folder = tiny_varied(tmp_path / "m") if family == "varied" else tiny_model(tmp_path / "m", family, layers=3)
    model = load_model(folder)
    data = encode_split(TASK, "train", load_tokenizer(folder), None, 512, 5)
    walk, last = LayerWalk(model, data), len(layers_of(model)) - 1
    seen: list[torch.Tensor] = []
    for index in range(last):
        walk.go_through(index)
    grams = walk.grams(last)
    down = walk.linears_of(last)["down"][0]
    hook = down.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        for i in range(len(data)):
            target_logits(model, collate(data, [i]))
    hook.remove()
    rows = torch.cat([x[0] for x in seen])
    wanted = rows.T @ rows
    assert torch.allclose(grams["down"], wanted, atol=1e-4 * float(wanted.abs().max()))
