"""Models from anywhere into one form: a folder with float32 safetensors and a fast tokenizer, always the same bytes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lightbulb.core.errors import LightbulbError, ModelError, UnsupportedModel
from lightbulb.core.facts import ImportFacts
from lightbulb.core.files import write_json, write_text
from lightbulb.formats.gguf.tokenizer import ROLES
from lightbulb.models.families import OWN, architecture_spec, is_tied
from lightbulb.models.loading import (
    copy_tokenizer,
    full_config,
    load_model,
    load_tokenizer,
    make_known,
    parameter_count,
    plain_model_errors,
    quiet_transformers,
    save_model,
    says_tied,
    write_config,
)
from lightbulb.models.resolve import ModelSource, check_contents, check_family, header_of, json_object, local_folder
from lightbulb.models.spec import ModelSpec
from lightbulb.models.spec_config import spec_of_config
from lightbulb.models.tokenizing import repair_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from lightbulb.core.progress import Progress
    from lightbulb.formats.gguf.header import GgufHeader
    from lightbulb.models.live import LiveModel


def import_model(
    source: ModelSource, out: Path, progress: Progress | None = None, live: LiveModel | None = None
) -> dict[str, Any]:
    """Writes the model artifact folder `out` from any source.

    Args:
        source: what `resolve` found
        out: the folder
        progress: where it reports
        live: keeps its weights

    Returns:
        Facts about the model: an `ImportFacts` as a record.

    Raises:
        ModelError: the weights do not fit their config
        UnsupportedModel: another family
    """
    from lightbulb.core.progress import Silent

    out.mkdir(parents=True, exist_ok=True)
    findings: list[str] = []
    with user_file(source, out), (progress or Silent()).bar(f"reading {source.name}", 2) as step:
        check_contents(source)
        if source.gguf is not None:
            header = header_of(source)
            model = _read_gguf_model(source, header, out)
        else:
            folder = local_folder(source)
            model = load_model(folder)
        step(1, "weights")
        if source.gguf is not None:
            write_gguf_tokenizer(source.gguf, header, out)
        else:
            copy_tokenizer(folder, out)
            findings += head_finding(folder, is_tied(model))
        findings += repair_tokenizer(out)
        tokenizer = _named_tokenizer(out, source)
        _adopt_special_ids(model, tokenizer, override=source.gguf is not None)
        weights = save_model(model, out)
        if live is not None:
            live.keep(weights)
        _check_exportable(out)
        step(2, "written")
    config = model.config
    facts = ImportFacts(
        name=source.name,
        family=config.model_type,
        parameters=parameter_count(model),
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        vocabulary=config.vocab_size,
        tied=is_tied(model),
        findings=tuple(findings),
    )
    return facts.record()


@contextlib.contextmanager
def user_file(source: ModelSource, work: Path) -> Iterator[None]:
    """An error that names a file in the folder `work`, which is ours, names the user's instead."""
    try:
        yield
    except LightbulbError as e:
        theirs = source.gguf or source.path or Path(source.name)
        for at in (e.where or "").split(", ")[:1]:
            inside = Path(at).relative_to(work) if Path(at).is_relative_to(work) else None
            if inside is not None:
                there = theirs / inside
                e.where = str(there if there.is_file() else theirs)
        e.where = e.where or str(theirs)
        raise


def spec_of_source(source: ModelSource) -> ModelSpec:
    """What a model is, before it is imported.

    Raises:
        ModelError: as importing it would
        UnsupportedModel: likewise
    """
    from transformers import AutoConfig

    from lightbulb.models.gguf_shape import spec_of_gguf

    if source.gguf is not None:
        with plain_model_errors(source.gguf):
            return spec_of_gguf(header_of(source))
    folder = local_folder(source)
    values = json_object(folder / "config.json")
    with quiet_transformers(), plain_model_errors(folder / "config.json"):
        make_known(architecture_spec(values))
        if values.get("model_type") != OWN:
            values = AutoConfig.from_pretrained(folder, local_files_only=True).to_dict()
        return spec_of_config(values)


def _read_gguf_model(source: ModelSource, header: GgufHeader, out: Path) -> PreTrainedModel:
    """Dequantizes the file's weights under transformers' names; writes the config into `out`, and makes the model that
    a folder with both would hold."""
    from lightbulb.models.gguf import weights_of
    from lightbulb.models.gguf_info import info_of
    from lightbulb.models.gguf_shape import spec_of_gguf

    file = header.files[0]
    info = info_of(header)
    check_family(source)
    if info.has_rope_factors:
        raise UnsupportedModel(
            "this GGUF stretches its positions (rope_freqs), which is not read back",
            where=str(file),
            hint="start from the transformers folder of the model",
        )
    with plain_model_errors(file):
        spec = spec_of_gguf(header)
        tensors = {k: torch.from_numpy(v) for k, v in weights_of(header, spec).items()}
        config = full_config(spec)
    write_config(config, out)
    return load_model(out, weights=tensors)


def head_finding(folder: Path, tied: bool) -> list[str]:
    """A sentence where config.json and the weights do not agree on the head."""
    if says_tied(json_object(folder / "config.json")) == tied:
        return []
    if tied:
        return ["the weights hold no head although config.json speaks of one: the embedding is the head"]
    return ["the weights hold a head of their own although config.json says it is the embedding: it is kept"]


def _check_exportable(folder: Path) -> None:
    """Raises UnsupportedModel for positions or a tokenizer that no GGUF can hold: now, not after the training."""
    from lightbulb.formats.gguf.tokenizer import tokenizer_fields
    from lightbulb.models.gguf_shape import architecture_of

    spec = spec_of_config(json_object(folder / "config.json"))
    architecture_of(spec)
    tokenizer_fields(folder, spec.vocabulary)


def write_gguf_tokenizer(file: Path, header: GgufHeader, out: Path) -> None:
    from lightbulb.formats.gguf.tokenizer import tokenizer_from_gguf

    with plain_model_errors(file):
        tokenizer, config = tokenizer_from_gguf(header.fields, file)
    write_text(out / "tokenizer.json", json.dumps(tokenizer, ensure_ascii=False))
    write_json(out / "tokenizer_config.json", config)


def _named_tokenizer(folder: Path, source: ModelSource) -> PreTrainedTokenizerFast:
    """The tokenizer of `folder`. Special tokens that only special_tokens_map.json names, as in older folders, are then
    named in tokenizer_config.json, too, which is what an export reads. Raises ModelError when no token ends a text."""
    tokenizer = load_tokenizer(folder)
    if tokenizer.eos_token_id is None:
        raise ModelError(
            "the tokenizer names no token that ends a text (eos_token)",
            where=str(source.gguf or source.path or source.name),
            hint='name it in tokenizer_config.json of the transformers folder, as "eos_token"',
        )
    config = json_object(folder / "tokenizer_config.json")
    roles = [f"{role}_token" for role in ROLES]
    if lacking := {r: token for r in roles if (token := getattr(tokenizer, r)) and not config.get(r)}:
        write_json(folder / "tokenizer_config.json", config | lacking)
    return tokenizer


def _adopt_special_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, override: bool) -> None:
    """Special ids from the tokenizer where the config has none, so that generation knows where to stop.

    Args:
        override: also where it has some; a config made from a GGUF holds its family's defaults
    """
    for role in ("bos", "eos", "pad"):
        index = getattr(tokenizer, f"{role}_token_id")
        for config in (model.config, model.generation_config):
            if config is None or (index is None and not override):
                continue
            if override or getattr(config, f"{role}_token_id", None) is None:
                setattr(config, f"{role}_token_id", index)
