"""A decoder of our own, which computes what a spec says, layers that differ included.

Its parts have the names that the family's weights have in transformers. Plain torch; from transformers come only the
loop that writes text and the cache of keys and values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from transformers import Cache, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from lightbulb.core.errors import ModelError
from lightbulb.models.cache import StateCache, empty_cache, recurrent_state, tokens_seen
from lightbulb.models.families import ATTENTION, FEED_FORWARD, OWN
from lightbulb.models.folders import weight_files
from lightbulb.models.mlgru import MLGRU, PlainMLGRU, RecurrentMixer
from lightbulb.models.norms import RMSNorm
from lightbulb.models.spec import LayerSpec, ModelSpec, Role, Rope
from lightbulb.models.spec_config import spec_of_config
from lightbulb.models.ternary import TernaryLinear
from lightbulb.ops.recurrence import rising_bounds

ACTIVATIONS = {"silu": F.silu, "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh")}


class DecoderConfig(PreTrainedConfig):
    """config.json of such a model: its spec, under it what transformers asks any config for."""

    model_type = OWN

    spec: dict | None = None
    vocab_size: int = 0
    hidden_size: int = 0
    num_hidden_layers: int = 0
    max_position_embeddings: int = 0
    tie_word_embeddings: bool = False
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.spec is not None:
            spec = ModelSpec.model_validate(self.spec)
            self.vocab_size, self.hidden_size = spec.vocabulary, spec.width
            self.num_hidden_layers, self.max_position_embeddings = len(spec.layers), spec.context
            self.tie_word_embeddings = spec.tied


def config_for(spec: ModelSpec) -> DecoderConfig:
    """The config of a model of `spec`."""
    return DecoderConfig(spec=spec.model_dump(mode="json", exclude_defaults=True))


def spec_of(config: PreTrainedConfig) -> ModelSpec:
    """The spec of a live model, whose vocabulary may have been cut or grown since."""
    if not isinstance(config, DecoderConfig):
        return spec_of_config(config.to_dict())
    spec = ModelSpec.model_validate(config.spec)
    rows = {"vocabulary": config.vocab_size, "vocabulary_out": config.vocab_size}
    return spec if spec.vocabulary == config.vocab_size else spec.model_copy(update=rows)


class ScaledEmbedding(nn.Embedding):
    """Rows times a scale (Gemma: the root of the width)."""

    def __init__(self, rows: int, width: int, scale: float):
        super().__init__(rows, width)
        self.register_buffer("embed_scale", torch.tensor(scale), persistent=False)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) * cast(torch.Tensor, self.embed_scale).to(self.weight.dtype)


class Attention(nn.Module):
    """Grouped attention (Ainslie et al. 2023) of one layer."""

    def __init__(self, spec: ModelSpec, layer: LayerSpec):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = layer.heads, layer.kv_heads, layer.head_width
        self.scaling = float(spec.query_scalar or layer.head_width) ** -0.5
        self.cap, self.rope, self.slides = spec.attention_cap, spec.rope_of(layer), layer.slides
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (_linear(spec, layer, role) for role in ATTENTION)
        norms = {norm: RMSNorm(layer.head_width, spec.epsilon, spec.arch.norm_offset) for norm in layer.norms}
        self.q_norm, self.k_norm = norms.get("attn_q_norm"), norms.get("attn_k_norm")

    def forward(self, x_BTD: torch.Tensor, places: Places, cache: Cache | None, index: int) -> torch.Tensor:
        """What the layer's heads read.

        Args:
            x_BTD: normed input
            places: where the tokens stand
            cache: keys and values of earlier calls
            index: of this layer in the cache

        Returns:
            [B, T, D], to be added to the layer's input.
        """
        B, T, _ = x_BTD.shape
        q, k, v = (
            part(x_BTD).view(B, T, -1, self.head_dim).transpose(1, 2)
            for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        q = q if self.q_norm is None else self.q_norm(q)
        k = k if self.k_norm is None else self.k_norm(k)
        cos, sin = places.turns(self.rope, self.head_dim)
        q, k = rotated(q, cos, sin), rotated(k, cos, sin)
        if cache is not None:
            k, v = cache.update(k, v, index)
        out = self._attended(q, k, v.to(q.dtype), places.may_see(self.slides))
        return self.o_proj(out.transpose(1, 2).reshape(B, T, -1))

    def _attended(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, may_see: torch.Tensor) -> torch.Tensor:
        """[B, heads, T, head_dim] from q of that shape, k and v [B, kv_heads, S, head_dim], may_see [B, 1, T, S]."""
        if self.cap is None:
            gqa = self.heads != self.kv_heads
            return F.scaled_dot_product_attention(q, k, v, may_see, scale=self.scaling, enable_gqa=gqa)
        k, v = (t.repeat_interleave(self.heads // self.kv_heads, 1) for t in (k, v))
        scores = torch.tanh(q @ k.transpose(2, 3) * self.scaling / self.cap) * self.cap
        scores = scores.masked_fill(~may_see, torch.finfo(scores.dtype).min)
        return scores.softmax(-1, dtype=torch.float32).to(v.dtype) @ v


class FeedForward(nn.Module):
    """down(activation(gate(x)) * up(x)) (Shazeer 2020)."""

    def __init__(self, spec: ModelSpec, layer: LayerSpec):
        super().__init__()
        self.activation = ACTIVATIONS[layer.activation]
        self.gate_proj, self.up_proj, self.down_proj = (_linear(spec, layer, role) for role in FEED_FORWARD)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(self.activation(self.gate_proj(x)) * self.up_proj(x))


def _linear(spec: ModelSpec, layer: LayerSpec, role: Role) -> nn.Linear:
    rows, columns = layer.matrices(spec.width)[role]
    if spec.arch.ternary:
        return TernaryLinear(columns, rows, spec.epsilon if role in ("o", "down") else None)
    return nn.Linear(columns, rows, bias=role in layer.biases)


def _recurrent_mixer(spec: ModelSpec, layer: LayerSpec) -> RecurrentMixer:
    return MLGRU(spec.width, spec.epsilon) if layer.bounded else PlainMLGRU(spec.width)


class Layer(nn.Module):
    """h + mixer(norm(h)), then h + feed_forward(norm(h)); either may be missing. Gemma norms what a part gives, too."""

    def __init__(self, spec: ModelSpec, layer: LayerSpec):
        super().__init__()
        self.self_attn = Attention(spec, layer) if layer.mixer == "attention" else None
        self.mixer = _recurrent_mixer(spec, layer) if layer.mixer == "mlgru" else None
        self.mlp = FeedForward(spec, layer) if layer.feed_forward else None
        self.names: dict[str, str] = {}  # GGUF's name of a norm -> ours
        for path, norm in spec.arch.norms.items():
            if norm in layer.norms and "." not in path:  # norms inside a part are that part's
                self.names[norm] = path
                setattr(self, path, RMSNorm(spec.width, spec.epsilon, spec.arch.norm_offset))

    def _norm(self, norm: str, x: torch.Tensor) -> torch.Tensor:
        return getattr(self, self.names[norm])(x) if norm in self.names else x

    def forward(
        self, h_BTD: torch.Tensor, places: Places, cache: Cache | None, index: int, bound_D: torch.Tensor | None
    ) -> torch.Tensor:
        """index: of this layer in the cache. bound_D: of the forget gate of a recurrent mixer, where it has one."""
        if self.mixer is not None:
            state = None if cache is None else recurrent_state(cache, index)
            x_BTD, before = self._norm("attn_norm", h_BTD), None if state is None else state.recurrent_states[0]
            mixed, after = self.mixer(x_BTD, bound_D, before, places.begins_BT, places.mask_BT)
            if state is not None:
                state.update_recurrent_state(after)
            h_BTD = h_BTD + mixed
        if self.self_attn is not None:
            mixed = self.self_attn(self._norm("attn_norm", h_BTD), places, cache, index)
            h_BTD = h_BTD + self._norm("post_attention_norm", mixed)
        if self.mlp is not None:
            h_BTD = h_BTD + self._norm("post_ffw_norm", self.mlp(self._norm("ffn_norm", h_BTD)))
        return h_BTD


class Places:
    """Where the tokens of a call stand, and what each may see.

    Args:
        spec: of the model
        positions: [1 or B, T], for rotation
        seen: slots in the cache before these T
        mask: [B, seen + T], 0 for padding
        packed: positions that start again begin another text, which sees nothing of the one before
    """

    def __init__(
        self, spec: ModelSpec, positions: torch.Tensor, seen: int, mask: torch.Tensor | None, packed: bool = False
    ):
        self.positions, self.mask, self.window = positions, mask, spec.window
        T = positions.shape[-1]
        self.begins_BT = positions == 0 if packed else None
        self.mask_BT = None if mask is None else mask[:, -T:]
        slots = torch.arange(seen + T, device=positions.device)
        self.distance_TS = slots[seen:, None] - slots[None, :]
        self.causal_TS = torch.ones_like(self.distance_TS, dtype=torch.bool) if spec.two_way else self.distance_TS >= 0
        self.masks: dict[bool, torch.Tensor] = {}
        self.tables: dict[tuple[Rope, int], tuple[torch.Tensor, torch.Tensor]] = {}

    def turns(self, rope: Rope, head_width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """cos and sin [1 or B, 1, T, head_width / 2], float32."""
        if (rope, head_width) not in self.tables:
            frequencies = torch.from_numpy(rope.frequencies(head_width)).float().to(self.positions.device)
            angles = self.positions[:, None, :, None].float() * frequencies
            self.tables[rope, head_width] = angles.cos(), angles.sin()
        return self.tables[rope, head_width]

    def may_see(self, slides: bool) -> torch.Tensor:
        """[1 or B, 1, T, S], bool. A padded row sees itself, so that nothing is divided by zero."""
        if slides not in self.masks:
            seen = self.causal_TS
            if slides and self.window is not None:
                seen = seen & (self.distance_TS.abs() < self.window)
            if self.begins_BT is not None:
                seen = seen & (self.distance_TS <= self.positions[..., None])
            if self.mask is not None:
                seen = (seen & self.mask[:, None, :].bool()) | (self.distance_TS == 0)
            self.masks[slides] = seen.reshape(-1, 1, *seen.shape[-2:])
        return self.masks[slides]


def rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x [B, heads, T, d] with its halves turned as pairs."""
    one, other = x.chunk(2, -1)
    return torch.cat([one * cos - other * sin, other * cos + one * sin], -1).to(x.dtype)


class Layers(PreTrainedModel):
    """Embedding, layers and final norm."""

    config_class: type[PreTrainedConfig] = DecoderConfig
    base_model_prefix = "model"

    def __init__(self, config: PreTrainedConfig):
        super().__init__(config)
        spec = spec_of(config)
        scaled = spec.arch.scales_embedding
        self.embed_tokens = (
            ScaledEmbedding(spec.vocabulary, spec.width, spec.embedding_scale)
            if scaled
            else nn.Embedding(spec.vocabulary, spec.width)
        )
        self.layers = nn.ModuleList(Layer(spec, layer) for layer in spec.layers)
        self.norm = RMSNorm(spec.width, spec.epsilon, spec.arch.norm_offset)
        self.spec = spec

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        **unused: Any,
    ) -> BaseModelOutputWithPast:
        """Runs all layers. Keys of a layer stand in the cache at its place among the layers that have some.

        Args:
            input_ids: [B, T]
            attention_mask: [B, S], 0 for padding
            position_ids: [1 or B, T]; None: counted from the cache. Where they start again at 0, another text begins
            past_key_values: the cache
            use_cache: whether to make one where none is given
            unused: what transformers gives beside

        Returns:
            Hidden states [B, T, D], normed, and the cache.
        """
        if use_cache and past_key_values is None:
            past_key_values = empty_cache(self.spec)
        seen = tokens_seen(past_key_values)
        packed = position_ids is not None
        if position_ids is None:
            position_ids = torch.arange(seen, seen + input_ids.shape[1], device=input_ids.device)[None]
        places = Places(self.spec, position_ids, seen, attention_mask, packed)
        h_BTD, index = self.embed_tokens(input_ids), 0
        for layer, bound_D in zip(cast(Sequence[Layer], self.layers), self.bounds(), strict=True):
            h_BTD = layer(h_BTD, places, past_key_values, index, bound_D)
            index += layer.self_attn is not None or layer.mixer is not None
        if isinstance(past_key_values, StateCache):
            past_key_values.seen += input_ids.shape[1]
        return BaseModelOutputWithPast(last_hidden_state=self.norm(h_BTD), past_key_values=past_key_values)

    def bounds(self) -> list[torch.Tensor | None]:
        """What the forget gates of each layer [D] are at least; None for a layer that has none."""
        mixers = [layer.mixer for layer in cast(Sequence[Layer], self.layers)]
        logits: list[torch.Tensor] = [mixer.lower for mixer in mixers if isinstance(mixer, MLGRU)]
        found = iter(rising_bounds(torch.stack(logits)) if logits else ())
        return [next(found) if isinstance(mixer, MLGRU) else None for mixer in mixers]


class Decoder(PreTrainedModel, GenerationMixin):
    """The whole model. Takes what transformers' causal models take."""

    config_class: type[PreTrainedConfig] = DecoderConfig
    base_model_prefix = "model"
    body_class: ClassVar[type[Layers]] = Layers

    def __init__(self, config: PreTrainedConfig):
        super().__init__(config)
        spec = spec_of(config)
        self.model = self.body_class(config)
        self.lm_head = nn.Linear(spec.width, spec.vocabulary_out, bias=False)
        if spec.tied:
            self.lm_head.weight = self.model.embed_tokens.weight
        self.logit_cap = spec.logit_cap

    @property
    def spec(self) -> ModelSpec:
        """What it computes."""
        return spec_of(self.config)

    def _prepare_cache_for_generation(self, generation_config: Any, model_kwargs: dict, *more: Any) -> Any:
        if generation_config.use_cache and model_kwargs.get("past_key_values") is None:
            model_kwargs["past_key_values"] = empty_cache(self.spec)
        return super()._prepare_cache_for_generation(generation_config, model_kwargs, *more)  # type: ignore[misc]

    def forward(self, input_ids: torch.Tensor, logits_to_keep: int = 0, **more: Any) -> CausalLMOutputWithPast:
        """Logits of the last positions.

        Args:
            input_ids: [B, T]
            logits_to_keep: how many positions; 0: all
            more: as `Layers.forward` takes it

        Returns:
            Logits [B, T, V], and the cache.
        """
        out = self.model(input_ids, **more)
        logits = self.lm_head(out.last_hidden_state[:, -logits_to_keep:])
        if self.logit_cap:
            logits = torch.tanh(logits / self.logit_cap) * self.logit_cap
        return CausalLMOutputWithPast(logits=logits, past_key_values=out.past_key_values)


def decoder_of(model: PreTrainedModel) -> Decoder:
    """`model` where it is one of ours, else one of ours with a copy of its weights."""
    if isinstance(model, Decoder):
        return model
    decoder = Decoder(config_for(spec_of(model.config))).to(model.device)  # type: ignore[arg-type]
    decoder.load_state_dict(model.state_dict())
    return decoder.eval()


def load_decoder(folder: Path, config: DecoderConfig, weights: Mapping[str, torch.Tensor] | None = None) -> Decoder:
    """The model of `config`.

    Args:
        folder: with the weights
        config: with the spec
        weights: instead of those in `folder`

    Raises:
        ModelError: the weights do not fit it
    """
    spec = spec_of(config)
    if weights is None:
        weights = {name: tensor for file in weight_files(folder) for name, tensor in load_file(file).items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wrong = sorted(set(shapes.items()) ^ set(spec.tensors.items()))
    if wrong:
        name = wrong[0][0]
        raise ModelError(
            f"the weights do not fit config.json: {name} is {shapes.get(name, 'missing')}, "
            f"where {spec.tensors.get(name, 'nothing')} belongs",
            where=str(folder),
            hint="download the model again",
        )
    model = Decoder(config)
    model.load_state_dict(weights, strict=False)  # all are there; a tied head is the embedding
    return model.eval()
