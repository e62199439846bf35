"""Runtimes: what turns a model file into answers."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from lightbulb.errors import UserError

GgufRuntime = Literal["llamacpp", "filament"]
RUNTIME_TITLES: dict[GgufRuntime, str] = {"llamacpp": "llama.cpp", "filament": "filament"}
FILAMENT_ARCHITECTURES = ("llama", "qwen2", "qwen3", "deci", "openelm", "gemma3")
LocalRuntime = Literal["llamacpp", "filament", "torch"]  # what runs a model on this machine

if TYPE_CHECKING:
    from pathlib import Path

    from lightbulb.artifact import Artifact
    from lightbulb.runtimes.base import Runtime, Shipped


def check_installed(runtime: GgufRuntime) -> None:
    """Raises UserError where `runtime` is not installed: now, rather than after an hour."""
    if runtime == "filament" and find_spec("lightbulb_filament") is None:
        raise UserError(
            "filament is not installed", where="--runtime filament", mend="make filament, or --runtime llamacpp"
        )


def open_runtime(
    artifact: Artifact, runtime: GgufRuntime, *, threads: int = 2, slots: int = 1, context: int = 1024
) -> Runtime:
    """`runtime` for a GGUF, transformers for a model folder. `context`: tokens of the longest prompt with its
    answer."""
    if artifact.kind == "gguf":
        return open_gguf(artifact.gguf, runtime, threads=threads, slots=slots, context=context)
    from lightbulb.runtimes.torch import Torch

    return Torch(artifact)


def open_gguf(
    path: Path, runtime: GgufRuntime = "llamacpp", *, threads: int = 2, slots: int = 1, context: int = 1024
) -> Shipped:
    """A GGUF file in one of the runtimes that take it. `slots`: prompts side by side."""
    if runtime == "filament":
        from lightbulb.runtimes.filament import Filament

        return Filament(path, threads=threads, slots=slots, context=context)
    from lightbulb.runtimes.llamacpp import LlamaCpp

    return LlamaCpp(path, threads=threads, slots=slots, context=context)
