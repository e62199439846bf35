"""Training on the weights that ship: they are rounded in the forward pass, gradients pass straight through.

Straight-through estimator (Bengio et al. 2013) on GGUF blocks, so that the loss already sees what the file will hold.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.func import functional_call
from transformers import PreTrainedModel

from lightbulb.core.errors import ModelError
from lightbulb.formats.gguf.quant_types import QUANT_TYPES
from lightbulb.formats.gguf.type_map import LAYER_ROLES, TypeMap
from lightbulb.models.families import GGUF_LINEAR, architecture_spec, embedding_of, layers_of
from lightbulb.ops.fake_quantize import quantize_dequantize_q4_0, quantize_dequantize_q8_0
from lightbulb.train.data import Batch
from lightbulb.train.forward import target_logits

ON_TENSORS = {"q8_0": quantize_dequantize_q8_0, "q4_0": quantize_dequantize_q4_0}  # the others go through numpy


def quantize_dequantize(w: torch.Tensor, quant_type: str) -> torch.Tensor:
    """What a file of that type holds of w [..., in], in w's dtype.

    Raises:
        ValueError: `in` is no whole number of blocks
    """
    if quant_type in ON_TENSORS:
        return ON_TENSORS[quant_type](w)
    held = QUANT_TYPES[quant_type].quantize_dequantize(w.detach().float().cpu().numpy())
    return torch.from_numpy(held).to(w)


def block_weights(model: PreTrainedModel, types: TypeMap) -> list[tuple[torch.Tensor, str]]:
    """What the file will hold in blocks, with the names of the types: every linear of the layers, the embedding, and an
    untied head. Raises ModelError for a model whose layers are ternary as they are."""
    arch = architecture_spec(model.config)
    if arch.ternary:
        raise ModelError(
            f"the layers of a {arch.family} model are ternary already and are rounded to nothing else",
            hint="leave out the pass `quantize`: `export` writes them as they are",
        )
    roles = {path: LAYER_ROLES[GGUF_LINEAR[role]] for role, path in arch.linears.items()}
    ends = {id(w): (w, role) for role, w in (("head", model.lm_head.weight), ("embedding", embedding_of(model).weight))}
    weights = [
        (module.weight, roles.get(path, "other"))
        for layer in layers_of(model)
        for path, module in layer.named_modules()
        if isinstance(module, nn.Linear)
    ]
    return [(w, types.type_of(role).name) for w, role in [*weights, *ends.values()]]


@torch.no_grad()
def quantize_dequantize_(model: PreTrainedModel, types: TypeMap) -> None:
    """Rounds all block weights in place."""
    for weight, quant_type in block_weights(model, types):
        weight.copy_(quantize_dequantize(weight, quant_type))


class FakeQuantized(nn.Module):
    """A model whose weights act as rounded while their float32 masters are trained."""

    def __init__(self, model: PreTrainedModel, types: TypeMap):
        super().__init__()
        self.model = model
        self.quant_types = {id(weight): quant_type for weight, quant_type in block_weights(model, types)}

    def forward(self, batch: Batch, answer_ids: list[int] | None) -> torch.Tensor:
        """As `target_logits`."""
        return target_logits(self.model, batch, answer_ids)

    def target_logits(self, batch: Batch, answer_ids: list[int] | None = None) -> torch.Tensor:
        """As train.forward.target_logits, [P, V]."""
        rounded = {
            name: w + (quantize_dequantize(w, self.quant_types[id(w)]) - w).detach()
            for name, w in self.named_parameters()
            if id(w) in self.quant_types
        }
        return functional_call(self, rounded, (batch, answer_ids), tie_weights=True)
