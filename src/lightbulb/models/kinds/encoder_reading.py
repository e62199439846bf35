"""What a GGUF of an encoder with a label head holds (docs/format.md), in float32. Imports neither torch nor
transformers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from lightbulb.core.errors import ModelError, UnsupportedModel
from lightbulb.formats.gguf.header import GgufHeader, read_header
from lightbulb.formats.gguf.wordpiece import tokenizer_of_fields
from lightbulb.models.gguf import float32_of
from lightbulb.models.kinds.encoder_spec import EncoderForm, EncoderSpec, spec_of

ARCHITECTURE = "bert"
RANK = 4  # llama.cpp's number for the first token with a head applied to it
HEAD = ("cls.output.weight", "cls.output.bias")
SIZES = {
    "num_hidden_layers": "bert.block_count",
    "hidden_size": "bert.embedding_length",
    "num_attention_heads": "bert.attention.head_count",
    "intermediate_size": "bert.feed_forward_length",
    "max_position_embeddings": "bert.context_length",
    "type_vocab_size": "tokenizer.ggml.token_type_count",
}  # transformers' names -> the file's keys


@dataclass(frozen=True, eq=False)
class EncoderFile:
    """An encoder as its file holds it.

    Attributes:
        spec: its sizes
        form: how it is read, and its answers
        tokenizer: tokenizer.json
        weights: float32 by their names in the file, the head's among them
    """

    spec: EncoderSpec
    form: EncoderForm
    tokenizer: dict[str, Any]
    weights: Mapping[str, np.ndarray]


def read_encoder_file(path: Path) -> EncoderFile:
    """Raises ModelError for a file that is damaged, or no encoder with answers."""
    header = read_header(path)
    fields = header.fields
    if fields.get("general.architecture") != ARCHITECTURE:
        _refuse(path, f"its architecture is {fields.get('general.architecture')!r}")
    try:
        tokenizer = tokenizer_of_fields(fields)
        form = EncoderForm(
            pooling="cls" if fields["bert.pooling_type"] == RANK else "mean",
            normalize=fields["lightbulb.normalize"],
            answers=tuple(fields["lightbulb.answers"]),
            temperature=fields["lightbulb.temperature"],
        )
        config = {name: fields[key] for name, key in SIZES.items()}
        config |= {"vocab_size": len(fields["tokenizer.ggml.tokens"]), "model_type": "bert"}
        config["layer_norm_eps"] = float(fields["bert.attention.layer_norm_epsilon"])
        spec = spec_of(config, str(path))
    except (KeyError, TypeError, ValueError, UnsupportedModel) as e:
        _refuse(path, f"{type(e).__name__}: {str(e).splitlines()[0]}")
    if len(form.answers) < 2:
        _refuse(path, "it has fewer than two answers")
    return EncoderFile(spec, form, tokenizer, _weights(header, spec, len(form.answers), path))


def _weights(header: GgufHeader, spec: EncoderSpec, answers: int, path: Path) -> dict[str, np.ndarray]:
    wanted = {name: shape for _, name, shape in spec.entries()} | {HEAD[0]: (answers, spec.width), HEAD[1]: (answers,)}
    found = {tensor.name: tensor for tensor in header.tensors}
    if odd := sorted(wanted.keys() ^ found.keys()):
        _refuse(path, f"it lacks, or has no place for, the tensor {odd[0]}")
    if flaw := next((name for name, shape in wanted.items() if found[name].shape != shape), None):
        _refuse(path, f"the tensor {flaw} is of the shape {found[flaw].shape}, where its keys say {wanted[flaw]}")
    contents = {file: np.memmap(file, mode="r", dtype=np.uint8) for file in header.files}
    weights = {name: float32_of(contents[found[name].file], found[name], path) for name in wanted}
    if broken := next((name for name, values in weights.items() if not math.isfinite(float(values.sum()))), None):
        _refuse(path, f"the weights {broken} hold what is no number")
    return weights


def _refuse(path: Path, what: str) -> NoReturn:
    raise ModelError(
        f"this is no whole file of an encoder with answers: {what}",
        where=str(path),
        hint="give the model.gguf of a run that hands out an encoder, or export it again",
    )
