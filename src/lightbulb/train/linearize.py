"""Recurrent mixers that begin as much like the attention whose place they take as a closed form allows.

Linearizing a transformer (MOHAWK, Bick et al. 2024; LoLCATs, Zhang et al. 2024) starts from what is there: candidates
are the values of attention, each channel's forget gate starts at the one decay of a list that tells most of what its
head reads, and the last product is fitted to what attention gives by least squares. Only then is anything trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from lightbulb.models.decoder import Decoder
from lightbulb.models.families import architecture_spec, layers_of
from lightbulb.models.form import Encoded
from lightbulb.models.narrowing import made_of, spec_of_model
from lightbulb.models.spec import LayerSpec, ModelSpec
from lightbulb.ops.linearize import best_decays, decayed, explained, ridge
from lightbulb.train.layerwise import LayerWalk

DECAYS = (0.0, 0.5, 0.75, 0.875, 0.9375, 0.96875, 0.984375, 0.9921875)  # memories of 1 to 128 tokens
LEAST_GATE = 1e-3  # a forget gate of 0 has a logit without end
NEAR_LINEAR = 0.5  # standard deviation up to which silu bends what it is given little
OPEN = 0.5  # the output gate, whose weights start at 0


@dataclass(frozen=True)
class Start:
    """Where a mixer begins.

    Attributes:
        weights: by their names in the layer
        explained: the share of what attention gave, in squares, that it gives, too
    """

    weights: dict[str, torch.Tensor]
    explained: float


def linearized(model: PreTrainedModel, layers: Sequence[int], data: Sequence[Encoded]) -> tuple[Decoder, list[float]]:
    """The model with recurrent mixers in the place of attention.

    Args:
        model: a decoder, which stays as it is
        layers: whose attention goes, rising
        data: examples that are read once

    Returns:
        The decoder, and of each of the layers the share of what attention gave that the mixer gives before training.
    """
    spec, state = spec_of_model(model), dict(model.state_dict())
    small = ModelSpec(**spec.model_dump() | {"layers": [
        layer.recurrent() if index in layers else layer for index, layer in enumerate(spec.layers)
    ]})  # fmt: skip
    walk, shares = LayerWalk(model, data), []
    for index in range(layers[-1] + 1):
        if index in layers:
            start = start_of(model, index, spec.layers[index], walk)
            shares.append(start.explained)
            state |= {f"{spec.arch.layers}.{index}.{name}": values for name, values in start.weights.items()}
        else:
            walk.go_through(index)
    return made_of(model, small, {name: state[name] for name in small.tensors}), shares


@torch.no_grad()
def start_of(model: PreTrainedModel, index: int, layer: LayerSpec, walk: LayerWalk) -> Start:
    """Where the mixer of layer `index` begins. The data moves on to what the layer gives."""
    paths = architecture_spec(model.config).linears
    modules: Any = dict(layers_of(model)[index].named_modules())
    v_KD, o_DC = (modules[paths[role]].weight.float() for role in ("v", "o"))
    read = walk.reads(index, ("q", "o"))
    x_ND, heads_NC = (torch.cat([each[role] for each in read]) for role in ("q", "o"))
    begins_N = torch.zeros(len(x_ND), dtype=torch.bool, device=x_ND.device)
    begins_N[walk.starts] = True

    channel_W, row_W = channels_of(layer, o_DC, heads_NC)
    values_WD = v_KD[row_W]
    spread_W = (x_ND @ values_WD.T).std(0)
    candidate_WD = values_WD * (NEAR_LINEAR / spread_W.clamp_min(NEAR_LINEAR))[:, None]
    c_NW = F.silu(x_ND @ candidate_WD.T)
    decay_W = best_decays(c_NW, heads_NC[:, channel_W], begins_N, DECAYS, row_W.tolist())
    mixed_NW, given_ND = OPEN * decayed(c_NW, decay_W, begins_N), heads_NC @ o_DC.T
    out_DW = ridge(mixed_NW, given_ND)
    weights = {
        f"{paths['mix_f']}.weight": torch.zeros_like(candidate_WD),
        f"{paths['mix_f']}.bias": torch.logit(decay_W, eps=LEAST_GATE),
        f"{paths['mix_c']}.weight": candidate_WD,
        f"{paths['mix_g']}.weight": torch.zeros_like(candidate_WD),
        f"{paths['mix_out']}.weight": out_DW,
    }
    return Start(weights, explained(given_ND, mixed_NW @ out_DW.T))


def channels_of(layer: LayerSpec, o_DC: torch.Tensor, heads_NC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Which channels of the heads a state as wide as the model holds: those that add most where not all have room, some
    twice where there is more.

    Args:
        layer: with attention
        o_DC: output product
        heads_NC: what it reads

    Returns:
        Of each column of the state [W] its channel, and the row of the value product that makes it: heads share these.
    """
    width = len(o_DC)
    adds_C = heads_NC.square().sum(0) * o_DC.square().sum(0)
    best = adds_C.argsort(descending=True, stable=True)[:width].sort().values
    channel_W = best[torch.arange(width, device=best.device) % len(best)]
    head_W, place_W = channel_W // layer.head_width, channel_W % layer.head_width
    return channel_W, head_W // (layer.heads // layer.kv_heads) * layer.head_width + place_W
