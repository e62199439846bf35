"""Error compensation: as the plain formula has it, and better than rounding alone at what it is for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightbulb.formats.gguf.grids import GRIDS
from lightbulb.formats.gguf.quant_types import QUANT_TYPES
from lightbulb.models.form import Encoded
from lightbulb.models.loading import load_model
from lightbulb.ops.gptq import compensate_, inverse_factor
from lightbulb.train.gptq import gptq, hessians_of
from lightbulb.train.tracing import batches_of, trace

ROWS, WIDTH = 24, 256


def layer(width: int = WIDTH) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights, and second moments of inputs that hang together."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(width // 2, width, generator=generator) * torch.rand(width, generator=generator).exp()
    x = torch.randn(3 * width, width // 2, generator=generator) @ mix + 0.1 * torch.randn(
        3 * width, width, generator=generator
    )
    return 0.05 * torch.randn(ROWS, width, generator=generator), x.T @ x


def output_error(off_RN: np.ndarray, hessian_NN: torch.Tensor) -> float:
    return float(np.einsum("rn,nm,rm->", off_RN, hessian_NN.numpy(), off_RN, optimize=True))


def test_as_the_plain_formula():
    """One column at a time, the inverse of what is left made anew each time (Hassibi & Stork 1993)."""
    weight, hessian = layer(16)
    damped = hessian.double() + 0.01 * hessian.double().diagonal().mean() * torch.eye(16, dtype=torch.float64)
    expected = weight.double().clone()
    for column in range(16):
        inverse = torch.linalg.inv(damped[column:, column:])
        held = torch.round(expected[:, column] * 10) / 10
        error = (expected[:, column] - held) / inverse[0, 0]
        expected[:, column] = held
        expected[:, column + 1 :] -= torch.outer(error, inverse[0, 1:])
    found = weight.clone()
    costs = []

    def begin(start, weight_RB, costs_B):
        costs.extend(costs_B.tolist())
        return lambda place, values: torch.round(values * 10) / 10

    compensate_(found, inverse_factor(hessian, 0.01), 4, begin)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-4)
    left = [1 / float(torch.linalg.inv(damped[column:, column:])[0, 0]) for column in range(16)]
    np.testing.assert_allclose(costs, left, rtol=1e-3)


@pytest.mark.parametrize("name", GRIDS)
def test_outputs_are_nearer_than_with_rounding_alone(name):
    weight, hessian = layer()
    quant_type, values = QUANT_TYPES[name], weight.numpy()
    packed = gptq(weight, inverse_factor(hessian, 0.01), name)
    assert packed.shape == (ROWS, WIDTH // quant_type.block * quant_type.block_bytes)
    compensated, searched, nearest = (
        output_error(quant_type.dequantize(p) - values, hessian)
        for p in (packed, quant_type.quantize(values, hessian.diagonal().numpy()), quant_type.quantize(values))
    )
    assert compensated < 0.7 * searched < 0.7 * nearest


def test_second_moments_are_summed_in_full_precision(tiny_folder):
    """Layers may compute in bfloat16; a sum of squares rounded to it is no positive matrix any more."""
    model = load_model(tiny_folder)
    batch = batches_of([Encoded([3 + i % 200 for i in range(300)], 1)])[0]
    traced, seen = trace(model, batch, every=False), []
    model.get_submodule("model.layers.0.self_attn.q_proj").register_forward_pre_hook(
        lambda m, args: seen.append(args[0][0])
    )
    hessians = hessians_of(model, 0, [traced])
    exact = seen[0].detach().double().T @ seen[0].detach().double()
    torch.testing.assert_close(hessians["self_attn.q_proj"].double(), exact, rtol=1e-4, atol=1e-3)
    assert hessians["self_attn.k_proj"] is hessians["self_attn.q_proj"]
    assert hessians["self_attn.o_proj"] is not hessians["self_attn.q_proj"]


def test_a_channel_that_was_never_seen_changes_nothing():
    weight, hessian = layer()
    hessian[5], hessian[:, 5] = 0, 0
    held = QUANT_TYPES["q4_0"].dequantize(gptq(weight, inverse_factor(hessian, 0.01), "q4_0"))
    assert np.isfinite(held).all() and np.abs(held - weight.numpy()).max() < 0.2
