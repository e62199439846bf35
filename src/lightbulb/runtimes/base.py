"""The one protocol of every runtime: what turns a model file into answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol


@dataclass(frozen=True, slots=True)
class Answer:
    """Text of an answer and what it took: tokens read (prefill) and tokens written (decode)."""

    text: str
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class TextScore:
    """Negative log-likelihood of one document in nats, over `tokens` predicted tokens and `bytes` UTF-8 bytes."""

    nats: float
    tokens: int
    bytes: int


class Runtime(Protocol):
    """Prompts are rendered text: the chat template has been applied, special tokens stand in the text."""

    name: ClassVar[str]
    path: Path

    def choose(self, prompts: Sequence[str], answers: Sequence[str]) -> list[Answer]:
        """The likeliest of a closed set of single-token answers for each prompt: one prefill, one token."""
        ...

    def generate(self, prompts: Sequence[str], max_tokens: int) -> list[Answer]:
        """Greedy continuation of each prompt up to the end-of-turn token."""
        ...

    def score_texts(self, texts: Sequence[str]) -> list[TextScore]:
        """Likelihood of whole documents."""
        ...

    def close(self) -> None: ...
