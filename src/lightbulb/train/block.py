"""One layer of a decoder as training runs it: matrices that read the same input are one product, and attention over
short sequences is plain products."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from lightbulb.models.families import OWN, architecture_spec, layers_of
from lightbulb.ops.fused import Gated, Gather, Rotary, Spread
from lightbulb.ops.recurrence import gated_recurrence
from lightbulb.train.packed import Queries
from lightbulb.train.working import Copy, Norm, Weights, linear, values

PLAIN_ATTENTION = 512  # tokens up to which scores of all pairs, kept for the way back, are faster than torch's kernel
FORBIDDEN = -1e9  # added to the score of a pair that must not attend
Turns = tuple[torch.Tensor, torch.Tensor]  # cos and sin [N, 1, d/2]


def activation_of(model: Any, index: int) -> str:
    """Of the feed-forward of layer `index`, by transformers' name."""
    if model.config.model_type == OWN:
        return str(model.spec.layers[index].activation)
    return str(getattr(model.config, "hidden_activation", None) or getattr(model.config, "hidden_act", ""))


def kind_and_window(model: Any, index: int) -> tuple[Hashable, int | None]:
    """Of layer `index`: what its positions have in common with those of others, and how far it looks back."""
    config = model.config
    if config.model_type == OWN:
        spec = model.spec
        layer = spec.layers[index]
        return (spec.rope_of(layer), layer.head_width), spec.window if layer.slides else None
    kinds, window = getattr(config, "layer_types", None), getattr(config, "sliding_window", None)
    kind = kinds[index] if kinds else None
    return kind, window if kind == "sliding_attention" or (kinds is None and window) else None


class Block:
    """One layer, whichever parts it has. Sequences meet only in `attend`."""

    def __init__(self, model: PreTrainedModel, index: int, dtype: torch.dtype, quant_types: Mapping[int, str]):
        arch, layer = architecture_spec(model.config), layers_of(model)[index]
        modules: dict[str, Any] = dict(layer.named_modules())
        linears = {role: modules[path] for role, path in arch.linears.items() if path in modules}

        def stacked(*roles: str) -> tuple[Copy, Copy | None]:
            weights, biases = [linears[r].weight for r in roles], [linears[r].bias for r in roles]
            bare = any(bias is None for bias in biases)
            return Copy(weights, dtype, quant_types), None if bare else Copy(biases, dtype, {})

        self.dtype, self.activation = dtype, activation_of(model, index)
        self.attends, self.recurs, self.feeds = "q" in linears, "mix_f" in linears, "down" in linears
        if self.attends:
            self.q, self.kv, self.qkv = stacked("q"), stacked("k", "v"), stacked("q", "k", "v")
            self.o = stacked("o")
            self.d, self.scale = modules["self_attn"].head_dim, modules["self_attn"].scaling
            self.heads, self.kv_heads = (linears[role].out_features // self.d for role in ("q", "k"))
        if self.recurs:
            self.fcg, self.fc = stacked("mix_f", "mix_c", "mix_g"), stacked("mix_f", "mix_c")
            self.g, self.out, self.forget_bias = stacked("mix_g"), stacked("mix_out"), linears["mix_f"].bias
        if self.feeds:
            self.gate_up, self.down = stacked("gate", "up"), stacked("down")
        self.norms = {
            norm: Norm(modules[path], arch.norm_offset, dtype) for path, norm in arch.norms.items() if path in modules
        }
        self.kind, self.window = kind_and_window(model, index)
        self.trains = any(p.requires_grad for p in layer.parameters())

    def __call__(
        self, h_ND: torch.Tensor, queries: Queries, rotary: Mapping[Hashable, Turns], channels: int | None = None
    ) -> torch.Tensor:
        """h [N, D] float32 -> [rows that ask, D]. channels: how many of the feed-forward's first act; None: all."""
        if self.attends:
            h_ND = self._mixed(h_ND, queries, rotary[self.kind])
        elif self.recurs:
            h_ND = self._remembered(h_ND, queries)
        elif queries.rows is not None:
            h_ND = h_ND[queries.rows]
        if not self.feeds:
            return h_ND
        gate_up, down = self._feed_forward(channels)
        gated = Gated.apply(F.linear(self._norm("ffn_norm", h_ND), *gate_up), self.activation)
        return h_ND + self._norm("post_ffw_norm", F.linear(gated, *down))

    def _feed_forward(self, channels: int | None) -> tuple[Weights, Weights]:
        """The first `channels` of its two products: gates and ups side by side, and what reads them."""
        (gate_up, bias), (down, down_bias) = values(self.gate_up), values(self.down)
        if channels is None or channels == down.shape[1]:
            return (gate_up, bias), (down, down_bias)
        first = gate_up.unflatten(0, (2, -1))[:, :channels].flatten(0, 1)
        first_bias = None if bias is None else bias.unflatten(0, (2, -1))[:, :channels].flatten()
        return (first, first_bias), (down[:, :channels], down_bias)

    def _mixed(self, h_ND: torch.Tensor, queries: Queries, rotary: Turns) -> torch.Tensor:
        x_ND, rows = self._norm("attn_norm", h_ND), queries.rows
        if rows is None:
            qkv = linear(x_ND, self.qkv).view(len(x_ND), -1, self.d)
            q, k, v = qkv.split((self.heads, self.kv_heads, self.kv_heads), 1)
        else:
            q = linear(x_ND[rows], self.q).view(len(rows), -1, self.d)
            k, v = linear(x_ND, self.kv).view(len(x_ND), 2, -1, self.d).unbind(1)
            h_ND = h_ND[rows]
        return h_ND + self._norm("post_attention_norm", linear(self._attend(q, k, v, queries, rotary), self.o))

    def _remembered(self, h_ND: torch.Tensor, queries: Queries) -> torch.Tensor:
        """With what a recurrent mixer gives. Padding stands behind a text, where nothing is read."""
        x_ND, rows, packed = self._norm("attn_norm", h_ND), queries.rows, queries.packed
        if rows is None:
            f, c, g = linear(x_ND, self.fcg).chunk(3, -1)
        else:
            f, c = linear(x_ND, self.fc).chunk(2, -1)
            g, h_ND = Spread.apply(linear(x_ND[rows], self.g), rows, len(x_ND)), h_ND[rows]
        f, c, g = (
            self._padded(t, packed.all).view(packed.batch, packed.width, -1) for t in (f + self.forget_bias, c, g)
        )
        gated = gated_recurrence(f, c, g, None, None, None, None)[0].flatten(0, 1)
        read = Gather.apply(gated, packed.slot if rows is None else packed.slot[rows])
        return h_ND + linear(read.to(self.dtype), self.out)

    def _norm(self, norm: str, x: torch.Tensor) -> torch.Tensor:
        """By GGUF's name. Gemma norms what a part gives before it is added, too."""
        return self.norms[norm](x) if norm in self.norms else x.to(self.dtype)

    def _attend(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, queries: Queries, rotary: Turns
    ) -> torch.Tensor:
        q, k = self._norm("attn_q_norm", q), self._norm("attn_k_norm", k)
        cos, sin = rotary
        rows = queries.rows
        q = Rotary.apply(q, *((cos, sin) if rows is None else (cos[rows], sin[rows])))
        k = Rotary.apply(k, cos, sin)
        packed, G = queries.packed, self.heads // self.kv_heads
        if packed.width > PLAIN_ATTENTION or q.device.type != "cpu":
            out = self._kernel(q, k, v, queries)
        else:
            B, K, T, Q = packed.batch, self.kv_heads, packed.width, queries.width
            q = self._padded(q, queries).view(B, Q, K, G, self.d).permute(0, 2, 3, 1, 4).reshape(B * K, G * Q, self.d)
            k, v = (
                self._padded(t, packed.all).view(B, T, K, self.d).transpose(1, 2).reshape(B * K, T, self.d)
                for t in (k, v)
            )
            bias = torch.zeros_like(may := queries.may_see(self._window(T)), dtype=q.dtype)
            bias = bias.masked_fill_(~may, FORBIDDEN)[:, None, None].expand(B, K, G, Q, T).reshape(B * K, G * Q, T)
            scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=self.scale)
            out = torch.bmm(scores.softmax(-1), v).view(B, K, G, Q, self.d).permute(0, 3, 1, 2, 4)
        out = out.reshape(-1, self.heads * self.d)
        return out if queries.full else Gather.apply(out, queries.slot)

    def _window(self, width: int) -> int | None:
        return self.window if self.window and self.window < width else None

    def _kernel(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, queries: Queries) -> torch.Tensor:
        """torch's own attention: [B, Tq, heads, d]."""
        q, k, v = (
            self._padded(t, to).view(to.packed.batch, to.width, -1, self.d).transpose(1, 2)
            for t, to in ((q, queries), (k, queries.packed.all), (v, queries.packed.all))
        )
        window = self._window(queries.packed.width)
        causal = queries.rows is None and window is None
        mask = None if causal else queries.may_see(window)[:, None]
        gqa = self.heads != self.kv_heads
        out = F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=self.scale, enable_gqa=gqa)
        return out.transpose(1, 2)

    def _padded(self, x: torch.Tensor, queries: Queries) -> torch.Tensor:
        return x if queries.full else Spread.apply(x, queries.slot, queries.packed.batch * queries.width)
