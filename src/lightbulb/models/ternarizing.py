"""A transformer as one of ternary weights: the same matrices behind it, a norm more before each output matrix."""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel

from lightbulb.core.errors import UnsupportedModel
from lightbulb.models.decoder import Decoder, config_for
from lightbulb.models.families import MATMULFREE, PLAIN_NORMS
from lightbulb.models.gguf_shape import architecture_of
from lightbulb.models.narrowing import TOKEN_IDS, spec_of_model
from lightbulb.models.spec import LayerSpec, ModelSpec, attention_layer
from lightbulb.models.ternary import TernaryLinear, set_share


def ternary_spec(spec: ModelSpec) -> ModelSpec:
    """What a model of `spec` becomes.

    Raises:
        UnsupportedModel: its layers compute what ternary ones do not, or no file can hold them
    """
    _check(spec)
    found = ModelSpec(
        family=MATMULFREE,
        layers=tuple(
            attention_layer(layer.feed_forward or 0, layer.heads, layer.kv_heads, layer.head_width)
            for layer in spec.layers
        ),
        **spec.model_dump(include={"width", "vocabulary", "vocabulary_out", "tied", "context", "epsilon", "rope"}),
    )
    architecture_of(found)
    return found


def _check(spec: ModelSpec) -> None:
    refused = next(filter(None, map(_unlike, spec.layers)), None)
    if spec.arch.ternary:
        refused = "ternary weights already"
    elif spec.attention_cap or spec.logit_cap or spec.two_way or spec.arch.scales_embedding or spec.query_scalar:
        refused = "capped or scaled scores, or attention in both directions"
    if refused:
        raise UnsupportedModel(
            f"this {spec.family} has {refused}, and cannot be made ternary",
            where="config.json",
            hint="start from a model of the family llama, whose layers are alike",
        )


def _unlike(layer: LayerSpec) -> str | None:
    """What a layer has, or lacks, that a ternary one does not."""
    if layer.mixer != "attention" or layer.feed_forward is None:
        return "a layer without attention or a feed-forward"
    if layer.biases:
        return "biases"
    if layer.slides:
        return "attention with a window"
    if set(layer.norms) != set(PLAIN_NORMS.values()) or layer.activation != "silu":
        return f"layers with {', '.join(layer.norms)} and {layer.activation}"
    return None


def ternarized(model: PreTrainedModel) -> Decoder:
    """A ternary model with the weights of a dense one behind it, which shares no memory with it. Its linears act as
    dense ones until they get a share (`set_share`).

    Raises:
        UnsupportedModel: as `ternary_spec` does
    """
    made = Decoder(config_for(ternary_spec(spec_of_model(model))))
    weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    made.load_state_dict(weights, strict=False)  # the new norms are ones; a tied head is the embedding
    made.generation_config = model.generation_config
    for name in TOKEN_IDS:
        setattr(made.config, name, getattr(model.config, name, None))
    set_share(made, 0.0)
    return made.to(next(model.parameters()).device).eval()  # type: ignore[arg-type, return-value]


class NormSizes:
    """Gives the new norms the mean size of what they will norm, so that they change little: everything that `model`
    reads inside `with` is looked at, and the weights are set at its end.

    Args:
        model: with `share` 0
    """

    def __init__(self, model: nn.Module):
        self.linears = [m for m in model.modules() if isinstance(m, TernaryLinear) and m.norm is not None]
        self.squares: dict[TernaryLinear, list[torch.Tensor]] = {linear: [] for linear in self.linears}

    def __enter__(self) -> NormSizes:
        self.hooks = [linear.register_forward_pre_hook(self._look) for linear in self.linears]
        return self

    def _look(self, linear: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.squares[linear].append(inputs[0].detach().float().square().mean())  # type: ignore[index]

    @torch.no_grad()
    def __exit__(self, *raised: object) -> None:
        for hook in self.hooks:
            hook.remove()
        for linear, found in self.squares.items():
            if found and linear.norm is not None:
                linear.norm.weight.fill_(torch.stack(found).mean().sqrt())
