"""Losses against plain Python, block influence against its formula."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightbulb.ops.importance import block_influence
from lightbulb.ops.losses import cross_entropy, distillation, top_k_log_probs

ROW = st.lists(st.floats(-8, 8), min_size=5, max_size=5)


def softmax(xs: list[float]) -> list[float]:
    total = math.fsum(math.exp(x) for x in xs)
    return [math.exp(x) / total for x in xs]


@given(st.lists(ROW, min_size=1, max_size=4), st.lists(ROW, min_size=4, max_size=4), st.floats(0.5, 5))
def test_distillation_is_its_formula(students, teachers, t):
    teachers = teachers[: len(students)]
    log_probs, ids = top_k_log_probs(torch.tensor(teachers), 3)
    expected = []
    for student, values, kept in zip(students, log_probs.tolist(), ids.tolist(), strict=True):
        p = softmax([v / t for v in values])
        q = softmax([s / t for s in student])
        expected.append(sum(pi * (math.log(pi) - math.log(q[i])) for pi, i in zip(p, kept, strict=True)))
    got = distillation(torch.tensor(students), log_probs, ids, t).item()
    assert got == pytest.approx(t * t * sum(expected) / len(expected), rel=1e-3, abs=1e-4)


def test_distillation_from_itself_is_nothing_and_learns_towards_the_teacher():
    logits = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    assert distillation(logits, *top_k_log_probs(logits, 7), 2.0).item() == pytest.approx(0, abs=1e-6)
    student = torch.zeros(3, 7, requires_grad=True)
    distillation(student, *top_k_log_probs(logits, 7), 1.0).backward()
    assert torch.equal(student.grad.argmin(-1), logits.argmax(-1))  # it asks for more of what the teacher likes best


@given(ROW, st.integers(0, 4))
def test_cross_entropy(row, target):
    got = cross_entropy(torch.tensor([row]), torch.tensor([target])).item()
    assert got == pytest.approx(-math.log(softmax(row)[target]), rel=1e-4, abs=1e-5)


def test_top_k_of_a_small_vocabulary():
    log_probs, ids = top_k_log_probs(torch.randn(2, 4), 32)
    assert log_probs.shape == (2, 4) and torch.allclose(log_probs.exp().sum(-1), torch.ones(2))


def test_block_influence():
    h = torch.randn(10, 16)
    assert block_influence(h, 3 * h).item() == pytest.approx(0, abs=1e-6)
    assert block_influence(h, -h).item() == pytest.approx(2, abs=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_gradients_of_the_losses_are_those_of_autograd(temperature):
    torch.manual_seed(0)
    logits = torch.randn(5, 40, requires_grad=True)
    targets, kept = torch.tensor([3, 0, 39, 3, 7]), torch.randn(5, 40).log_softmax(-1).topk(6)
    ours = 0.8 * distillation(logits, kept.values, kept.indices, temperature) + 0.2 * cross_entropy(logits, targets)
    (found,) = torch.autograd.grad(ours, logits)
    teacher = (kept.values / temperature).softmax(-1)
    student = (logits / temperature).log_softmax(-1).gather(-1, kept.indices)
    kl = torch.nn.functional.kl_div(student, teacher, reduction="batchmean") * temperature**2
    plain = 0.8 * kl + 0.2 * torch.nn.functional.cross_entropy(logits, targets)
    (wanted,) = torch.autograd.grad(plain, logits)
    assert torch.allclose(ours, plain, atol=1e-6) and torch.allclose(found, wanted, atol=1e-7)
    half = logits.detach().bfloat16().requires_grad_()
    (near,) = torch.autograd.grad(cross_entropy(half, targets), half)
    assert near.dtype == torch.bfloat16
    assert torch.allclose(cross_entropy(half, targets), torch.nn.functional.cross_entropy(half.float(), targets))
