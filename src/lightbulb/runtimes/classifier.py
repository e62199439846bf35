"""Files of classifiers (docs/format.md) in filament: the only runtime that runs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Self

from lightbulb.core.errors import ModelError, UserError
from lightbulb.formats.gguf.header import read_header
from lightbulb.models.abstention import abstention_of
from lightbulb.models.kinds.base import text_of_turns
from lightbulb.runtimes.base import WORDS, Capabilities, ModelForm, ModelInfo, Runtime
from lightbulb.runtimes.exchange import PLAIN, Answers, Options, Tokens
from lightbulb.runtimes.registry import check_installed


class Classifier(Runtime):
    """A GGUF file that only chooses, loaded into filament.

    It answers with one of the answers that it was made for, and with its probability of it. There is no template: a
    prompt is what the turns say, and its tokens are its words (runs of no blanks). An answer counts as one token.
    """

    name: ClassVar[str] = "classifier"
    title: ClassVar[str] = "filament"
    opens: ClassVar[ModelForm] = "gguf"
    library: ClassVar[str] = "lightbulb_filament"
    install: ClassVar[str] = "make filament"
    capabilities: ClassVar[Capabilities] = Capabilities(
        closed_set=True, generates=False, batch=True, bulk=True, counts_each=True
    )

    def __init__(self, path: Path, *, threads: int = 1):
        check_installed("classifier")
        import lightbulb_filament

        header = read_header(path)
        try:
            self._model = lightbulb_filament.Classifier(path, threads=threads)
        except lightbulb_filament.FilamentError as e:
            raise ModelError(
                f"filament cannot run this file: {e}", where=str(path), hint="download or export the file again"
            ) from e
        architecture = header.fields["general.architecture"]
        self.info = ModelInfo(
            str(path),
            architecture,
            bytes=header.bytes,
            answers=self._model.answers,
            abstention=abstention_of(header.fields, path),
        )
        self.path, self.kinds = path, self._model.kinds

    @classmethod
    def open(cls, model: Path, *, threads: int = 2, slots: int = 1, context: int = 1024) -> Self:
        """slots and context change nothing: all prompts of a call are worked on at once, and none is cut."""
        return cls(model, threads=threads)

    @classmethod
    def notes(cls) -> list[str]:
        return ["prompts are answered many in a call, as they would be in bulk", "tokens are words"]

    @classmethod
    def _lacks(cls, capability: str) -> UserError:
        return UserError(
            f"a classifier cannot {WORDS[capability]}: it only chooses one of its answers",
            where=f"`runtime={cls.name}`",
            hint="a task whose answers it was made for, or the file of a language model and `runtime=llamacpp`",
        )

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        """What all turns say, one below the other."""
        return text_of_turns(messages)

    def generate(self, prompts: Sequence[str], max_tokens: int, options: Options = PLAIN) -> Answers:
        self.require(*options.needs, "generates")
        raise AssertionError  # it lacks that

    def answer(self, prompts: Sequence[str], answers: Sequence[str]) -> Answers:
        """The answers of the file to the prompts, with their probabilities.

        Raises:
            ModelError: `answers` are others than those of the file
        """
        known = self.info.answers
        if tuple(answers) != known and set(answers) != set(known):
            raise ModelError(
                f"this classifier was made for {len(known)} answers, and these {len(answers)} are others",
                where=str(self.path),
                hint="make one for these answers: `lightbulb shrink`",
            )
        numbers, probabilities = self._model.classify(prompts)
        made = Answers.counted([known[n] for n in numbers], [Tokens(len(prompt.split()), 1) for prompt in prompts])
        return replace(made, probabilities=tuple(probabilities))

    def stages_used(self, prompts: Sequence[str]) -> list[int]:
        """Which stage of a cascade answers each prompt, the cheapest being 0."""
        return self._model.stages_used(prompts)

    def close(self) -> None:
        self.__dict__.pop("_model", None)
