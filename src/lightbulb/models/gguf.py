"""GGUF files: written from a model folder without any subprocess, and read back."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter
from gguf.constants import GGML_QUANT_VERSION

from lightbulb.core.errors import ModelError, UnsupportedModel
from lightbulb.core.files import plain_os_errors
from lightbulb.formats.gguf.header import GgufHeader, TensorEntry, read_header
from lightbulb.formats.gguf.quant_types import QuantType, quant_type_of, type_name_of
from lightbulb.formats.gguf.tokenizer import tokenizer_fields
from lightbulb.formats.gguf.type_map import EMBEDDING, HEAD, TypeMap
from lightbulb.models import matmulfree_gguf
from lightbulb.models.families import GGUF_LINEAR
from lightbulb.models.gguf_shape import PERMUTED, architecture_of, context_length, shape_fields
from lightbulb.models.packed import PackedWeights
from lightbulb.models.spec import LOWER, ModelSpec
from lightbulb.models.spec_config import spec_of_config


def write_gguf(
    model_folder: Path,
    out: Path,
    types: TypeMap | str,
    metadata: Mapping[str, str | list[str] | list[int]] | None = None,
) -> dict[str, Any]:
    """Writes `out` from a model artifact folder; the same folder and options give the same bytes. What the folder holds
    packed in the type of its tensor is written as it is.

    Args:
        model_folder: config, weights and tokenizer
        out: the file; nothing is left there when writing fails
        types: of the matrices by role, or the name of one for all. Vectors stay f32, ternary layers ternary. A matrix
            whose rows are no whole number of blocks is kept in the type's fallback and named in the result.
        metadata: extra keys, e.g. "lightbulb.kind"

    Returns:
        architecture, bytes, parameters, bits_per_weight, quantization (type -> tensors), fallbacks (names), unchanged
        (True when the type of each matrix holds it as it is: what is in the file is what was in the folder),
        context_length.

    Raises:
        ModelError: the weights or the tokenizer have no place in a GGUF
        UnsupportedModel: no GGUF can hold such a model
        ValueError: a type can only be read
    """
    types = TypeMap(types) if isinstance(types, str) else types
    types.check_writable()
    spec = spec_of_config(json.loads((model_folder / "config.json").read_text(encoding="utf-8")))
    types = matmulfree_gguf.types_of(types) if spec.arch.ternary else types
    fields: dict[str, Any] = shape_fields(spec) | tokenizer_fields(model_folder, spec.vocabulary)
    fields |= {
        "general.file_type": types.file_type,
        "general.quantization_version": GGML_QUANT_VERSION,
        **(metadata or {}),
    }  # no general.name: a folder's name must not change the bytes
    architecture = architecture_of(spec)
    fallbacks: list[str] = []

    def typed_tensors() -> Iterator[tuple[str, np.ndarray, QuantType]]:
        packed = PackedWeights(model_folder)
        for entry, tensor in _tensors(model_folder, spec):
            quant_type = types.type_for(entry.name, tensor.shape)
            if tensor.ndim > 1 and quant_type != types.asked_for(entry.name):
                fallbacks.append(entry.name)
            yield entry.name, tensor, packed.of(entry, quant_type)

    written = write_file(out, architecture, fields, typed_tensors())
    return {"architecture": architecture, **written, "fallbacks": fallbacks, "context_length": context_length(spec)}


def write_file(
    out: Path, architecture: str, fields: Mapping[str, Any], tensors: Iterable[tuple[str, np.ndarray, QuantType]]
) -> dict[str, Any]:
    """Writes a GGUF of keys and of tensors; the same give the same bytes. Nothing half-written stays behind.

    Args:
        out: the file
        architecture: llama.cpp's name
        fields: key -> value
        tensors: (name, float32 values, type)

    Returns:
        bytes, parameters, bits_per_weight, quantization and unchanged, as `write_gguf` says them.
    """
    beside = out.with_name(f".{out.name}.tmp")
    writer = GGUFWriter(beside, architecture)
    for key, value in fields.items():
        _add(writer, key, value)
    counts: Counter[str] = Counter()
    unchanged, parameters, weight_bytes = True, 0, 0
    for name, tensor, quant_type in tensors:
        packed = quant_type.quantize(tensor)
        unchanged &= bool(np.array_equal(quant_type.dequantize(packed), tensor))
        _add_tensor(writer, name, tensor.shape, packed, quant_type)
        counts[quant_type.name.upper()] += 1
        parameters += tensor.size
        weight_bytes += packed.nbytes
    _write(writer, beside, out)
    return {
        "bytes": out.stat().st_size,
        "parameters": parameters,
        "bits_per_weight": 8 * weight_bytes / parameters,
        "quantization": dict(counts),
        "unchanged": unchanged,
    }


def _add_tensor(
    writer: GGUFWriter, name: str, shape: tuple[int, ...], packed: np.ndarray, quant_type: QuantType
) -> None:
    """As int8, so that gguf-py takes shape and type as they are and need not know the type."""
    number: Any = quant_type.id
    writer.add_tensor(name, packed.view(np.int8), raw_shape=shape, raw_dtype=number)


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


def _tensors(folder: Path, spec: ModelSpec) -> Iterator[tuple[Entry, np.ndarray]]:
    """(entry, float32 array) in file order. Raises ModelError for weights without a place in the file."""
    from safetensors import safe_open

    path = folder / "model.safetensors"
    if not path.is_file():
        raise ModelError("no model.safetensors in this folder", where=str(folder))
    with safe_open(path, framework="pt") as file:
        present = set(file.keys())
        if f"{spec.arch.head}.weight" in present:  # a head of its own is written whatever is said
            spec = spec.model_copy(update={"tied": False})
        missing = [name for name in spec.tensors if name not in present]
        strange = sorted(present - set(spec.tensors))
        if missing or strange:
            raise ModelError(
                f"the weights do not fit the family {spec.family}: "
                + (f"{missing[0]} is missing" if missing else f"{strange[0]} has no place in a GGUF"),
                where=str(path),
            )
        read = matmulfree_gguf.acting(spec, file.get_tensor) if spec.arch.ternary else file.get_tensor
        for entry in entries_of(spec):
            yield entry, entry.packed([read(name).float().numpy() for name in entry.parts])
    if spec.head_width and (divisors := spec.rope.divisors(spec.head_width)) is not None:
        yield Entry("rope_freqs.weight", ()), divisors


@dataclass(frozen=True)
class Entry:
    """A tensor of a GGUF.

    Attributes:
        name: in the file
        parts: transformers' names of the tensors whose rows it holds, one below the other
        heads: those whose rows are interleaved for llama.cpp's RoPE NORM; 0: none
        offset: added to the values in the file
    """

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
        """The parts of the file's values, of so many rows each."""
        if self.heads:
            values = np.ascontiguousarray(separate(values, self.heads))
        if self.offset:
            values = values - np.float32(self.offset)
        return np.split(values, np.cumsum(rows)[:-1]) if len(self.parts) > 1 else [values]


def entries_of(spec: ModelSpec) -> list[Entry]:
    """What a GGUF of `spec` holds, in file order. Raises UnsupportedModel where none can hold it."""
    architecture, arch = architecture_of(spec), spec.arch
    names = matmulfree_gguf.NORMS if architecture == matmulfree_gguf.BITNET else {}
    norms = {f"{path}.weight": f"{names.get(gguf, gguf)}.weight" for path, gguf in arch.norms.items()}
    norms[LOWER] = "mix_lower.weight"
    linears = {f"{path}.{kind}": (role, kind) for role, path in arch.linears.items() for kind in ("weight", "bias")}
    found = [Entry(EMBEDDING, (f"{arch.embed}.weight",))]
    for index, layer in enumerate(spec.layers):
        turned = {"q": layer.heads, "k": layer.kv_heads} if architecture in PERMUTED else {}
        for name in spec.layer_tensors(index):
            inside = name.removeprefix(f"{arch.layers}.{index}.")
            if gguf := norms.get(inside):
                found.append(Entry(f"blk.{index}.{gguf}", (name,), offset=arch.norm_offset))
                continue
            role, kind = linears[inside]
            if architecture == "openelm" and role in ("q", "k", "v"):
                if role == "q":
                    parts = tuple(name.replace(arch.linears["q"], arch.linears[r]) for r in ("q", "k", "v"))
                    found.append(Entry(f"blk.{index}.attn_qkv.{kind}", parts))
            else:
                found.append(Entry(f"blk.{index}.{GGUF_LINEAR[role]}.{kind}", (name,), turned.get(role, 0)))
    found.append(Entry("output_norm.weight", (f"{arch.final_norm}.weight",), offset=arch.norm_offset))
    return found if spec.tied else [*found, Entry(HEAD, (f"{arch.head}.weight",))]


def weight_bytes(spec: ModelSpec, types: TypeMap) -> int:
    """Bytes of all weights of `spec` in a GGUF, its header left out. Raises UnsupportedModel where none can hold it."""
    shapes, total = spec.tensors, 0
    types = matmulfree_gguf.types_of(types) if spec.arch.ternary else types
    for entry in entries_of(spec):
        shape = (sum(shapes[name][0] for name in entry.parts), *shapes[entry.parts[0]][1:])
        quant_type = types.type_for(entry.name, shape)
        total += math.prod(shape) // quant_type.block * quant_type.block_bytes
    return total


def interleave(rows: np.ndarray, n_heads: int) -> np.ndarray:
    """Row order of q and k for llama.cpp's RoPE NORM: rotated partners, half a head apart in transformers, side by
    side.

    Args:
        rows: [heads * head_dim, ...]
        n_heads: how many heads they are of
    """
    halves = rows.reshape(n_heads, 2, rows.shape[0] // n_heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def separate(rows: np.ndarray, n_heads: int) -> np.ndarray:
    """The inverse of `interleave`."""
    pairs = rows.reshape(n_heads, rows.shape[0] // n_heads // 2, 2, *rows.shape[1:])
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def read_weights(path: Path, spec: ModelSpec) -> dict[str, np.ndarray]:
    """All weights of a GGUF in float32 under transformers' names. Raises ModelError as `weights_of` does."""
    return weights_of(read_header(path), spec)


def weights_of(header: GgufHeader, spec: ModelSpec) -> dict[str, np.ndarray]:
    """All weights of a GGUF whose header was read, in float32 under transformers' names; ternary ones act alike.

    Raises:
        ModelError: a tensor without a name in transformers, of a wrong shape, or of a type that cannot be read
    """
    path = header.files[0]
    try:
        entries, shapes = {entry.name: entry for entry in entries_of(spec)}, spec.tensors
    except UnsupportedModel as e:
        e.where = str(path)
        raise
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
        values = entry.unpacked(float32_of(contents[tensor.file], tensor, path), rows)
        weights |= zip(entry.parts, values, strict=True)
    return matmulfree_gguf.trained(spec, weights) if spec.arch.ternary else weights


def float32_of(content: np.ndarray, tensor: TensorEntry, path: Path) -> np.ndarray:
    """The values of a tensor.

    Args:
        content: uint8, of the file that it is in
        tensor: where it lies there
        path: for errors

    Raises:
        ModelError: it is of a type that cannot be read
    """
    raw = np.array(content[tensor.start : tensor.start + tensor.bytes])
    quant_type = quant_type_of(tensor.type)
    if quant_type is None or quant_type.unpack is None:
        raise ModelError(
            f"cannot read weights of the type {type_name_of(tensor.type)}",
            where=str(path),
            hint="use a file with f32, f16, bf16, Q or K quantizations",
        )
    return quant_type.dequantize(raw.reshape(*tensor.shape[:-1], -1)).reshape(tensor.shape)
