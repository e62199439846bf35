"""The recurrence and the ternary product against what their definitions say, step by step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightbulb.formats.gguf.quant_types import QUANT_TYPES
from lightbulb.ops.recurrence import logits_of_bounds, recurrence, rising_bounds
from lightbulb.ops.ternary import int8_levels, masters_of, ternary_levels, ternary_products, ternary_values


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def step_by_step(a: torch.Tensor, b: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    found = []
    for t in range(a.shape[1]):
        h = a[:, t] * h + b[:, t]
        found.append(h)
    return torch.stack(found, 1)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 16, 17, 31, 100])
def test_a_scan_is_its_steps_forwards_and_backwards(length: int) -> None:
    a, b, h = random(2, length, 3).sigmoid(), random(2, length, 3, seed=1), random(2, 3, seed=2)
    a[:, length // 2] = 0  # a text begins
    for t in (a, b, h):
        t.requires_grad_()
    pull = random(2, length, 3, seed=3)
    mine, theirs = recurrence(a, b, h), step_by_step(a, b, h)
    assert torch.allclose(mine, theirs, atol=1e-12)
    gradients = (torch.autograd.grad((out * pull).sum(), (a, b, h)) for out in (mine, theirs))
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


def test_a_scan_in_pieces_is_the_whole_forwards_and_backwards() -> None:
    a, b, h = random(1, 23, 4).sigmoid(), random(1, 23, 4, seed=1), random(1, 4, seed=2)
    for t in (a, b, h):
        t.requires_grad_()
    whole, state, pieces = recurrence(a, b, h), h, []
    for cut in (slice(0, 7), slice(7, 8), slice(8, 23)):
        pieces.append(recurrence(a[:, cut], b[:, cut], state))
        state = pieces[-1][:, -1]
    gradients = (torch.autograd.grad(out.square().sum(), (a, b, h)) for out in (whole, torch.cat(pieces, 1)))
    assert torch.allclose(whole, torch.cat(pieces, 1), atol=1e-12)
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


def test_bounds_rise_from_nothing_and_come_back() -> None:
    bounds = rising_bounds(random(5, 6).float())
    assert not bounds[0].any() and (bounds.diff(dim=0) > 0).all() and (bounds < 1).all()
    assert torch.allclose(rising_bounds(logits_of_bounds(bounds)), bounds, atol=1e-6)
    for wrong in (bounds.flip(0), bounds + 0.1, bounds * float("nan")):
        with pytest.raises(ValueError, match="rise"):
            logits_of_bounds(wrong)


def test_levels_are_the_nearest_and_a_file_holds_them_exactly() -> None:
    w = random(8, 256).float()
    levels, scale = ternary_levels(w)
    assert abs(float(scale) - float(w.abs().mean())) < 1e-3 * float(scale)
    grid = torch.tensor([-1.0, 0.0, 1.0])
    assert torch.equal(levels, grid[(w[..., None] / scale - grid).abs().argmin(-1)])
    values = ternary_values(w).numpy()
    assert np.array_equal(QUANT_TYPES["tq2_0"].quantize_dequantize(values), values)
    assert torch.equal(ternary_values(masters_of(torch.from_numpy(values))), torch.from_numpy(values))


def test_a_matrix_of_zeros_stays_one() -> None:
    assert not ternary_values(masters_of(torch.zeros(4, 8))).any()
    assert not ternary_products(torch.zeros(2, 8), torch.zeros(4, 8))[0].any()


def test_a_product_is_that_of_the_levels_and_its_gradients_pass_through() -> None:
    x, one, other = random(3, 5, 16).float(), random(4, 16, seed=1).float(), random(7, 16, seed=2).float()
    for t in (x, one, other):
        t.requires_grad_()
    q, scale = int8_levels(x)
    assert int(q.abs().max()) == 127 and torch.equal(q, q.round())
    straight_x = x + (q * scale - x).detach()
    expected = [straight_x @ (w + (ternary_values(w) - w).detach()).T for w in (one, other)]
    found = ternary_products(x, one, other)
    pulls = [random(3, 5, n, seed=3).float() for n in (4, 7)]
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)
    gradients = (
        torch.autograd.grad(sum((out * pull).sum() for out, pull in zip(outs, pulls, strict=True)), (x, one, other))
        for outs in (found, expected)
    )
    for mine, theirs in zip(*gradients, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)


def test_bfloat16_loses_nothing_but_the_last_rounding() -> None:
    x, w = random(4, 64).float(), random(8, 64, seed=1).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = ternary_products(x, w)[0]
    assert rough.dtype == torch.bfloat16
    assert torch.allclose(rough.float(), ternary_products(x, w)[0], rtol=2**-7)
