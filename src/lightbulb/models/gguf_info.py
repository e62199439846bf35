"""What a GGUF says of the language model in it, its weights left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightbulb.core.errors import ModelError
from lightbulb.formats.gguf.header import GgufHeader, read_header
from lightbulb.formats.gguf.quant_types import type_name_of
from lightbulb.formats.gguf.tokenizer_check import check_tokenizer_fields


@dataclass(frozen=True, slots=True)
class GgufInfo:
    """What a GGUF holds.

    Attributes:
        architecture: llama.cpp's name
        layers: how many
        width: of the embedding
        vocabulary: tokens
        context_length: tokens
        parameters: weights of all tensors
        bytes: of the file
        quantization: type -> number of tensors
        metadata: the `lightbulb.*` keys, prefix included
        chat_template: Jinja, where the file has one
        has_rope_factors: whether it holds Llama 3's divisors
        added_bos: the text of the BOS token when the tokenizer puts one before every prompt by itself, else ""
        bos: the id of the BOS token, where the file names one
    """

    architecture: str
    layers: int
    width: int
    vocabulary: int
    context_length: int
    parameters: int
    bytes: int
    quantization: dict[str, int]
    metadata: dict[str, Any]
    chat_template: str | None
    has_rope_factors: bool
    added_bos: str
    bos: int | None


def read_fields(path: Path) -> dict[str, Any]:
    """Every key -> value of a GGUF. Raises ModelError when the file is damaged."""
    return read_header(path).fields


def read_gguf(path: Path) -> GgufInfo:
    """What a GGUF holds, without its weights. Raises ModelError when the file is damaged."""
    return info_of(read_header(path))


def info_of(header: GgufHeader) -> GgufInfo:
    """What a GGUF holds, by its header. Raises ModelError for one that is no language model with its tokenizer."""
    path, fields = header.files[0], header.fields
    architecture, tokens = fields.get("general.architecture"), fields.get("tokenizer.ggml.tokens")
    keys = ("block_count", "embedding_length", "context_length")
    sizes: list[Any] = [fields.get(f"{architecture}.{k}") for k in keys]
    if not all(isinstance(size, int) for size in sizes) or not isinstance(tokens, list):
        raise ModelError(
            "this GGUF does not hold a language model with its tokenizer",
            where=str(path),
            hint="use a file that llama.cpp can run",
        )
    check_tokenizer_fields(fields, path)
    return GgufInfo(
        architecture=str(architecture),
        layers=sizes[0],
        width=sizes[1],
        vocabulary=len(tokens),
        context_length=sizes[2],
        parameters=sum(math.prod(t.shape) for t in header.tensors),
        bytes=header.bytes,
        quantization=dict(Counter(type_name_of(t.type) for t in header.tensors)),
        metadata={k: v for k, v in fields.items() if k.startswith("lightbulb.")},
        chat_template=fields.get("tokenizer.chat_template"),
        has_rope_factors=any(t.name == "rope_freqs.weight" for t in header.tensors),
        added_bos=_added_bos(fields, tokens),
        bos=fields.get("tokenizer.ggml.bos_token_id"),
    )


def answer_tokens(info: GgufInfo, answers: Sequence[str], path: Path) -> list[int]:
    """The token of each of a closed set of answers. Raises ModelError for an answer that the file does not know."""
    known = dict(
        zip(info.metadata.get("lightbulb.answers", []), info.metadata.get("lightbulb.answer_ids", []), strict=True)
    )
    if missing := [a for a in answers if a not in known]:
        raise ModelError(
            f"this file has no token for the answer {missing[0]!r}",
            where=str(path),
            hint="use a file that `lightbulb shrink` made for this task",
        )
    return [int(known[a]) for a in answers]


def _added_bos(fields: Mapping[str, Any], tokens: Sequence[str]) -> str:
    bos = fields.get("tokenizer.ggml.bos_token_id")
    adds = fields.get("tokenizer.ggml.add_bos_token", fields.get("tokenizer.ggml.model") == "llama")
    return tokens[bos] if adds and isinstance(bos, int) and 0 <= bos < len(tokens) else ""
