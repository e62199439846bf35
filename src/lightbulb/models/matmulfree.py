"""MatMul-free language models as classes of transformers, known to its Auto classes once this is imported."""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from lightbulb.models.decoder import Decoder, Layers
from lightbulb.models.families import MATMULFREE


class MatMulFreeConfig(PreTrainedConfig):
    """config.json of a MatMul-free model.

    Attributes:
        layer_types: of each layer, from the embedding up: "linear_attention" for the recurrent mixer, "full_attention"
            for attention; None: recurrent, all of them
        num_attention_heads: of layers with attention, as the next two and `rope_parameters`
    """

    model_type = MATMULFREE

    vocab_size: int = 32_000
    hidden_size: int = 1024
    intermediate_size: int = 2816
    num_hidden_layers: int = 24
    layer_types: list[str] | None = None
    num_attention_heads: int = 16
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    max_position_embeddings: int = 2048
    rope_parameters: dict | None = None
    rms_norm_eps: float = 1e-6
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self.layer_types is None:
            self.layer_types = ["linear_attention"] * self.num_hidden_layers
        super().__post_init__(**kwargs)


class MatMulFreeModel(Layers):
    """Embedding, layers and final norm."""

    config_class = MatMulFreeConfig

    def __init__(self, config: MatMulFreeConfig):
        super().__init__(config)
        self.post_init()


class MatMulFreeForCausalLM(Decoder):
    """The whole model: `generate()` keeps a state of constant size for each recurrent layer."""

    config_class = MatMulFreeConfig
    body_class = MatMulFreeModel
    _tied_weights_keys: ClassVar[Any] = {"lm_head.weight": "model.embed_tokens.weight"}  # type: ignore[misc]

    def __init__(self, config: MatMulFreeConfig):
        super().__init__(config)
        self.post_init()


AutoConfig.register(MATMULFREE, MatMulFreeConfig, exist_ok=True)
AutoModelForCausalLM.register(MatMulFreeConfig, MatMulFreeForCausalLM, exist_ok=True)
