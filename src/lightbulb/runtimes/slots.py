"""Files that fill in answers (docs/format.md, `lightbulb-slots`) in filament: the only runtime that runs them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from lightbulb.core.errors import UserError
from lightbulb.runtimes.base import WORDS, Capabilities
from lightbulb.runtimes.exchange import PLAIN, Answers, Options, Tokens
from lightbulb.runtimes.filament_files import FilamentFile

WORD, PIECES = re.compile(r"\S+"), re.compile(r"[^,]*,|[^,]+")  # what is counted; what is streamed: a field, as a rule


class Slots(FilamentFile):
    """A GGUF file that fills in answers, loaded into filament.

    Tokens, of prompts and of answers, are words.
    """

    name: ClassVar[str] = "slots"
    native: ClassVar[str] = "SlotFiller"
    capabilities: ClassVar[Capabilities] = Capabilities(stream=True, batch=True, bulk=True, counts_each=True)

    @classmethod
    def _lacks(cls, capability: str) -> UserError:
        return UserError(
            f"a file that fills in answers cannot {WORDS[capability]}: it knows one form of answer",
            where=f"`runtime={cls.name}`",
            hint="the task that it was made for, or the file of a language model and `runtime=llamacpp`",
        )

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        """What all turns say, each on lines of its own."""
        return super().render(messages) + "\n"

    def generate(self, prompts: Sequence[str], max_tokens: int, options: Options = PLAIN) -> Answers:
        self.require(*options.needs)
        texts, probabilities = self._model.fill(prompts)
        texts = [_cut(text, max_tokens) for text in texts]
        if options.stream is not None:
            for number, text in enumerate(texts):
                for piece in PIECES.findall(text):
                    options.stream(number, piece)
        each = [Tokens(len(p.split()), len(t.split())) for p, t in zip(prompts, texts, strict=True)]
        return replace(Answers.counted(texts, each), probabilities=tuple(probabilities))

    def answer(self, prompts: Sequence[str], answers: Sequence[str]) -> Answers:
        """What it fills in, which may be none of the answers."""
        return replace(self.generate(prompts, max(len(a.encode()) for a in answers) + 1), probabilities=None)


def _cut(text: str, words: int) -> str:
    """Its first words."""
    found = list(itertools.islice(WORD.finditer(text), words))
    return text[: found[-1].end()] if found else text
