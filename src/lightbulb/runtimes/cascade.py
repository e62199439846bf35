"""Cheap files that hand what they are not sure of on to a language model beside them: both, as one runtime."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from lightbulb.core.errors import ModelError, UserError
from lightbulb.formats.gguf.header import read_architecture, read_header
from lightbulb.models.kinds.fallback import fallback_of
from lightbulb.runtimes.base import WORDS, Capabilities, ModelForm, ModelInfo, Runtime
from lightbulb.runtimes.exchange import PLAIN, Answers, Options
from lightbulb.runtimes.registry import CASCADES, ONLY_IN, check_installed, is_language_model, open_gguf, runtime_class

Turns = list[dict[str, str]]


class Cascade(Runtime):
    """A GGUF file that chooses or fills in, in filament, and the language model beside it, which answers where the
    probability of the first is below the threshold that the file names.

    A prompt is the conversation itself, as JSON, because each of the two reads it in a form of its own; the language
    model's is made only where it is asked. What is no such JSON is text as it stands, to both. Tokens are those of the
    one that answers.

    Args:
        path: the file
        threads: of the processor
        slots: prompts that the language model works on side by side
        context: tokens of its longest prompt with its answer
        then: name of the runtime that it runs in

    Raises:
        ModelError: one of the files is missing or damaged, or does not go with the other
    """

    title: ClassVar[str] = "filament"
    opens: ClassVar[ModelForm] = "gguf"
    library: ClassVar[str] = "lightbulb_filament"
    install: ClassVar[str] = "make filament"

    def __init__(self, path: Path, *, threads: int = 2, slots: int = 1, context: int = 1024, then: str = "llamacpp"):
        check_installed(self.name)
        header, only = read_header(path), ONLY_IN.get(read_architecture(path), "")
        fallback = fallback_of(header.fields, path)
        if fallback is None or CASCADES.get(only) != self.name:
            raise ModelError("this file hands nothing on so", where=str(path), hint="open it in another runtime")
        beside = fallback.beside(path)
        if not is_language_model(beside):
            raise ModelError("this is no language model", where=str(beside), hint="copy both files of one run")
        self.threshold = np.float32(fallback.threshold)
        self._first: Runtime = runtime_class(only).open(path, threads=threads)
        self._then = open_gguf(beside, then, threads=threads, slots=slots, context=context)
        own, size = self._first.info, header.bytes + fallback.bytes
        self.info = ModelInfo(str(path), own.architecture, bytes=size, answers=own.answers, abstention=own.abstention)

    @classmethod
    def open(cls, model: Path, *, threads: int = 2, slots: int = 1, context: int = 1024) -> Self:
        """The language model in llama.cpp."""
        return cls(model, threads=threads, slots=slots, context=context)

    @classmethod
    def notes(cls) -> list[str]:
        return [
            "prompts come many in a call; the language model answers those that are handed on one by one",
            "tokens are words where the first model answers, and the language model's own elsewhere",
        ]

    @classmethod
    def _lacks(cls, capability: str) -> UserError:
        return UserError(
            f"a file that hands on what it is not sure of cannot {WORDS[capability]}",
            where=f"`runtime={cls.name}`",
            hint="the language model's file beside it, and `runtime=llamacpp`",
        )

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        """The conversation as JSON."""
        return json.dumps(list(messages), ensure_ascii=False)

    def _joint(
        self,
        prompts: Sequence[str],
        first: Callable[[list[str]], Answers],
        rest: Callable[[list[str], Sequence[int]], Answers],
        stream: Callable[[int, str], Any] | None = None,
    ) -> Answers:
        """What the first model says to all prompts, and in its place, where it is not sure, the other.

        Args:
            first: answers texts as the first model reads them
            rest: likewise the language model, and hears which prompts these are
            stream: hears what the first model is sure of
        """
        turns = [_conversation(prompt) for prompt in prompts]
        made = first([_text(self._first, t, p) for t, p in zip(turns, prompts, strict=True)])
        assert made.probabilities is not None and made.each is not None  # every file of these kinds tells them
        sure = np.array(made.probabilities, np.float32) >= self.threshold
        if stream is not None:
            for place in np.flatnonzero(sure).tolist():
                stream(place, made.texts[place])
        places = np.flatnonzero(~sure).tolist()
        if not places:
            return made
        said = rest([_text(self._then, turns[n], prompts[n]) for n in places], places)
        texts, each = list(made.texts), list(made.each)
        told: list[float | None] = list(made.probabilities)
        for number, n in enumerate(places):
            texts[n] = said.texts[number]
            told[n] = None if said.probabilities is None else said.probabilities[number]
            if said.each is not None:
                each[n] = said.each[number]
        known = tuple(p for p in told if p is not None)
        return replace(Answers.counted(texts, each), probabilities=known if len(known) == len(told) else None)

    def close(self) -> None:
        self._first.close()
        self._then.close()


class ClassifierCascade(Cascade):
    """A classifier, and a language model that chooses."""

    name: ClassVar[str] = "classifier-cascade"
    capabilities: ClassVar[Capabilities] = Capabilities(
        closed_set=True, generates=False, batch=True, bulk=True, counts_each=True
    )

    def generate(self, prompts: Sequence[str], max_tokens: int, options: Options = PLAIN) -> Answers:
        self.require(*options.needs, "generates")
        raise AssertionError  # it lacks that

    def answer(self, prompts: Sequence[str], answers: Sequence[str]) -> Answers:
        return self._joint(
            prompts,
            lambda texts: self._first.answer(texts, answers),
            lambda texts, _: self._then.answer(texts, answers),
        )


class SlotsCascade(Cascade):
    """A file that fills in answers, and a language model that writes."""

    name: ClassVar[str] = "slots-cascade"
    capabilities: ClassVar[Capabilities] = Capabilities(stream=True, batch=True, bulk=True, counts_each=True)

    def generate(self, prompts: Sequence[str], max_tokens: int, options: Options = PLAIN) -> Answers:
        self.require(*options.needs)
        stream, plain = options.stream, replace(options, stream=None)

        def rest(texts: list[str], places: Sequence[int]) -> Answers:
            if stream is None:
                return self._then.generate(texts, max_tokens, plain)
            handed_on = replace(options, stream=lambda number, piece: stream(places[number], piece))
            return self._then.generate(texts, max_tokens, handed_on)

        return self._joint(prompts, lambda texts: self._first.generate(texts, max_tokens, plain), rest, stream)


def _conversation(prompt: str) -> Turns | None:
    """The turns that a prompt holds; None where it is text as it stands."""
    try:
        turns = json.loads(prompt)
    except ValueError:
        return None
    whole = isinstance(turns, list) and all(isinstance(t, dict) and {"role", "content"} <= t.keys() for t in turns)
    return turns if whole and turns else None


def _text(runtime: Runtime, turns: Turns | None, prompt: str) -> str:
    """What one of the two reads."""
    return prompt if turns is None else runtime.render(turns)
