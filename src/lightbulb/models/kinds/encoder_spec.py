"""What a BERT encoder is, from its config. Imports neither torch nor transformers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lightbulb.core.errors import ModelError, UnsupportedModel
from lightbulb.core.files import read_json, write_json

Pooling = Literal["mean", "cls"]
FORM = "encoder.json"
KINDS = ("weight", "bias")
LAYER_LINEARS = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
}  # transformers' names -> llama.cpp's
LAYER_NORMS = {"attention.output.LayerNorm": "attn_output_norm", "output.LayerNorm": "layer_output_norm"}
TABLES = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
}
HEAD = "head"


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """Sizes of a BERT encoder without its pooler.

    Attributes:
        layers: transformer layers
        width: of the vectors between them
        heads: of attention, in each layer
        feed_forward: inner width
        vocabulary: rows of the token embedding
        positions: rows of the table of positions, the most tokens of a text
        token_types: rows of the table of types
        epsilon: of every norm
    """

    layers: int
    width: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    token_types: int
    epsilon: float

    def with_layers(self, layers: int) -> EncoderSpec:
        """The same with another number of layers."""
        return replace(self, layers=layers)

    @property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """transformers' name -> shape of every tensor."""
        return {name: shape for name, _, shape in self.entries()}

    @property
    def parameters(self) -> int:
        return sum(math.prod(shape) for shape in self.tensors.values())

    def entries(self) -> Iterator[tuple[str, str, tuple[int, ...]]]:
        """(transformers' name, llama.cpp's name, shape) of every tensor, in file order."""
        rows = dict(zip(TABLES, (self.vocabulary, self.positions, self.token_types), strict=True))
        for table, name in TABLES.items():
            yield f"{table}.weight", f"{name}.weight", (rows[table], self.width)
        for kind in KINDS:
            yield f"embeddings.LayerNorm.{kind}", f"token_embd_norm.{kind}", (self.width,)
        for layer in range(self.layers):
            yield from self._layer(f"encoder.layer.{layer}.", f"blk.{layer}.")

    def _layer(self, ours: str, theirs: str) -> Iterator[tuple[str, str, tuple[int, ...]]]:
        inner, outer = self.feed_forward, self.width
        for part, name in LAYER_LINEARS.items():
            rows, columns = {"ffn_up": (inner, outer), "ffn_down": (outer, inner)}.get(name, (outer, outer))
            yield f"{ours}{part}.weight", f"{theirs}{name}.weight", (rows, columns)
            yield f"{ours}{part}.bias", f"{theirs}{name}.bias", (rows,)
        for part, name in LAYER_NORMS.items():
            for kind in KINDS:
                yield f"{ours}{part}.{kind}", f"{theirs}{name}.{kind}", (outer,)

    def config(self) -> dict[str, Any]:
        """config.json of transformers' BertModel. Nothing is dropped out: what was interrupted goes on with the same
        bytes."""
        return {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "dtype": "float32",
            "num_hidden_layers": self.layers,
            "hidden_size": self.width,
            "num_attention_heads": self.heads,
            "intermediate_size": self.feed_forward,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": self.positions,
            "type_vocab_size": self.token_types,
            "layer_norm_eps": self.epsilon,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        }


class EncoderForm(BaseModel):
    """How an encoder is read: `encoder.json` beside its weights.

    Attributes:
        pooling: the mean over all tokens, or the first one
        normalize: whether the pooled vector is divided by its length before the head
        answers: of the head, in its order; empty without one
        temperature: what scores are divided by before the softmax, from the validation split
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pooling: Pooling
    normalize: bool = False
    answers: tuple[str, ...] = ()
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    def write(self, folder: Path) -> None:
        """Writes it into an artifact's folder."""
        write_json(folder / FORM, self.model_dump(mode="json"))

    @staticmethod
    def read(folder: Path) -> EncoderForm:
        """The spec of a folder.

        Raises:
            ModelError: it is not there or says too little
        """
        try:
            return EncoderForm.model_validate(read_json(folder / FORM))
        except (OSError, ValueError, ValidationError) as e:
            raise ModelError(
                f"cannot read how this encoder is meant: {str(e).splitlines()[0]}",
                where=str(folder / FORM),
                hint="repeat the command that made it in another folder",
            ) from e


def spec_of(config: Mapping[str, Any], where: str) -> EncoderSpec:
    """The description of the encoder that config.json says.

    Raises:
        UnsupportedModel: it is not BERT-shaped: of another model type, activation or kind of positions, or a decoder
        ModelError: a size is missing or cannot be
    """
    _check_shape(config, where)
    names = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size")
    sizes = [config.get(name) for name in (*names, "max_position_embeddings")]
    types, epsilon = config.get("type_vocab_size", 2), config.get("layer_norm_eps", 1e-12)
    whole = all(isinstance(n, int) and not isinstance(n, bool) and 0 < n < 2**31 for n in (*sizes, types))
    if not whole or not isinstance(epsilon, float) or not 0 < epsilon < 1 or sizes[1] % sizes[2]:  # type: ignore[operator]
        sizes_text = ", ".join(f"{n}={v!r}" for n, v in zip((*names, "max_position_embeddings"), sizes, strict=True))
        raise ModelError(
            f"this is no config of an encoder: {sizes_text}, type_vocab_size={types!r}, layer_norm_eps={epsilon!r}",
            where=where,
            hint="download the model again",
        )
    layers, width, heads, feed_forward, vocabulary, positions = (int(n or 0) for n in sizes)
    return EncoderSpec(layers, width, heads, feed_forward, vocabulary, positions, int(types), epsilon)


def _check_shape(config: Mapping[str, Any], where: str) -> None:
    wanted = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False}
    usual = {"position_embedding_type": "absolute", "is_decoder": False, "hidden_act": "gelu"}
    for name, value in wanted.items():
        found = config.get(name, usual.get(name))
        if found != value:
            raise UnsupportedModel(
                f"this model is not BERT-shaped: its {name} is {found!r}, not {value!r}",
                where=where,
                hint="give a BERT encoder such as minilm-l6: a folder whose config.json has model_type bert, "
                "hidden_act gelu and absolute positions",
            )
