"""Training on the weights that ship: they are rounded in the forward pass, gradients pass straight through.

Straight-through estimator (Bengio et al. 2013) on GGUF blocks, so that the loss already sees what the file will hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from transformers import PreTrainedModel

from lightbulb.core.errors import ModelError
from lightbulb.formats.gguf.quant_types import QUANT_TYPES
from lightbulb.formats.gguf.type_map import TypeMap
from lightbulb.models.families import architecture_spec, is_tied, layers_of
from lightbulb.models.gguf import entries_of
from lightbulb.models.spec_config import spec_of_config
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


@dataclass(frozen=True)
class BlockWeight:
    """A matrix that a file holds in blocks.

    Attributes:
        name: of the parameter
        tensor: in the file
        weight: the parameter itself
    """

    name: str
    tensor: str
    weight: torch.Tensor

    @property
    def weights(self) -> int:
        """How many."""
        return self.weight.numel()


def matrices_of(model: PreTrainedModel) -> list[BlockWeight]:
    """Every linear of the layers, an untied head, and the embedding.

    Raises:
        ModelError: the layers are ternary as they are
    """
    arch = architecture_spec(model.config)
    if arch.ternary:
        raise ModelError(
            f"the layers of a {arch.family} model are ternary already and are rounded to nothing else",
            hint="leave out the pass `quantize`: `export` writes them as they are",
        )
    entries = entries_of(spec_of_config(model.config.to_dict()))
    tensors = {part: entry.name for entry in entries for part in entry.parts}
    names = [
        f"{arch.layers}.{index}.{path}.weight"
        for index, layer in enumerate(layers_of(model))
        for path, module in layer.named_modules()
        if isinstance(module, nn.Linear)
    ]
    names += [f"{path}.weight" for path in ([] if is_tied(model) else [arch.head]) + [arch.embed]]
    return [BlockWeight(name, tensors[name], model.get_parameter(name)) for name in names]


def block_weights(model: PreTrainedModel, types: TypeMap) -> list[tuple[torch.Tensor, str]]:
    """What the file will hold in blocks, with the names of the types."""
    return [(m.weight, types.asked_for(m.tensor).name) for m in matrices_of(model)]


Packed = dict[str, tuple[str, np.ndarray]]  # the name of a type and bytes [rows, ...], by the name of a parameter


@torch.no_grad()
def round_(matrix: BlockWeight, quant_type: str, importance: torch.Tensor | None = None) -> tuple[str, np.ndarray]:
    """Rounds a matrix in place.

    Args:
        matrix: of a model
        quant_type: the name of its type
        importance: see `QuantType.quantize`

    Returns:
        The name of the type, and the bytes that hold what the matrix now is.
    """
    values = matrix.weight.detach().float().cpu().numpy()
    packed = QUANT_TYPES[quant_type].quantize(values, None if importance is None else importance.numpy())
    matrix.weight.copy_(torch.from_numpy(QUANT_TYPES[quant_type].dequantize(packed)))
    return quant_type, packed


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
