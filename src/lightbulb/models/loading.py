"""Model folders: loading, saving, tokenizers; the same model gives the same bytes."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lightbulb.core.errors import LightbulbError, ModelError
from lightbulb.core.files import plain_os_errors, write_json
from lightbulb.models.families import MATMULFREE, OWN, ArchitectureSpec, architecture_spec, is_tied
from lightbulb.models.folders import tensors_of, weight_files
from lightbulb.models.resolve import json_object, tokenizer_hint
from lightbulb.models.spec import ModelSpec
from lightbulb.models.spec_config import config_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


ALIGNMENT = 64  # bytes; c10/core/alignment.h
WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer.json"
TOKENIZER_FILES = (TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


def parameter_count(model: PreTrainedModel) -> int:
    """All weights; a tied matrix counts once."""
    return sum(p.numel() for p in model.parameters())  # parameters() yields a tied matrix once


def load_model(
    folder: Path, dtype: torch.dtype = torch.float32, weights: Mapping[str, torch.Tensor] | None = None
) -> PreTrainedModel:
    """The causal model of a transformers folder, in eval mode. Runs no code from the folder and never downloads.
    Whether the head is the embedding is what the weights say, not the config.

    Args:
        folder: config and safetensors
        dtype: of the weights
        weights: what the folder's safetensors hold, where it is in memory; the model's parameters share that memory

    Raises:
        ModelError: weights are missing, left over or of the wrong shape
        UnsupportedModel: another family
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM

    values = json_object(folder / "config.json")
    make_known(architecture_spec(values, where=str(folder / "config.json")))
    if values["model_type"] == OWN:
        return _load_own(folder, values, weights).to(dtype)  # type: ignore[arg-type, return-value]
    with quiet_transformers(), plain_model_errors(folder):
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        config.tie_word_embeddings = head_is_tied(folder, weights)
        how: dict[str, Any] = {"config": config, "dtype": dtype, "output_loading_info": True}
        if weights is None:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder, trust_remote_code=False, use_safetensors=True, local_files_only=True, **how
            )
        else:
            family: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
            loaded = family.from_pretrained(None, state_dict=dict(weights), **how)
            loaded[0].generation_config = _generation_config(folder)
    model, info = loaded
    wrong = {k: sorted(map(str, info[k])) for k in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[k]}
    if wrong:
        kind, names = next(iter(wrong.items()))
        raise ModelError(
            f"the weights do not fit config.json: {kind.replace('_', ' ')} {', '.join(names[:3])}",
            where=str(folder),
            hint="download the model again",
        )
    _align(model)
    return model.eval()


def _align(model: PreTrainedModel) -> None:
    """Moves parameters to addresses as torch's own allocator gives: a float32 product on others adds up in another
    order, and where a tensor stands in a file must not change what comes of it."""
    for parameter in model.parameters():
        if parameter.data_ptr() % ALIGNMENT:
            parameter.data = parameter.data.clone()


def _generation_config(folder: Path) -> Any:
    """As transformers reads it with a model: from config.json where it has no file of its own."""
    from transformers import GenerationConfig

    if (folder / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    return GenerationConfig.from_pretrained(
        folder, config_file_name="config.json", _from_model_config=True, local_files_only=True
    )


def _load_own(
    folder: Path, values: Mapping[str, Any], weights: Mapping[str, torch.Tensor] | None = None
) -> PreTrainedModel:
    """A model whose layers differ. weights: where they are in memory."""
    from lightbulb.models.decoder import DecoderConfig, load_decoder

    with plain_model_errors(folder):
        kept = {name: values[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id") if name in values}
        model = load_decoder(folder, DecoderConfig(spec=values["spec"], **kept), weights)
        model.generation_config = _generation_config(folder)
        return model


def head_is_tied(folder: Path, weights: Mapping[str, torch.Tensor] | None = None) -> bool:
    """Whether the head of the model in `folder` is its embedding: it has no head of its own among its weights, or one
    that is the same while the config says that they are tied.

    Args:
        folder: config and safetensors
        weights: where they are in memory

    Raises:
        ModelError: the config is no JSON object
        UnsupportedModel: another family
    """
    config = json_object(folder / "config.json")
    arch = architecture_spec(config)
    names = {f"{arch.embed}.weight", f"{arch.head}.weight"}
    if weights is not None:
        both = names <= weights.keys() and says_tied(config)
        return f"{arch.head}.weight" not in weights or (both and torch.equal(*(weights[name] for name in names)))
    where = {name: file for file in weight_files(folder) for name in names & set(tensors_of(file))}
    if f"{arch.head}.weight" not in where:
        return True
    if len(where) < len(names) or not says_tied(config):
        return False
    from safetensors import safe_open

    found = []
    for name, file in where.items():
        with safe_open(file, framework="pt") as opened:
            found.append(opened.get_tensor(name))
    return bool(torch.equal(*found))


def says_tied(config: Mapping[str, Any]) -> bool:
    """What config.json says, or leaves to its family: Gemma ties, the others do not."""
    tied = config.get("tie_word_embeddings")
    return architecture_spec(config).tied if tied is None else bool(tied)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer exactly as tokenizer.json says (transformers' own classes rebuild parts of it by family).

    Raises:
        ModelError: it cannot be read
    """
    from transformers import PreTrainedTokenizerFast

    if not (folder / "tokenizer.json").is_file():
        raise ModelError("this folder has no tokenizer.json", where=str(folder), hint=tokenizer_hint(folder))
    with quiet_transformers(), plain_model_errors(folder):
        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)


def save_model(model: PreTrainedModel, folder: Path) -> dict[str, torch.Tensor]:
    """Writes config, generation config and `model.safetensors` (float32, sorted names, a tied head once). The same
    model gives the same bytes. One of ours whose layers are alike is written as its family's.

    Returns:
        The weights as they were written, which share the model's memory where they can.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = dict(model.state_dict())
    if is_tied(model):
        state.pop(f"{architecture_spec(model.config).head}.weight", None)
    weights = write_weights(state, folder)
    write_config(_config_of_model(model), folder)
    if model.generation_config is not None:
        generation = {k: v for k, v in model.generation_config.to_diff_dict().items() if not k.startswith("_")}
        write_json(folder / "generation_config.json", dict(sorted(generation.items())))
    return weights


def _config_of_model(model: PreTrainedModel) -> dict[str, Any]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if model.config.model_type != OWN:
        return model.config.to_dict() | {"architectures": [type(model).__name__]}
    from lightbulb.models.decoder import spec_of

    config = full_config(spec_of(model.config))  # type: ignore[arg-type]
    ids = {name: getattr(model.config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    known = {**MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MATMULFREE: "MatMulFreeForCausalLM"}
    name = known.get(config["model_type"], "DecoderForCausalLM")
    return config | ids | {"architectures": [name]}


def write_weights(state: Mapping[str, torch.Tensor], folder: Path) -> dict[str, torch.Tensor]:
    """Writes `model.safetensors` (float32, sorted names) and returns what it holds.

    Written beside and renamed: a loaded model may still be reading the old file through a memory map."""
    from safetensors.torch import save_file

    tensors = {name: state[name].detach().to("cpu", torch.float32).contiguous() for name in sorted(state)}
    beside = folder / f".{WEIGHTS}.tmp"
    with plain_os_errors(folder / WEIGHTS):
        try:
            save_file(tensors, beside, metadata={"format": "pt"})
            beside.chmod(0o644)  # safetensors makes it private
            beside.replace(folder / WEIGHTS)
        finally:
            beside.unlink(missing_ok=True)
    return tensors


def write_config(config: dict[str, Any], folder: Path) -> None:
    """Writes config.json."""
    dropped = ("torch_dtype", "_name_or_path", "auto_map", "quantization_config")
    kept = {k: v for k, v in config.items() if k not in dropped} | {"dtype": "float32"}
    write_json(folder / "config.json", dict(sorted(kept.items())))


def copy_tokenizer(source: Path, out: Path) -> None:
    """Copies the tokenizer files; the class is set to the one that reads tokenizer.json as it is."""
    for name in TOKENIZER_FILES:
        if (source / name).is_file() and name != "tokenizer_config.json":
            shutil.copyfile(source / name, out / name)
    file = source / "tokenizer_config.json"
    config = json_object(file) if file.is_file() else {}
    config.pop("auto_map", None)
    write_json(out / "tokenizer_config.json", config | {"tokenizer_class": "PreTrainedTokenizerFast"})


def full_config(spec: ModelSpec) -> dict[str, Any]:
    """config.json of a model: transformers' where its layers are alike, else ours."""
    from transformers import AutoConfig

    from lightbulb.models.decoder import DecoderConfig

    values = config_of(spec)
    make_known(spec.arch)
    config = DecoderConfig(**values) if values["model_type"] == OWN else AutoConfig.for_model(**values)
    return dict(config.to_dict())


def make_known(arch: ArchitectureSpec) -> None:
    """Registers a family of ours with transformers' Auto classes."""
    if arch.family == MATMULFREE:
        import lightbulb.models.matmulfree  # noqa: F401


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """No bars and no chatter from transformers; what was set before is set again."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextlib.contextmanager
def plain_model_errors(where: Path) -> Iterator[None]:
    """What a library says of a bad model becomes one clear error.

    Raises:
        ModelError: it names `where`
    """
    try:
        yield
    except LightbulbError as e:
        e.where = e.where or str(where)
        raise
    except MemoryError:
        raise
    except Exception as e:  # whatever a broken file leads transformers to raise is one thing to the user
        first = str(e).strip().splitlines()[0] if str(e).strip() else ""
        raise ModelError(
            f"this model cannot be read: {type(e).__name__}: {first}",
            where=str(where),
            hint="download the model again, or save it anew with save_pretrained",
        ) from e
