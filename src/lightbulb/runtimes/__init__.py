"""Runtimes: what turns a model file into answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

LocalRuntime = Literal["llamacpp", "filament", "torch"]  # what runs a model on this machine

if TYPE_CHECKING:
    from lightbulb.artifact import Artifact
    from lightbulb.runtimes.base import Runtime


def open_runtime(artifact: Artifact, *, threads: int = 2, slots: int = 1, context: int = 1024) -> Runtime:
    """llama.cpp for a GGUF, transformers for a model folder. `context`: tokens of the longest prompt with its
    answer."""
    if artifact.kind == "gguf":
        from lightbulb.runtimes.llamacpp import LlamaCpp

        return LlamaCpp(artifact.gguf, threads=threads, slots=slots, context=context)
    from lightbulb.runtimes.torch import Torch

    return Torch(artifact)
