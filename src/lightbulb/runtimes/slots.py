"""Files that fill in answers (docs/format.md, `lightbulb-slots`) in filament: the only runtime that runs them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Self

from lightbulb.core.errors import ModelError, UserError
from lightbulb.formats.gguf.header import read_header
from lightbulb.models.kinds.base import text_of_turns
from lightbulb.runtimes.base import WORDS, Capabilities, ModelForm, ModelInfo, Runtime
from lightbulb.runtimes.exchange import PLAIN, Answers, Options, Tokens
from lightbulb.runtimes.registry import check_installed

WORD, PIECES = re.compile(r"\S+"), re.compile(r"[^,]*,|[^,]+")  # what is counted; what is streamed: a field, as a rule


class Slots(Runtime):
    """A GGUF file that fills in answers, loaded into filament.

    There is no template: a prompt is what the turns say. Tokens, of prompts and answers, are words (runs of no blanks).
    """

    name: ClassVar[str] = "slots"
    title: ClassVar[str] = "filament"
    opens: ClassVar[ModelForm] = "gguf"
    library: ClassVar[str] = "lightbulb_filament"
    install: ClassVar[str] = "make filament"
    capabilities: ClassVar[Capabilities] = Capabilities(stream=True, batch=True, bulk=True, counts_each=True)

    def __init__(self, path: Path, *, threads: int = 1):
        check_installed(self.name)
        import lightbulb_filament

        header = read_header(path)
        try:
            self._model = lightbulb_filament.SlotFiller(path, threads=threads)
        except lightbulb_filament.FilamentError as e:
            raise ModelError(
                f"filament cannot run this file: {e}", where=str(path), hint="download or export the file again"
            ) from e
        self.info = ModelInfo(str(path), header.fields["general.architecture"], bytes=header.bytes)

    @classmethod
    def open(cls, model: Path, *, threads: int = 2, slots: int = 1, context: int = 1024) -> Self:
        """slots and context change nothing: all prompts of a call are worked on at once, and none is cut."""
        return cls(model, threads=threads)

    @classmethod
    def installed(cls) -> bool:
        """Whether filament is there, in a version that knows such files."""
        if not super().installed():
            return False
        import lightbulb_filament

        return hasattr(lightbulb_filament, "SlotFiller")

    @classmethod
    def notes(cls) -> list[str]:
        return ["prompts are answered many in a call, as they would be in bulk", "tokens are words"]

    @classmethod
    def _lacks(cls, capability: str) -> UserError:
        return UserError(
            f"a file that fills in answers cannot {WORDS[capability]}: it knows one form of answer",
            where=f"`runtime={cls.name}`",
            hint="the task that it was made for, or the file of a language model and `runtime=llamacpp`",
        )

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        """What all turns say, each on lines of its own."""
        return text_of_turns(messages) + "\n"

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

    def close(self) -> None:
        self.__dict__.pop("_model", None)


def _cut(text: str, words: int) -> str:
    """Its first words."""
    found = list(itertools.islice(WORD.finditer(text), words))
    return text[: found[-1].end()] if found else text
