"""An encoder with a label head as a GGUF of llama.cpp's architecture `bert` (docs/format.md)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf.constants import GGML_QUANT_VERSION

from lightbulb.core.errors import ModelError
from lightbulb.formats.gguf.quant_types import QUANT_TYPES, QuantType
from lightbulb.formats.gguf.type_map import TypeMap, role_of
from lightbulb.formats.gguf.wordpiece import tokens_of, wordpiece_fields
from lightbulb.models.gguf import write_file
from lightbulb.models.kinds.encoder import Encoder

ARCHITECTURE = "bert"
MEAN, RANK = 1, 4  # llama.cpp's numbers for the mean, and for the first token with a head applied to it
FLOATS = ("position_embd.weight", "token_types.weight", "cls.output.weight")  # matrices that stay f32


def write_encoder(encoder: Encoder, out: Path, types: TypeMap) -> dict[str, Any]:
    """Writes `out`; the same encoder and types give the same bytes.

    Args:
        encoder: with a head
        out: the file
        types: of the matrices by role, but for FLOATS, which stay f32, as do vectors

    Returns:
        What GgufFacts says, and `stock`: what llama.cpp gives of the file by itself, "scores" or "embedding".

    Raises:
        ModelError: the encoder has no head, or one that llama.cpp would read in another way
        ValueError: for a type that can only be read
    """
    types.check_writable()
    fields, fallbacks = file_fields(encoder, types), []

    def typed_tensors() -> Iterator[tuple[str, np.ndarray, QuantType]]:
        for name, values in file_tensors(encoder):
            quant_type = type_in_file(name, values.shape, types)
            if values.ndim > 1 and name not in FLOATS and quant_type != types.type_of(role_of(name)):
                fallbacks.append(name)
            yield name, values, quant_type

    written = write_file(out, ARCHITECTURE, fields, typed_tensors())
    stock = "scores" if fields["bert.pooling_type"] == RANK else "embedding"
    more = {"fallbacks": fallbacks, "context_length": encoder.spec.positions, "stock": stock}
    return {"architecture": ARCHITECTURE, **written, **more}


def type_in_file(name: str, shape: tuple[int, ...], types: TypeMap) -> QuantType:
    """The type of a tensor by its name in the file."""
    return QUANT_TYPES["f32"] if name in FLOATS else types.type_for(name, shape)


def round_weights(encoder: Encoder, types: TypeMap) -> None:
    """Makes the weights of `encoder`, in place, what a file of these types holds of them."""
    types.check_writable()
    state = encoder.bert.state_dict()
    for ours, name, shape in encoder.spec.entries():
        quant_type = type_in_file(name, shape, types)
        state[ours].copy_(torch.from_numpy(quant_type.quantize_dequantize(state[ours].numpy())))


def file_fields(encoder: Encoder, types: TypeMap) -> dict[str, Any]:
    """Keys -> values of the file.

    Raises:
        ModelError: as `write_encoder` does
    """
    spec, form = encoder.spec, encoder.form
    if len(form.answers) < 2:
        raise ModelError(
            "this encoder has learnt no answers, so there is nothing to export",
            hint="run the pass fit-head or adapt-encoder first",
        )
    if form.pooling == "cls" and form.normalize:
        raise ModelError(
            "llama.cpp does not normalise what its head reads",
            hint="fit the head with normalize=false where the first token is pooled",
        )
    return {
        "bert.block_count": spec.layers,
        "bert.context_length": spec.positions,
        "bert.embedding_length": spec.width,
        "bert.feed_forward_length": spec.feed_forward,
        "bert.attention.head_count": spec.heads,
        "bert.attention.layer_norm_epsilon": spec.epsilon,
        "bert.attention.causal": False,
        "bert.pooling_type": RANK if form.pooling == "cls" else MEAN,
        "bert.classifier.output_labels": list(form.answers),
        **wordpiece_fields(encoder.words.tokenizer, spec.token_types),
        "general.file_type": types.file_type,
        "general.quantization_version": GGML_QUANT_VERSION,
        "lightbulb.kind": "choose",
        "lightbulb.answers": list(form.answers),
        "lightbulb.normalize": form.normalize,
        "lightbulb.temperature": form.temperature,
    }


def file_tensors(encoder: Encoder) -> Iterator[tuple[str, np.ndarray]]:
    """(name in the file, float32 values), the token embedding without rows that no token has."""
    weights = encoder.weights()
    tokens = len(tokens_of(encoder.words.tokenizer))
    for ours, name, _ in encoder.spec.entries():
        values = weights[ours].detach().float().cpu().numpy()
        yield name, values[:tokens] if name == "token_embd.weight" else values
    for kind in ("weight", "bias"):
        yield f"cls.output.{kind}", weights[f"head.{kind}"].detach().float().cpu().numpy()
