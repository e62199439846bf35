"""Batches, the loop, checkpoints, frozen layers and training on rounded weights."""

from __future__ import annotations

import math
import random

import pytest
import torch
from conftest import tiny_task
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_model

from lightbulb.core.errors import RecipeError, RunFailure
from lightbulb.core.progress import Silent
from lightbulb.formats.gguf.type_map import TypeMap
from lightbulb.models.families import embedding_of, layers_of
from lightbulb.models.form import Encoded, shortened
from lightbulb.models.loading import load_model, load_tokenizer
from lightbulb.passes.adapt import freeze
from lightbulb.passes.fit import plain_loss, teacher_loss
from lightbulb.testing import Stop, Stopped, frequent_checkpoints
from lightbulb.train.data import collate, encode_split, epoch_order, in_order
from lightbulb.train.forward import deterministic, target_logits
from lightbulb.train.logits import TeacherLogits, write_logits
from lightbulb.train.loop import Schedule, train
from lightbulb.train.quantized import FakeQuantized, block_weights, matrices_of, round_


def sequences(n: int, seed: int = 0, most: int = 20) -> list[Encoded]:
    rng = random.Random(seed)
    lengths = [rng.randint(2, most) for _ in range(n)]
    return [Encoded([rng.randrange(500) for _ in range(length)], rng.randint(1, length - 1)) for length in lengths]


@pytest.fixture
def model(tiny_folder):
    torch.set_num_threads(1)
    return load_model(tiny_folder)


@settings(max_examples=50)
@given(st.integers(1, 300), st.integers(1, 16), st.integers(0, 3), st.integers(0, 5))
def test_every_example_once_an_epoch(n, batch_size, seed, epoch):
    data = sequences(n)
    batches = epoch_order(data, batch_size, seed, epoch)
    assert sorted(i for batch in batches for i in batch) == list(range(n))
    assert all(1 <= len(batch) <= batch_size for batch in batches)
    assert len(batches) == math.ceil(n / batch_size)
    assert batches == epoch_order(data, batch_size, seed, epoch)
    assert sorted(i for batch in in_order(data, batch_size) for i in batch) == list(range(n))


def test_epochs_and_seeds_differ_and_padding_is_little():
    data = sequences(400)
    orders = [epoch_order(data, 8, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(a != b for i, a in enumerate(orders) for b in orders[:i])
    padded = sum(len(batch) * max(len(data[i].ids) for i in batch) for batch in orders[0])
    assert padded < 1.2 * sum(len(item.ids) for item in data)


def test_target_logits_are_the_model_s_own(model):
    data = sequences(5)
    batch = collate(data, [3, 0, 4])
    with torch.no_grad():
        ours = target_logits(model, batch)
        theirs = []
        for i in (3, 0, 4):
            item = data[i]
            logits = model(torch.tensor([item.ids])).logits[0]
            theirs += [logits[at - 1] for at in range(item.first_target, len(item.ids))]
        assert torch.allclose(ours, torch.stack(theirs), atol=1e-4)
        assert torch.allclose(target_logits(model, batch, [5, 9]), ours, atol=1e-5)
    assert batch.targets.tolist() == [t for i in (3, 0, 4) for t in data[i].targets]


def test_in_a_choose_task_only_the_answers_learn_from_the_head(model):
    data = [Encoded([1, 2, 3, 400], 3)]
    batch = collate(data, [0])
    torch.nn.functional.cross_entropy(target_logits(model, batch, [400, 401]), batch.targets).backward()
    moved = embedding_of(model).weight.grad.abs().sum(-1).nonzero().flatten().tolist()
    assert set(moved) == {1, 2, 3, 400, 401}  # read as words, or an answer


def test_a_prompt_that_is_cut_keeps_its_first_token():
    assert shortened([1, 5, 6, 7, 8], 3, bos=1) == [1, 7, 8] and shortened([5, 6, 7, 8], 3, bos=1) == [6, 7, 8]
    assert shortened([1, 5], 2, bos=1) == [1, 5] and shortened([1, 5], 1, bos=1) == [5]


@pytest.mark.parametrize("keep_head", [True, False])
def test_freezing_cuts_the_gradient(model, keep_head):
    freeze(model, 2, keep_head=keep_head)
    batch = collate(sequences(4), [0, 1, 2, 3])
    plain_loss(target_logits(model, batch, [5, 9]), batch).backward()
    stack = layers_of(model)
    assert all(p.grad is None for layer in stack[:2] for p in layer.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in stack[2].parameters())
    rows = embedding_of(model).weight.grad
    if keep_head:
        assert set(rows.abs().sum(-1).nonzero().flatten().tolist()) == {5, 9}
    else:
        assert rows is None
    with pytest.raises(RecipeError, match="3 layers"):
        freeze(model, 4, keep_head=True)


def test_a_head_of_its_own_needs_no_embedding_to_learn(tmp_path):
    """A parameter that never gets a gradient has no moments, which a checkpoint would look for."""
    model = load_model(tiny_model(tmp_path, tied=False))
    freeze(model, 1, keep_head=True)
    batch = collate(sequences(4), [0, 1, 2, 3])
    plain_loss(target_logits(model, batch, [5, 9]), batch).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    assert model.lm_head.weight.requires_grad and not embedding_of(model).weight.requires_grad


@pytest.mark.parametrize("quant_type", ["q8_0", "q4_0", "iq4_nl"])
def test_rounded_is_the_model_with_rounded_weights(model, tiny_folder, quant_type):
    types = TypeMap.of(quant_type, "q8_0")
    batch = collate(sequences(4), [0, 1, 2, 3])
    masters = {name: p.detach().clone() for name, p in model.named_parameters()}
    rounded = FakeQuantized(model, types)
    acting = rounded.target_logits(batch, [5, 9])
    plain_loss(acting, batch).backward()
    assert all(torch.equal(p, masters[name]) for name, p in model.named_parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p, _ in block_weights(model, types))
    other = load_model(tiny_folder)
    for matrix in matrices_of(other):
        round_(matrix, types.asked_for(matrix.tensor).name)
    with torch.no_grad():
        assert torch.allclose(acting, target_logits(other, batch), atol=1e-5)
        assert not torch.allclose(acting, target_logits(model, batch), atol=1e-3)


def trained(model, data, scratch, progress=None, epochs=2.0, rate=1e-3):
    with deterministic(0, 1):
        done = train(
            model,
            data,
            Schedule(epochs=epochs, learning_rate=rate, batch_size=4),
            target_logits,
            plain_loss,
            seed=0,
            scratch=scratch,
            progress=progress or Silent(),
            label="test",
        )
    return done, {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("after", [2, 3, 7, 10])
def test_a_resumed_training_ends_with_the_same_bytes(tiny_folder, tmp_path, after):
    data = sequences(20)
    straight, weights = trained(load_model(tiny_folder), data, tmp_path / "a")
    with frequent_checkpoints():
        with pytest.raises(Stopped):
            trained(load_model(tiny_folder), data, tmp_path / "b", Stop(after))
        watch = Stop(math.inf)
        resumed, again = trained(load_model(tiny_folder), data, tmp_path / "b", watch)
    assert watch.reported[0] == after  # step `after` was not saved: it is the first to be repeated
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert (resumed.steps, resumed.loss) == (straight.steps, straight.loss) and straight.steps == 10


def test_a_checkpoint_after_the_last_step(tiny_folder, tmp_path):
    data = sequences(8)
    with frequent_checkpoints():
        first, weights = trained(load_model(tiny_folder), data, tmp_path)
        second, again = trained(load_model(tiny_folder), data, tmp_path)
    assert second.loss == first.loss and math.isfinite(second.loss)
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_training_learns(model, tmp_path):
    data = sequences(4, most=6)
    done, _ = trained(model, data, tmp_path, epochs=60, rate=3e-3)
    assert done.loss < 0.5


def test_divergence_is_one_clear_error(model, tmp_path):
    with torch.no_grad():
        layers_of(model)[0].mlp.up_proj.weight.fill_(math.nan)
    with pytest.raises(RunFailure, match="diverged at step 0"):
        trained(model, sequences(8), tmp_path)


def test_rate_warms_up_and_falls_to_nothing():
    schedule = Schedule(epochs=1, learning_rate=1.0)
    rates = [schedule.rate(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.2) and max(rates) == pytest.approx(1.0, abs=0.01) and rates[-1] < 0.001
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert schedule.steps(0) == 1 and Schedule(epochs=0.05, learning_rate=1).steps(10) == 1


def test_cached_logits_are_the_teacher_s(model, tiny_folder, tmp_path):
    task = tiny_task("generate", 20)
    data = encode_split(task, "train", load_tokenizer(tiny_folder), None, 512)
    positions = write_logits(model, data, 8, tmp_path, 4, Silent(), "logits")
    assert positions == sum(len(item.targets) for item in data)
    batch = collate(data, [5, 2])
    log_probs, ids = TeacherLogits(tmp_path).rows([5, 2])
    with torch.no_grad():
        logits = target_logits(model, batch)
        # bfloat16 products, where the machine has them
        assert torch.allclose(log_probs, logits.log_softmax(-1).gather(-1, ids), atol=0.2)
        assert torch.allclose(log_probs, logits.log_softmax(-1).topk(8).values, atol=0.2)
        loss = teacher_loss(tmp_path, 1.0, 1.0)(logits, batch)
    assert loss.item() >= 0
