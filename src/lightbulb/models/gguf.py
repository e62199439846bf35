"""GGUF files: written from a model folder without any subprocess, and read back."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType
from gguf.constants import GGML_QUANT_SIZES, GGML_QUANT_VERSION
from gguf.quants import dequantize, quantize

from lightbulb.core.errors import ModelError
from lightbulb.core.files import plain_os_errors
from lightbulb.formats.gguf.header import TensorEntry, read_header
from lightbulb.formats.gguf.tokenizer import tokenizer_fields
from lightbulb.formats.gguf.tokenizer_check import check_tokenizer_fields
from lightbulb.models.anatomy import GGUF_LINEAR
from lightbulb.models.gguf_shape import PERMUTED, architecture_of, context_length, shape_fields
from lightbulb.models.spec import ModelSpec, spec_of_config

Quantization = Literal["f32", "f16", "bf16", "q8_0", "q4_0"]
QTYPES = {
    "f32": GGMLQuantizationType.F32,
    "f16": GGMLQuantizationType.F16,
    "bf16": GGMLQuantizationType.BF16,
    "q8_0": GGMLQuantizationType.Q8_0,
    "q4_0": GGMLQuantizationType.Q4_0,
}
FILE_TYPES = {
    "f32": LlamaFileType.ALL_F32,
    "f16": LlamaFileType.MOSTLY_F16,
    "bf16": LlamaFileType.MOSTLY_BF16,
    "q8_0": LlamaFileType.MOSTLY_Q8_0,
    "q4_0": LlamaFileType.MOSTLY_Q4_0,
}
EMBEDDING, HEAD = "token_embd.weight", "output.weight"


@dataclass(frozen=True, slots=True)
class GgufInfo:
    """What a GGUF holds. quantization: type -> number of tensors. metadata: the `lightbulb.*` keys, prefix included.
    added_bos: the text of the BOS token when the tokenizer puts one before every prompt by itself, else "". bos: the id
    of the BOS token, where the file names one."""

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


def write_gguf(
    model_folder: Path,
    out: Path,
    quantization: Quantization,
    embedding: Quantization | None = None,
    metadata: Mapping[str, str | list[str] | list[int]] | None = None,
) -> dict[str, Any]:
    """Writes `out` from a model artifact folder; the same folder and options give the same bytes.

    quantization: of all matrices; embedding: of the token embedding and the head (default: as the rest). Vectors stay
    f32. A matrix whose rows are not a whole number of blocks (32 values) is kept at f16 and named in the result.
    metadata: extra keys, e.g. "lightbulb.kind".

    Returns architecture, bytes, parameters, bits_per_weight, quantization (type -> tensors), fallbacks (names),
    unchanged (True when every quantized matrix already lay on its grid: what is in the file is what was in the folder),
    context_length. Raises ModelError or UnsupportedModel before anything is written.
    """
    spec = spec_of_config(json.loads((model_folder / "config.json").read_text(encoding="utf-8")))
    fields: dict[str, Any] = shape_fields(spec) | tokenizer_fields(model_folder, spec.vocabulary)
    fields |= {
        "general.file_type": int(FILE_TYPES[quantization]),
        "general.quantization_version": GGML_QUANT_VERSION,
        **(metadata or {}),
    }  # no general.name: a folder's name must not change the bytes
    beside = out.with_name(f".{out.name}.tmp")
    architecture = architecture_of(spec)
    writer = GGUFWriter(beside, architecture)
    for key, value in fields.items():
        _add(writer, key, value)
    types: Counter[str] = Counter()
    fallbacks: list[str] = []
    unchanged, parameters, weight_bytes = True, 0, 0
    for name, tensor in _tensors(model_folder, spec):
        qtype = _type_for(name, tensor, quantization, embedding or quantization)
        if tensor.shape[-1] % GGML_QUANT_SIZES[qtype][0]:
            fallbacks.append(name)
            qtype = GGMLQuantizationType.F16
        packed = quantize(tensor, qtype)
        unchanged &= bool(np.array_equal(dequantize(packed, qtype).reshape(tensor.shape), tensor))
        writer.add_tensor(name, packed, raw_dtype=qtype)
        types[qtype.name] += 1
        parameters += tensor.size
        weight_bytes += packed.nbytes
    _write(writer, beside, out)
    return {
        "architecture": architecture,
        "bytes": out.stat().st_size,
        "parameters": parameters,
        "bits_per_weight": 8 * weight_bytes / parameters,
        "quantization": dict(types),
        "fallbacks": fallbacks,
        "unchanged": unchanged,
        "context_length": context_length(spec),
    }


def _type_for(name: str, tensor: np.ndarray, matrices: Quantization, embedding: Quantization) -> GGMLQuantizationType:
    if tensor.ndim < 2:
        return GGMLQuantizationType.F32
    return QTYPES[embedding if name in (EMBEDDING, HEAD) else matrices]


def _write(writer: GGUFWriter, beside: Path, out: Path) -> None:
    with plain_os_errors(out):
        try:
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
            beside.replace(out)
        finally:
            beside.unlink(missing_ok=True)


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif value:  # GGUF has no empty arrays
        writer.add_array(key, list(value))


def _tensors(folder: Path, spec: ModelSpec) -> Iterator[tuple[str, np.ndarray]]:
    """(GGUF name, float32 array) in file order. Raises ModelError for weights without a place in the file."""
    from safetensors import safe_open

    path = folder / "model.safetensors"
    if not path.is_file():
        raise ModelError("no model.safetensors in this folder", where=str(folder))
    with safe_open(path, framework="pt") as file:
        present = set(file.keys())
        if f"{spec.anatomy.head}.weight" in present:  # a head of its own is written whatever is said
            spec = spec.model_copy(update={"tied": False})
        missing = [name for name in spec.tensors if name not in present]
        strange = sorted(present - set(spec.tensors))
        if missing or strange:
            raise ModelError(
                f"the weights do not fit the family {spec.family}: "
                + (f"{missing[0]} is missing" if missing else f"{strange[0]} has no place in a GGUF"),
                where=str(path),
            )
        for entry in entries_of(spec):
            yield entry.name, entry.packed([file.get_tensor(name).float().numpy() for name in entry.parts])
    if spec.head_width and (divisors := spec.rope.divisors(spec.head_width)) is not None:
        yield "rope_freqs.weight", divisors


@dataclass(frozen=True)
class Entry:
    """A tensor of a GGUF. parts: transformers' names of the tensors whose rows it holds, one below the other. heads:
    those whose rows are interleaved for llama.cpp's RoPE NORM (0: none). offset: added to the values in the file."""

    name: str
    parts: tuple[str, ...]
    heads: int = 0
    offset: float = 0.0

    def packed(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """What the file holds."""
        values = np.concatenate(parts) if len(parts) > 1 else parts[0]
        if self.offset:
            values = values + np.float32(self.offset)
        return np.ascontiguousarray(interleave(values, self.heads) if self.heads else values)

    def unpacked(self, values: np.ndarray, rows: Sequence[int]) -> list[np.ndarray]:
        """The parts, of so many rows each."""
        if self.heads:
            values = np.ascontiguousarray(separate(values, self.heads))
        if self.offset:
            values = values - np.float32(self.offset)
        return np.split(values, np.cumsum(rows)[:-1]) if len(self.parts) > 1 else [values]


def entries_of(spec: ModelSpec) -> list[Entry]:
    """What a GGUF of `spec` holds, in file order."""
    architecture, anatomy = architecture_of(spec), spec.anatomy
    norms = {f"{path}.weight": f"{gguf}.weight" for path, gguf in anatomy.norms.items()}
    linears = {f"{path}.{kind}": (role, kind) for role, path in anatomy.linears.items() for kind in ("weight", "bias")}
    found = [Entry(EMBEDDING, (f"{anatomy.embed}.weight",))]
    for index, layer in enumerate(spec.layers):
        turned = {"q": layer.heads, "k": layer.kv_heads} if architecture in PERMUTED else {}
        for name in spec.layer_tensors(index):
            inside = name.removeprefix(f"{anatomy.layers}.{index}.")
            if gguf := norms.get(inside):
                found.append(Entry(f"blk.{index}.{gguf}", (name,), offset=anatomy.norm_offset))
                continue
            role, kind = linears[inside]
            if architecture == "openelm" and role in ("q", "k", "v"):
                if role == "q":
                    parts = tuple(name.replace(anatomy.linears["q"], anatomy.linears[r]) for r in ("q", "k", "v"))
                    found.append(Entry(f"blk.{index}.attn_qkv.{kind}", parts))
            else:
                found.append(Entry(f"blk.{index}.{GGUF_LINEAR[role]}.{kind}", (name,), turned.get(role, 0)))
    found.append(Entry("output_norm.weight", (f"{anatomy.final_norm}.weight",), offset=anatomy.norm_offset))
    return found if spec.tied else [*found, Entry(HEAD, (f"{anatomy.head}.weight",))]


def interleave(rows: np.ndarray, n_heads: int) -> np.ndarray:
    """Row order of q and k for llama.cpp's RoPE NORM: rotated partners, half a head apart in transformers, side by
    side. rows: [heads * head_dim, ...]."""
    halves = rows.reshape(n_heads, 2, rows.shape[0] // n_heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def separate(rows: np.ndarray, n_heads: int) -> np.ndarray:
    """The inverse of `interleave`."""
    pairs = rows.reshape(n_heads, rows.shape[0] // n_heads // 2, 2, *rows.shape[1:])
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def read_weights(path: Path, spec: ModelSpec) -> dict[str, np.ndarray]:
    """All weights of a GGUF in float32 under transformers' names. Raises ModelError for tensors without a name there,
    of a wrong shape, and for quantizations that gguf-py cannot undo."""
    entries, shapes = {entry.name: entry for entry in entries_of(spec)}, spec.tensors
    header = read_header(path)
    contents = {file: np.memmap(file, mode="r", dtype=np.uint8) for file in header.files}
    weights: dict[str, np.ndarray] = {}
    for tensor in header.tensors:
        entry = entries.get(tensor.name)
        if entry is None:
            raise ModelError(f"the tensor {tensor.name} has no place in the family {spec.family}", where=str(path))
        rows = [shapes[name][0] for name in entry.parts]
        shape = (sum(rows), *shapes[entry.parts[0]][1:])
        if tensor.shape != shape:
            raise ModelError(
                f"the tensor {tensor.name} is of the shape {tensor.shape}, where the file's keys say {shape}",
                where=str(path),
                hint="download the model again",
            )
        values = entry.unpacked(_float32(contents[tensor.file], tensor, path), rows)
        weights |= zip(entry.parts, values, strict=True)
    return weights


def _float32(content: np.ndarray, tensor: TensorEntry, path: Path) -> np.ndarray:
    raw = np.array(content[tensor.start : tensor.start + tensor.bytes])
    kind = GGMLQuantizationType(tensor.type)
    try:
        values = dequantize(raw.reshape(*tensor.shape[:-1], -1), kind)
    except NotImplementedError as e:
        raise ModelError(
            f"cannot read weights of the type {kind.name}",
            where=str(path),
            hint="use a file with f32, f16, bf16, Q or K quantizations",
        ) from e
    return values.reshape(tensor.shape).astype(np.float32, copy=False)


def read_fields(path: Path) -> dict[str, Any]:
    """Every key -> value of a GGUF. Raises ModelError when the file is damaged."""
    return read_header(path).fields


def read_gguf(path: Path) -> GgufInfo:
    """What a GGUF holds, without its weights. Raises ModelError when the file is damaged."""
    header = read_header(path)
    fields = header.fields
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
        quantization=dict(Counter(GGMLQuantizationType(t.type).name for t in header.tensors)),
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
