"""A decoder made narrower: the model of those channels, heads and columns that are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from lightbulb.models.decoder import Decoder, config_for
from lightbulb.models.families import OWN, is_tied
from lightbulb.models.spec import LayerSpec, ModelSpec, Role
from lightbulb.models.spec_config import spec_of_config

TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


@dataclass(frozen=True)
class Kept:
    """What a layer keeps, as rising indices; None: all.

    Attributes:
        channels: of the feed-forward
        groups: heads of keys and values
        heads: of queries, equally many in each kept group and none in another
    """

    channels: Sequence[int] | None = None
    groups: Sequence[int] | None = None
    heads: Sequence[int] | None = None


def spec_of_model(model: Any) -> ModelSpec:
    """What a live decoder computes, of transformers or of ours."""
    if model.config.model_type == OWN:
        return model.spec
    return spec_of_config(model.config.to_dict() | {"tie_word_embeddings": is_tied(model)})


def reorder_channels(model: PreTrainedModel, orders: Sequence[Sequence[int] | None]) -> None:
    """Puts the channels of each layer's feed-forward into another order, in place. The model computes what it did.

    Args:
        model: a decoder
        orders: of each layer, all channels in their new order; None: as they stand
    """
    spec, state = spec_of_model(model), model.state_dict()
    for name, cut in _cuts(spec, [Kept(channels=order) for order in orders], None).items():
        if cut != (None, None):
            state[name].copy_(_cut(state[name], *cut))


def narrowed(model: PreTrainedModel, kept: Sequence[Kept], columns: Sequence[int] | None = None) -> Decoder:
    """The model of what is kept. It shares no memory with `model`.

    Args:
        model: a decoder
        kept: of every layer
        columns: of the hidden states; None: all
    """
    spec = spec_of_model(model)
    width = spec.width if columns is None else len(columns)
    layers = [_layer(layer, part) for layer, part in zip(spec.layers, kept, strict=True)]
    small = ModelSpec(**spec.model_dump() | {"width": width, "layers": layers})
    state = dict(model.state_dict())
    weights = {name: _cut(state[name], *cut) for name, cut in _cuts(spec, kept, columns).items()}
    return made_of(model, small, weights)


def made_of(model: PreTrainedModel, spec: ModelSpec, weights: Mapping[str, torch.Tensor]) -> Decoder:
    """The decoder of `spec` that takes the place of `model`.

    Args:
        weights: all of them, by transformers' names; a tied head is the embedding
    """
    made = Decoder(config_for(spec))
    made.load_state_dict(weights, strict=False)
    made.generation_config = model.generation_config
    for name in TOKEN_IDS:
        setattr(made.config, name, getattr(model.config, name, None))
    return made.to(next(model.parameters()).device).eval()  # type: ignore[arg-type, return-value]


def _layer(layer: LayerSpec, kept: Kept) -> LayerSpec:
    sizes = {
        "feed_forward": layer.feed_forward if kept.channels is None else len(kept.channels),
        "kv_heads": layer.kv_heads if kept.groups is None else len(kept.groups),
        "heads": layer.heads if kept.heads is None else len(kept.heads),
    }
    return LayerSpec(**layer.model_dump() | sizes)


Cut = tuple[Sequence[int] | None, Sequence[int] | None]  # rows, columns


def _cuts(spec: ModelSpec, kept: Sequence[Kept], columns: Sequence[int] | None) -> dict[str, Cut]:
    """Tensor by transformers' name -> its rows and its columns that are kept; a vector has rows only."""
    arch = spec.arch
    cuts: dict[str, Cut] = dict.fromkeys((f"{arch.embed}.weight", f"{arch.head}.weight"), (None, columns))
    cuts[f"{arch.final_norm}.weight"] = (columns, None)
    of_heads = ("attn_q_norm", "attn_k_norm")
    for index, (layer, part) in enumerate(zip(spec.layers, kept, strict=True)):
        block, inside = f"{arch.layers}.{index}.", _inside(layer, part)
        for path, norm in arch.norms.items():
            cuts[f"{block}{path}.weight"] = (None if norm in of_heads else columns, None)
        for role, path in arch.linears.items():
            if role not in inside:
                continue
            rows, read = (columns, inside[role]) if role in ("o", "down") else (inside[role], columns)  # type: ignore[index]
            cuts |= {f"{block}{path}.weight": (rows, read), f"{block}{path}.bias": (rows, None)}
    return {name: cuts.get(name, (None, None)) for name in spec.tensors}  # a recurrent mixer stays as it is


def _inside(layer: LayerSpec, kept: Kept) -> dict[Role, Sequence[int] | None]:
    """What is kept on the inner side of each matrix of a layer."""
    queries, keys = (_of_heads(heads, layer.head_width) for heads in (kept.heads, kept.groups))
    channels = kept.channels
    return {"q": queries, "k": keys, "v": keys, "o": queries, "gate": channels, "up": channels, "down": channels}


def _of_heads(heads: Sequence[int] | None, width: int) -> list[int] | None:
    return None if heads is None else [head * width + i for head in heads for i in range(width)]


def _cut(tensor: torch.Tensor, rows: Sequence[int] | None, columns: Sequence[int] | None) -> torch.Tensor:
    for dim, places in enumerate((rows, columns)):
        if places is not None:
            tensor = tensor.index_select(dim, torch.tensor(places, device=tensor.device))
    return tensor.detach().clone()
