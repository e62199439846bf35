"""A runtime that asks another one (here llama.cpp) and counts the prompts: all that the contract takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from lightbulb.runtimes import open_gguf, runtime_class
from lightbulb.runtimes.base import Runtime
from lightbulb.runtimes.exchange import PLAIN, Answers, NextToken, Options, TextScore


class Counting(Runtime):
    name, title, opens = "counting", "the counting runtime", "gguf"
    capabilities = runtime_class("llamacpp").capabilities

    def __init__(self, inner: Runtime):
        self.inner, self.info, self.prompts = inner, inner.info, 0

    @classmethod
    def open(cls, model: Path, *, threads: int = 2, slots: int = 1, context: int = 1024) -> Self:
        return cls(open_gguf(model, threads=threads, slots=slots, context=context))

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        return self.inner.render(messages)

    def tokenize(self, text: str) -> list[int]:
        return self.inner.tokenize(text)

    @property
    def context_length(self) -> int:
        return self.inner.context_length

    def generate(self, prompts: Sequence[str], max_tokens: int, options: Options = PLAIN) -> Answers:
        self.prompts += len(prompts)
        return self.inner.generate(prompts, max_tokens, options)

    def answer(self, prompts: Sequence[str], answers: Sequence[str]) -> Answers:
        self.prompts += len(prompts)
        return self.inner.answer(prompts, answers)

    def score_answers(self, prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        return self.inner.score_answers(prompts, answers)

    def score_next(self, prompt: Sequence[int], among: Sequence[int] | None, asked: int) -> NextToken:
        return self.inner.score_next(prompt, among, asked)

    def score_texts(self, texts: Sequence[str]) -> list[TextScore]:
        return self.inner.score_texts(texts)

    def write_exactly(self, prompts: Sequence[Sequence[int]], tokens: int) -> Answers:
        return self.inner.write_exactly(prompts, tokens)

    def close(self) -> None:
        self.inner.close()
