"""What a folder of model files is, where it is no float checkpoint of a language model: named, with what to give
instead. Imports neither torch nor transformers."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightbulb.core.errors import ModelError, UnsupportedModel
from lightbulb.formats.gguf.tokenizer import entries_of, read_tokenizer_json
from lightbulb.models.families import architecture_spec

FLOATS = ("F64", "F32", "F16", "BF16")
WHOLE = "give the folder of the float checkpoint: config.json, tokenizer.json and *.safetensors"
# what lies in the folders that other programs write -> what such a folder is
MARKS = {
    "model_index.json": "a diffusers pipeline, which holds no language model",
    "modules.json": "a sentence-transformers model, which turns text into vectors and writes none",
    "config_sentence_transformers.json": "a sentence-transformers model, which turns text into vectors and writes none",
    "openvino_model.xml": "an OpenVINO export",
    "*.onnx": "an ONNX export",
    "onnx/*.onnx": "an ONNX export",
    "*.mlpackage": "a Core ML export",
    "*.tflite": "a TensorFlow Lite export",
    "*.engine": "a TensorRT-LLM engine",
    "weights.*.npz": "an MLX folder",
    "weights.npz": "an MLX folder",
    "*.nemo": "a NeMo archive",
    "params.json": "a checkpoint in its maker's own form (params.json), not in that of transformers",
    "*.msgpack": "a Flax checkpoint",
    "*.h5": "a Keras checkpoint",
}


def check_kind(folder: Path) -> None:
    """Refuses what is no model of transformers.

    Raises:
        ModelError: `folder` is an adapter, an export, or another thing
    """
    if (folder / "adapter_config.json").is_file():
        raise _adapter(folder)
    whole = (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))
    for mark, what in MARKS.items():
        if (found := next(iter(sorted(folder.glob(mark))), None)) and (not whole or "sentence" in what):
            raise ModelError(f"this folder holds {what}", where=str(found), hint=WHOLE)
    ggufs = sorted(folder.glob("*.gguf"))
    if ggufs and not whole:
        raise ModelError(
            f"this folder holds {len(ggufs)} GGUF file{'s' if len(ggufs) > 1 else ''} and no *.safetensors",
            where=str(folder),
            hint=f"name one of them, such as {ggufs[0]}",
        )


def _adapter(folder: Path) -> ModelError:
    base = _object(folder / "adapter_config.json").get("base_model_name_or_path")
    merged = f"{folder}-merged"
    return ModelError(
        "this folder holds an adapter (LoRA or the like)"
        + (f" for {base}" if isinstance(base, str) and base else "")
        + ", not a whole model",
        where=str(folder / "adapter_config.json"),
        hint='merge it first: python -c "from peft import AutoPeftModelForCausalLM as P; '
        f"P.from_pretrained('{folder}').merge_and_unload().save_pretrained('{merged}')\", "
        f"copy the tokenizer's files there, and give {merged}",
    )


def check_checkpoint(folder: Path) -> None:
    """Refuses weights that cannot be trained, or are of a model that does not write.

    Raises:
        UnsupportedModel: the weights are no floats, or the model does not write
        ModelError: there is no row for some token of the tokenizer
    """
    file = folder / "config.json"
    config = _object(file)
    if method := quantization_of(config):
        raise UnsupportedModel(
            f"this folder holds quantized weights ({method}), which cannot be trained",
            where=f"{file}, quantization_config" if "quantization_config" in config else str(file),
            hint="give the float checkpoint that it was made from (its card names it as base_model), or a GGUF of it",
        )
    architectures = config.get("architectures")
    if isinstance(architectures, list) and architectures and not _writes(str(architectures[0])):
        raise UnsupportedModel(
            f"this is a {architectures[0]}, which does not write text",
            where=f"{file}, architectures",
            hint="give a model whose architecture ends in ForCausalLM",
        )
    tensors = {name: entry for part in weight_files(folder) for name, entry in tensors_of(part).items()}
    for name, entry in tensors.items():
        if len(entry["shape"]) > 1 and entry["dtype"] not in (*FLOATS, "BOOL"):
            raise UnsupportedModel(
                f"the weights are quantized: {name} holds {entry['dtype']}, not floats",
                where=str(folder),
                hint="give the float checkpoint that it was made from, or a GGUF of it",
            )
    _check_rows(folder, config, tensors)


def _writes(architecture: str) -> bool:
    return architecture.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration"))


def quantization_of(config: Mapping[str, Any]) -> str | None:
    """The method by which a config says that its weights are quantized; None where it says nothing of it."""
    for part in (config, config.get("text_config")):
        for key in ("quantization_config", "compression_config", "quantization"):
            entry = part.get(key) if isinstance(part, Mapping) else None
            if entry:
                named = entry.get("quant_method") or entry.get("quant_algo") if isinstance(entry, Mapping) else entry
                return str(named or ("MLX" if key == "quantization" else "of an unnamed method"))
    return None


def _check_rows(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
    file = folder / "tokenizer.json"
    embedding = tensors.get(f"{architecture_spec(config).embed}.weight")
    if embedding is None or not file.is_file():
        return  # said elsewhere
    rows, entries = int(embedding["shape"][0]), entries_of(read_tokenizer_json(file))
    beyond = sorted(i for i in entries if i >= rows)
    if beyond:
        raise ModelError(
            f"the tokenizer has {len(beyond)} more token{'s' if len(beyond) > 1 else ''} than the embedding has rows: "
            f"{entries[beyond[0]]!r} is number {beyond[0]}, and there are {rows:,} rows",
            where=str(file),
            hint='give each a row: python -c "from transformers import AutoModelForCausalLM as M; '
            f"m = M.from_pretrained('{folder}'); m.resize_token_embeddings({beyond[-1] + 1}); "
            f"m.save_pretrained('{folder}')\"",
        )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors of a folder that hold its weights, as transformers chooses them."""
    if (whole := folder / "model.safetensors").is_file():
        return [whole]
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return [folder / str(name) for name in sorted(set(_object(index).get("weight_map", {}).values()))]
    return sorted(folder.glob("*.safetensors"))


def tensors_of(file: Path) -> dict[str, dict[str, Any]]:
    """Name -> {dtype, shape, ...} of a safetensors file that was checked."""
    with file.open("rb") as f:
        (length,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(length))
    return {name: entry for name, entry in header.items() if name != "__metadata__"}


def _object(file: Path) -> dict[str, Any]:
    """An object of JSON; empty where there is none that can be read, which is said elsewhere."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
