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
from lightbulb.ops.fused import ClosedHead, Rows
from lightbulb.train.block import Block, Turns, activation_of
from lightbulb.train.data import Batch
from lightbulb.train.forward import device_of, logit_cap_of, native_bf16, target_logits
from lightbulb.train.frozen import Kept
from lightbulb.train.packed import Packed
from lightbulb.train.quantized import FakeQuantized, block_weights
from lightbulb.train.working import Copy, Norm


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
