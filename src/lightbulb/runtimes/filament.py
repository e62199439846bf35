"""filament, the project's own CPU runtime, where the distribution lightbulb-filament is installed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lightbulb.core.errors import ModelError
from lightbulb.formats.gguf.tokenizer import tokenizer_from_gguf
from lightbulb.models.form import shortened
from lightbulb.models.gguf_info import answer_tokens, read_fields, read_gguf
from lightbulb.models.gguf_shape import architecture_of
from lightbulb.models.spec import ModelSpec
from lightbulb.models.templates import compiled
from lightbulb.runtimes.base import EVERYTHING, Capabilities, ModelForm, ModelInfo, Runtime, windows
from lightbulb.runtimes.exchange import PLAIN, Answers, NextToken, Options, TextScore, Tokens
from lightbulb.runtimes.registry import ONLY_IN, check_installed
from lightbulb.runtimes.writing import Writing

if TYPE_CHECKING:
    from lightbulb_filament import Prefix
    from tokenizers import Tokenizer

    from lightbulb.runtimes.grammar import Grammars

WIDEST_HEAD = 1024  # filament/src/model.cpp
SHARED = 8  # tokens that prompts must have in common to be worth remembering


class Filament(Runtime):
    """A GGUF file loaded into filament. The prompts of one call share the reading of what they all begin with; nothing
    is kept from one call to the next.

    Args:
        path: the file
        threads: of the processor
        slots: texts written side by side; answers do not depend on it
        context: tokens of one prompt with its answer, at most what the model knows; a longer prompt loses its beginning

    Raises:
        UserError: filament is not installed
        ModelError: the file is damaged, or filament cannot run it
    """

    name: ClassVar[str] = "filament"
    title: ClassVar[str] = "filament"
    opens: ClassVar[ModelForm] = "gguf"
    library: ClassVar[str] = "lightbulb_filament"
    install: ClassVar[str] = "make filament"
    architectures: ClassVar[tuple[str, ...]] = (
        "llama", "qwen2", "qwen3", "gemma3", "deci", "openelm", "matmulfree", "lightbulb-recurrent", "bitnet"
    )  # fmt: skip
    capabilities: ClassVar[Capabilities] = EVERYTHING

    def __init__(self, path: Path, *, threads: int = 2, slots: int = 1, context: int = 1024):
        check_installed("filament")
        import lightbulb_filament

        self._gguf = read_gguf(path)
        self.info = ModelInfo.of_gguf(str(path), self._gguf)
        self.path, self.slots, self.context = path, slots, min(context, self._gguf.context_length)
        try:
            self._model = lightbulb_filament.Model(path, threads=threads)
        except lightbulb_filament.FilamentError as e:
            hint = self.install if self._gguf.architecture in ONLY_IN else "`runtime=llamacpp`"  # an older build
            raise ModelError(f"filament cannot run this file: {e}", where=str(path), hint=hint) from e
        self._tokenizer, self._config = _tokenizer(path)

    @classmethod
    def open(cls, model: Path, *, threads: int = 2, slots: int = 1, context: int = 1024) -> Self:
        return cls(model, threads=threads, slots=slots, context=context)

    @classmethod
    def supports(cls, spec: ModelSpec) -> bool:
        """Whether filament runs the architecture that a GGUF of `spec` has.

        Raises:
            UnsupportedModel: no GGUF can hold it
        """
        return architecture_of(spec) in cls.architectures and (spec.head_width or 0) <= WIDEST_HEAD

    def _prompt(self, prompt: str, room: int) -> list[int]:
        return shortened(self.tokenize(prompt), max(1, self.context - room), self._gguf.bos)

    def answer(self, prompts: Sequence[str], answers: Sequence[str]) -> Answers:
        scores, each = self._scored(prompts, answers)
        if self.info.temperature is not None:
            return Answers.likeliest(scores, self.info.temperature, answers, each)
        return Answers.counted([answers[i] for i in scores.argmax(axis=1)], each)

    def score_answers(self, prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        return self._scored(prompts, answers)[0]

    def _scored(self, prompts: Sequence[str], answers: Sequence[str]) -> tuple[np.ndarray, list[Tokens]]:
        """Log-probabilities of the answers but for a constant of each prompt [prompts, answers], and the tokens of each
        prompt."""
        tokens = [[i] for i in answer_tokens(self._gguf, answers, self.path)]
        read = [self._prompt(prompt, 1) for prompt in prompts]
        prefix = self._shared(read)
        scores = np.zeros((len(read), len(tokens)))
        for row, ids in zip(scores, read, strict=True):
            row[:] = self._model.compare(ids, tokens, prefix=prefix)
        return scores, [Tokens(len(ids), 1) for ids in read]

    def generate(self, prompts: Sequence[str], max_tokens: int, options: Options = PLAIN) -> Answers:
        read = [self._prompt(prompt, max_tokens) for prompt in prompts]
        prefix = self._shared(read)
        sampling = asdict(options.sampling)
        if options.schema is None and not options.stop and options.stream is None:
            ids = self._model.generate_batch(
                read, max_tokens, streams=self.slots, prefix=prefix, lookup=True, **sampling
            )
            written = [(self._tokenizer.decode(row), len(row)) for row in ids]
        else:
            written = []
            for n, prompt in enumerate(read):
                grammar = None if options.schema is None else self._grammars.matcher("json-schema", options.schema)
                tokens = self._model.stream(
                    prompt, max_tokens, prefix=prefix, constraint=grammar, lookup=True, **sampling
                )
                written.append(self._written(tokens, Writing(self._tokenizer, n, options)))
        each = [Tokens(len(ids), count) for ids, (_, count) in zip(read, written, strict=True)]
        return Answers.counted([text for text, _ in written], each)

    @staticmethod
    def _written(tokens: Iterator[int], writing: Writing) -> tuple[str, int]:
        """The text up to the first of the stop strings, and how many tokens were written for it."""
        count = 0
        for token in tokens:
            count += 1
            if not writing.add(token):
                break
        return writing.end(), count

    @cached_property
    def _grammars(self) -> Grammars:
        from lightbulb.runtimes.grammar import Grammars

        if not self._model.ends:
            raise ModelError("this file names no token that ends a text, which a schema needs", where=str(self.path))
        return Grammars(self._tokenizer, self._model.vocabulary, self._model.ends[0])

    def write_exactly(self, prompts: Sequence[Sequence[int]], tokens: int) -> Answers:
        written = self._model.generate_batch(prompts, tokens, streams=self.slots, stop=[])
        return Answers([self._tokenizer.decode(w) for w in written], sum(map(len, prompts)), sum(map(len, written)))

    def _shared(self, prompts: Sequence[list[int]]) -> Prefix | None:
        """What several prompts begin with, read once."""
        common = os.path.commonprefix(list(prompts)) if len(prompts) > 1 else []
        return self._model.remember(common) if len(common) >= SHARED else None

    def score_next(self, prompt: Sequence[int], among: Sequence[int] | None, asked: int) -> NextToken:
        if among:
            best = among[self._model.choose(prompt, [[i] for i in among])]
        else:
            best = self._model.generate(prompt, 1, stop=[])[0]
        return NextToken(best, self._model.score(prompt, [[asked]])[0])

    @property
    def context_length(self) -> int:
        return self._model.context

    def score_texts(self, texts: Sequence[str]) -> list[TextScore]:
        return [self._score(text) for text in texts]

    def _score(self, text: str) -> TextScore:
        ids = self.tokenize(text)
        nats = -sum(self._model.score(w[:1], [w[1:]])[0] for w in windows(ids, self.context_length) if len(w) > 1)
        return TextScore(nats, len(ids) - 1, len(text.encode()))

    def tokenize(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text).ids)

    @cached_property
    def _template(self) -> Any:
        template = self._config.get("chat_template")
        if template is None:
            raise ModelError("this file has no chat template", where=str(self.path))
        return compiled(template)

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        from jinja2.exceptions import TemplateError

        tokens = {f"{role}_token": self._config.get(f"{role}_token", "") for role in ("bos", "eos", "unk", "pad")}
        try:
            text = self._template.render(messages=list(messages), add_generation_prompt=True, **tokens)
        except (TemplateError, TypeError, ValueError) as e:
            raise ModelError(f"the chat template cannot render this conversation: {e}", where=str(self.path)) from e
        return text.removeprefix(self._gguf.added_bos)

    def close(self) -> None:
        self.__dict__.pop("_model", None)


def _tokenizer(path: Path) -> tuple[Tokenizer, dict[str, Any]]:
    from tokenizers import Tokenizer

    description, config = tokenizer_from_gguf(read_fields(path), path)
    try:
        return Tokenizer.from_str(json.dumps(description)), config
    except Exception as e:  # the library has no class of its own for what it cannot read
        raise ModelError(
            f"the tokenizer of this file cannot be read: {e}", where=str(path), hint="download or export the file again"
        ) from e
