"""Runtimes: what turns a model file into answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightbulb.artifact import Artifact
    from lightbulb.runtimes.base import Runtime


def open_runtime(artifact: Artifact, *, threads: int = 2, slots: int = 1) -> Runtime:
    """llama.cpp for a GGUF, transformers for a model folder."""
    if artifact.kind == "gguf":
        from lightbulb.runtimes.llamacpp import LlamaCpp

        return LlamaCpp(artifact.gguf, threads=threads, slots=slots)
    from lightbulb.runtimes.torch import Torch

    return Torch(artifact)
