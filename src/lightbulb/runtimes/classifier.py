"""Files of classifiers (docs/format.md) in filament: the only runtime that runs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from lightbulb.core.errors import ModelError, UserError
from lightbulb.formats.gguf.header import GgufHeader
from lightbulb.models.abstention import abstention_of
from lightbulb.runtimes.base import WORDS, Capabilities, ModelInfo
from lightbulb.runtimes.exchange import PLAIN, Answers, Options, Tokens
from lightbulb.runtimes.filament_files import FilamentFile


class Classifier(FilamentFile):
    """A GGUF file that only chooses, loaded into filament.

    It answers with one of the answers that it was made for, and with its probability of it. An answer counts as one
    token.
    """

    name: ClassVar[str] = "classifier"
    native: ClassVar[str] = "Classifier"
    capabilities: ClassVar[Capabilities] = Capabilities(
        closed_set=True, generates=False, batch=True, bulk=True, counts_each=True
    )

    def _info(self, header: GgufHeader) -> ModelInfo:
        abstention = abstention_of(header.fields, self.path)
        return replace(super()._info(header), answers=tuple(self._model.answers), abstention=abstention)

    @property
    def kinds(self) -> Sequence[str]:
        """What its stages are, the cheapest first; one where it is no cascade."""
        return self._model.kinds

    @classmethod
    def _lacks(cls, capability: str) -> UserError:
        return UserError(
            f"a classifier cannot {WORDS[capability]}: it only chooses one of its answers",
            where=f"`runtime={cls.name}`",
            hint="a task whose answers it was made for, or the file of a language model and `runtime=llamacpp`",
        )

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
