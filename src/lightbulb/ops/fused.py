"""The parts of a decoder block as few tensor operations, forwards and backwards. N: tokens in a row, without padding.

What is wide (products, activations) is of the dtype that comes in; sums over a width are float32.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch.autograd import Function

Activation = Literal["silu", "gelu_pytorch_tanh"]


class Working(Function):
    """A working copy [sum of rows, in] in the place of its float32 masters: gradients go to the masters."""

    @staticmethod
    def forward(ctx: Any, copy: torch.Tensor, *masters: torch.Tensor) -> torch.Tensor:
        ctx.rows, ctx.dtype = [len(m) for m in masters], masters[0].dtype
        return copy.detach()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        parts = grad.split(ctx.rows)
        return None, *(p.to(ctx.dtype) if n else None for p, n in zip(parts, ctx.needs_input_grad[1:], strict=True))


class Rows(Function):
    """values_VD[ids_N]. The gradient is added to the rows of `master.grad` that were read, in place: a dense gradient
    of a vocabulary for a few hundred words would cost more than a block does. `fixed` learns nothing, as padding_idx
    of torch's embedding."""

    @staticmethod
    def forward(
        ctx: Any, master_VD: torch.Tensor, values_VD: torch.Tensor, ids_N: torch.Tensor, fixed: int | None
    ) -> torch.Tensor:
        ctx.master, ctx.ids, ctx.fixed = master_VD, ids_N, fixed
        return values_VD.detach()[ids_N]

    @staticmethod
    def backward(ctx: Any, grad_ND: torch.Tensor) -> tuple[None, None, None, None]:
        if ctx.fixed is not None:
            grad_ND = grad_ND.masked_fill((ctx.ids == ctx.fixed)[:, None], 0.0)
        add_rows(ctx.master, ctx.ids, grad_ND)
        return None, None, None, None


class ClosedHead(Function):
    """h_PD @ matrix_VD.T, where only `rows` of the float32 master learn."""

    @staticmethod
    def forward(
        ctx: Any, h_PD: torch.Tensor, matrix_VD: torch.Tensor, master_VD: torch.Tensor, rows: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(h_PD, matrix_VD, rows)
        ctx.master = master_VD
        return F.linear(h_PD, matrix_VD.detach())

    @staticmethod
    def backward(ctx: Any, grad_PV: torch.Tensor) -> tuple[torch.Tensor | None, None, None, None]:
        h_PD, matrix_VD, rows = ctx.saved_tensors
        if ctx.needs_input_grad[2]:
            add_rows(ctx.master, rows, grad_PV[:, rows].T @ h_PD)
        return grad_PV @ matrix_VD if ctx.needs_input_grad[0] else None, None, None, None


def add_rows(matrix: torch.Tensor, rows: torch.Tensor, grad: torch.Tensor) -> None:
    """Adds grad [N, D] to the gradient of the rows [N] of a matrix [V, D], in place."""
    if matrix.grad is None:
        matrix.grad = torch.zeros_like(matrix)
    matrix.grad.index_add_(0, rows, grad.to(matrix.dtype))


class RMSNorm(Function):
    """x / rms(x) * weight over the last dimension (Zhang and Sennrich 2019), in the dtype `to`."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float, to: torch.dtype) -> torch.Tensor:
        square = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32).square_()
        inverse = (square / x.shape[-1] + eps).rsqrt_()
        unit, weight = (x * inverse).to(to), weight.to(to)
        ctx.save_for_backward(unit, weight, inverse)
        return unit * weight

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None]:
        unit, weight, inverse = ctx.saved_tensors
        product = grad * unit
        along = product.reshape(-1, product.shape[-1])
        weight_grad = x_grad = None
        if ctx.needs_input_grad[1]:
            weight_grad = along.sum(0, dtype=torch.float32)
        if ctx.needs_input_grad[0]:
            mean = torch.mv(along, weight).float().view(inverse.shape) / product.shape[-1]
            x_grad = (grad * weight) * inverse
            x_grad -= unit * (inverse * mean)
        return x_grad, weight_grad, None, None


class Gated(Function):
    """activation(gate) * up for gate and up side by side, [N, 2F] -> [N, F]."""

    @staticmethod
    def forward(ctx: Any, both_N2F: torch.Tensor, activation: Activation) -> torch.Tensor:
        gate, up = both_N2F.chunk(2, -1)
        acted = F.silu(gate) if activation == "silu" else F.gelu(gate, approximate="tanh")
        ctx.save_for_backward(both_N2F, acted)
        ctx.activation = activation
        return acted * up

    @staticmethod
    def backward(ctx: Any, grad_NF: torch.Tensor) -> tuple[torch.Tensor, None]:
        both_N2F, acted = ctx.saved_tensors
        gate, up = both_N2F.chunk(2, -1)
        out = torch.empty_like(both_N2F)
        gate_grad, up_grad = out.chunk(2, -1)
        torch.mul(grad_NF, acted, out=up_grad)
        inner = grad_NF * up
        if ctx.activation == "silu":
            gate_grad.copy_(torch.ops.aten.silu_backward(inner, gate))
        else:
            gate_grad.copy_(torch.ops.aten.gelu_backward(inner, gate, approximate="tanh"))
        return out, None


class Rotary(Function):
    """Rotary positions (Su et al. 2021) of x [N, heads, d]; cos and sin float32 [N, 1, d/2]."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotated(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _rotated(grad, cos, -sin), None, None


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    one, other = x.chunk(2, -1)
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    first, second = out.chunk(2, -1)
    first.copy_((one * cos).sub_(other * sin))
    second.copy_((other * cos).add_(one * sin))
    return out


class Spread(Function):
    """Rows of x [N, ...] put at the places `slots` (each once) of a zero tensor [size, ...]."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, slots: torch.Tensor, size: int) -> torch.Tensor:
        ctx.save_for_backward(slots)
        return x.new_zeros(size, *x.shape[1:]).index_copy_(0, slots, x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return grad.index_select(0, *ctx.saved_tensors), None, None


class Gather(Function):
    """The rows at `slots` (each once): Spread the other way."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(slots)
        ctx.size = len(x)
        return x.index_select(0, slots)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        (slots,) = ctx.saved_tensors
        return grad.new_zeros(ctx.size, *grad.shape[1:]).index_copy_(0, slots, grad), None
