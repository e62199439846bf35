"""A decoder as training runs it: the same numbers as transformers' modules, for fewer CPU seconds.

Tokens of all sequences stand in one row without padding; matrices that read the same input are one product; attention
over short sequences is plain products; the last block and the head see only the positions where something is predicted.
Products work on copies of the float32 masters in bfloat16 where the hardware multiplies it natively.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel

from lightbulb.formats.gguf.type_map import TypeMap
from lightbulb.models.families import FAMILIES, OWN, architecture_spec, embedding_of, final_norm_of, is_tied, layers_of
from lightbulb.models.form import Encoded
from lightbulb.ops.fused import ClosedHead, Gated, Gather, RMSNorm, Rotary, Rows, Spread, Working
from lightbulb.ops.recurrence import gated_recurrence
from lightbulb.train.data import Batch
from lightbulb.train.forward import device_of, logit_cap_of, native_bf16, target_logits
from lightbulb.train.frozen import Kept
from lightbulb.train.packed import Packed, Queries
from lightbulb.train.quantized import FakeQuantized, block_weights, quantize_dequantize

PLAIN_ATTENTION = 512  # tokens up to which scores of all pairs, kept for the way back, are faster than torch's kernel
FORBIDDEN = -1e9  # added to the score of a pair that must not attend
Turns = tuple[torch.Tensor, torch.Tensor]  # cos and sin [N, 1, d/2]
Weights = tuple[torch.Tensor, torch.Tensor | None]  # a matrix [out, in] and its bias [out]


@dataclass(frozen=True)
class Epochs:
    """The order in which a training reads `data`."""

    data: Sequence[Encoded]
    batch_size: int
    seed: int


def fits(model: PreTrainedModel) -> bool:
    """Whether this engine computes what `model` does: a known family, untouched modules, no dropout."""
    config = getattr(model, "config", None)
    if getattr(config, "model_type", None) not in (*FAMILIES, OWN):
        return False
    arch = architecture_spec(config)
    if arch.ternary:
        return False
    paths = arch.linears.values()
    linears = [m for layer in layers_of(model) for path, m in layer.named_modules() if path in paths]
    return (
        all(type(linear) is nn.Linear for linear in linears)
        and all(activation_of(model, i) in ("silu", "gelu_pytorch_tanh") for i in range(len(layers_of(model))))
        and not getattr(config, "attention_dropout", 0)
        and not _option(model, "attn_logit_softcapping", "attention_cap")
        and not _option(model, "use_bidirectional_attention", "two_way")
    )


def _option(model: Any, name: str, own: str) -> Any:
    """What transformers' config says, or the spec of a model of ours."""
    return getattr(model.spec, own) if model.config.model_type == OWN else getattr(model.config, name, None)


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


def forward_of(
    model: PreTrainedModel,
    answer_ids: list[int] | None = None,
    types: TypeMap | None = None,
    epochs: Epochs | None = None,
) -> Callable[[PreTrainedModel, Batch], torch.Tensor]:
    """What gives the logits [P, V] at the targets of a batch, by the fastest way that computes what `model` does.

    Args:
        model: a decoder
        answer_ids: see train.forward.target_logits
        types: that the weights are rounded to
        epochs: what frozen layers give is kept for them
    """
    if fits(model):
        engine = Engine(model, answer_ids, {id(w): to for w, to in block_weights(model, types)} if types else None)
        if epochs:
            engine.keep(epochs)
        return lambda m, batch: engine.target_logits(batch)
    rounded = FakeQuantized(model, types) if types else None
    return lambda m, batch: rounded.target_logits(batch, answer_ids) if rounded else target_logits(m, batch, answer_ids)


class Copy:
    """A working copy of one parameter or of several stacked ones, made anew when a master has changed."""

    def __init__(self, masters: Sequence[torch.Tensor], dtype: torch.dtype, quant_types: Mapping[int, str]):
        self.masters, self.dtype, self.quant_types = masters, dtype, quant_types
        self.plain = len(masters) == 1 and masters[0].dtype == dtype and id(masters[0]) not in quant_types
        self.versions: list[int] = []
        self.copy = masters[0].detach()

    @torch.no_grad()
    def values(self) -> torch.Tensor:
        """The weights as they act: rounded where they have a type, in `dtype`."""
        versions = [m._version for m in self.masters]
        if not self.plain and versions != self.versions:
            if not self.versions:
                rows = sum(len(m) for m in self.masters)
                self.copy = self.masters[0].new_empty(rows, *self.masters[0].shape[1:], dtype=self.dtype)
            at = 0
            for m in self.masters:
                quant_type = self.quant_types.get(id(m))
                self.copy[at : at + len(m)].copy_(quantize_dequantize(m, quant_type) if quant_type else m)
                at += len(m)
            self.versions = versions
        return self.copy

    def __call__(self) -> torch.Tensor:
        if self.plain:
            return self.masters[0]
        return Working.apply(self.values(), *self.masters)


class Norm:
    """An RMSNorm as it acts, its offset in the weight."""

    def __init__(self, module: Any, offset: float, dtype: torch.dtype):
        self.weight, self.offset, self.dtype = module.weight, offset, dtype
        self.eps = getattr(module, "variance_epsilon", None) or module.eps

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight + self.offset if self.offset else self.weight
        return RMSNorm.apply(x, weight, self.eps, self.dtype)


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


def linear(x: torch.Tensor, weights: tuple[Copy, Copy | None]) -> torch.Tensor:
    """x [N, in] times weights [out, in], and the bias where there is one."""
    return F.linear(x, *values(weights))


def values(weights: tuple[Copy, Copy | None]) -> Weights:
    """A matrix and its bias as they act."""
    weight, bias = weights
    return weight(), bias() if bias else None


class Engine:
    """`model` (one that `fits`) with working copies of its weights.

    Args:
        model: a decoder
        answer_ids: see train.forward.target_logits
        quant_types: of parameters, by id, that act as rounded
        dtype: of products; None for what the hardware multiplies fastest
    """

    def __init__(
        self,
        model: PreTrainedModel,
        answer_ids: Sequence[int] | None = None,
        quant_types: Mapping[int, str] | None = None,
        dtype: torch.dtype | None = None,
    ):
        self.model, self.device, quant_types = model, device_of(model), quant_types or {}
        self.dtype = dtype or (torch.bfloat16 if native_bf16(self.device) else torch.float32)
        self.answers = None if answer_ids is None else torch.tensor(answer_ids, device=self.device)
        arch = architecture_spec(model.config)
        self.blocks = [Block(model, i, self.dtype, quant_types) for i in range(len(layers_of(model)))]
        learning = (i for i, block in enumerate(self.blocks) if block.trains)
        self.frozen = min(next(learning, len(self.blocks)), len(self.blocks) - 1)  # the last is computed apart
        self.embedding: Any = embedding_of(model)
        self.words = Copy([self.embedding.weight], torch.float32, quant_types)
        self.head = Copy([self.model.lm_head.weight], self.dtype, quant_types)
        self.norm = Norm(final_norm_of(model), arch.norm_offset, self.dtype)
        self.cap = logit_cap_of(model)
        self.kept: Kept | None = None

    def keep(self, epochs: Epochs) -> None:
        """Keeps what the frozen blocks give for each example: they read the words as they are now. Nothing is kept
        where a word that is read may learn in a tied head. (Decay of weights moves a tied matrix by less than
        bfloat16 shows.)"""
        read = sorted({i for item in epochs.data for i in item.ids[:-1]})
        learns = is_tied(self.model) and self.embedding.weight.requires_grad
        if not self.frozen or (learns and (self.answers is None or not set(read).isdisjoint(self.answers.tolist()))):
            return
        self.kept = Kept(epochs.data, epochs.batch_size, epochs.seed, self.model.config.hidden_size, self.dtype)
        rows = torch.tensor(read, device=self.device)
        self.place = torch.zeros(len(self.embedding.weight), dtype=torch.long, device=self.device)
        self.place[rows] = torch.arange(len(rows), device=self.device)
        self.first_words = self.words.values()[rows]

    def target_logits(self, batch: Batch, kept: Mapping[int, int] | None = None) -> torch.Tensor:
        """Logits [P, V] at the target positions of a batch.

        Args:
            batch: with P targets
            kept: of a sub-model: its layers, rising, and of each how many of the feed-forward's first channels it has
        """
        with torch.autocast(self.device.type, enabled=False):
            packed = Packed.of(batch, self.device)
            rotary = self._rotary(packed)
            above: list[tuple[Block, int | None]]
            if kept is not None:
                h_ND, above = self._embedded(packed.ids), [(self.blocks[i], n) for i, n in kept.items()]
            else:
                h_ND = self.kept.read(batch, self._frozen_states) if self.kept else self._below(packed, rotary)
                above = [(block, None) for block in self.blocks[self.frozen :]]
            for block, channels in above[:-1]:
                h_ND = block(h_ND, packed.all, rotary, channels)
            block, channels = above[-1]
            logits_PV = self._head(self.norm(block(h_ND, packed.predicting, rotary, channels)))
            return torch.tanh(logits_PV / self.cap) * self.cap if self.cap else logits_PV

    def _below(self, packed: Packed, rotary: Mapping[Hashable, Turns]) -> torch.Tensor:
        """What the frozen blocks give, or else the embedding."""
        h_ND = self._embedded(packed.ids)
        with torch.no_grad():
            for block in self.blocks[: self.frozen]:
                h_ND = block(h_ND, packed.all, rotary)
        return h_ND

    @torch.no_grad()
    def _frozen_states(self, batch: Batch) -> torch.Tensor:
        packed = Packed.of(batch, self.device)
        return self._below(packed, self._rotary(packed))

    def _embedded(self, ids_N: torch.Tensor) -> torch.Tensor:
        if self.kept:
            h_ND = self.first_words[self.place[ids_N]]
        elif self.frozen or not torch.is_grad_enabled():  # nothing goes back below a frozen block
            h_ND = self.words.values().detach()[ids_N]
        else:
            h_ND = Rows.apply(self.embedding.weight, self.words.values(), ids_N, self.embedding.padding_idx)
        scale = getattr(self.embedding, "embed_scale", None)
        return h_ND if scale is None else h_ND * scale.to(h_ND.dtype)

    def _head(self, x_PD: torch.Tensor) -> torch.Tensor:
        if self.answers is None:
            return F.linear(x_PD, self.head())
        return ClosedHead.apply(x_PD, self.head.values(), self.model.lm_head.weight, self.answers)

    def _rotary(self, packed: Packed) -> dict[Hashable, Turns]:
        """Of each kind of layer."""
        kinds = {block.kind for block in self.blocks if block.attends}
        if self.model.config.model_type == OWN:
            return {kind: self._own_turns(kind, packed) for kind in kinds}
        like = torch.empty(1, dtype=torch.float32, device=self.device)
        positions = torch.arange(packed.width, device=self.device)[None]
        turns: Any = self.model.base_model.rotary_emb
        by_kind = self.model.config.model_type == "gemma3_text"
        found: dict[Hashable, Turns] = {}
        for kind in kinds:
            tables = turns(like, positions, kind) if by_kind else turns(like, positions)
            cos, sin = (t[0, :, None, : t.shape[-1] // 2][packed.position] for t in tables)
            found[kind] = (cos, sin)
        return found

    def _own_turns(self, kind: Any, packed: Packed) -> Turns:
        rope, head_width = kind
        frequencies = torch.from_numpy(rope.frequencies(head_width)).float().to(self.device)
        angles = packed.position[:, None, None].float() * frequencies
        return angles.cos(), angles.sin()
