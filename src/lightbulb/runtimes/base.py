"""The contract of every runtime: what turns a model into answers, and says itself what it can do.

A runtime is a subclass of `Runtime`, registered by name (`runtimes.registry`). What it does not say that it can do
(`Capabilities`) it refuses with one error that names what to use instead; `lightbulb.testing.RuntimeConformance` holds
it to both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from lightbulb.core.errors import UserError
from lightbulb.models.abstention import Abstention, abstention_of, temperature_in
from lightbulb.runtimes.exchange import PLAIN, Answers, NextToken, Options, TextScore

if TYPE_CHECKING:
    from lightbulb.models.gguf_info import GgufInfo
    from lightbulb.models.spec import ModelSpec

ModelForm = Literal["gguf", "folder", "url"]  # what a runtime opens: a Path, an Artifact, an address


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a runtime can do.

    Attributes:
        closed_set: `answer` holds the model to the answers, whatever else it would say
        generates: it has `generate`, and a template for `render`; False where the model only chooses
        schema: option of `generate`: an answer follows a JSON Schema
        stop: option of `generate`: an answer ends before a string
        stream: option of `generate`: an answer is handed out while it is written
        sampling: option of `generate`: tokens are drawn at random
        sees_tokens: it has `tokenize` and `context_length`
        scores_answers: it has `score_answers`
        scores_next: it has `score_next`
        scores_texts: it has `score_texts`
        writes_exactly: it has `write_exactly`
        batch: `slots` prompts are worked on at once
        bulk: answers are so cheap that prompts are measured many at a time
        counts_each: it gives `Answers.each`
        devices: what it computes on ("cpu", "cuda", ...); empty where it is not seen
    """

    closed_set: bool = False
    generates: bool = True
    schema: bool = False
    stop: bool = False
    stream: bool = False
    sampling: bool = False
    sees_tokens: bool = False
    scores_answers: bool = False
    scores_next: bool = False
    scores_texts: bool = False
    writes_exactly: bool = False
    batch: bool = False
    bulk: bool = False
    counts_each: bool = False
    devices: tuple[str, ...] = ("cpu",)

    @property
    def cpu_only(self) -> bool:
        """Whether no GPU's joules are its own."""
        return self.devices == ("cpu",)


EVERYTHING = Capabilities(
    closed_set=True,
    schema=True,
    stop=True,
    stream=True,
    sampling=True,
    sees_tokens=True,
    scores_answers=True,
    scores_next=True,
    scores_texts=True,
    writes_exactly=True,
    batch=True,
    counts_each=True,
)  # on a CPU
WORDS = {  # what is missing without a capability
    "closed_set": "hold a model to a closed set of answers",
    "generates": "write text of its own",
    "schema": "hold an answer to a JSON Schema",
    "stop": "end an answer before a string",
    "stream": "hand out an answer while it is written",
    "sampling": "draw tokens at random",
    "sees_tokens": "say which tokens a text becomes",
    "scores_answers": "say how likely each answer of a closed set is",
    "scores_next": "say how likely a token is",
    "scores_texts": "score documents",
    "writes_exactly": "write an exact number of tokens",
}


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a runtime sees of the model it has opened; None and () where it does not.

    Attributes:
        name: of its file, its folder, or the endpoint's own
        architecture: as the file or the config calls it
        vocabulary: tokens
        context_length: tokens, read and written, that it was made for
        bytes: of its weights
        answers: the closed set that it was made for
        abstention: when none of them is to be given; `answer` gives the likeliest all the same
        temperature: of their probabilities, where a language model was calibrated
    """

    name: str
    architecture: str | None = None
    vocabulary: int | None = None
    context_length: int | None = None
    bytes: int | None = None
    answers: tuple[str, ...] = ()
    abstention: Abstention = Abstention()
    temperature: float | None = None

    @staticmethod
    def of_gguf(name: str, info: GgufInfo) -> ModelInfo:
        """What the header of a GGUF says."""
        return ModelInfo(
            name,
            info.architecture,
            info.vocabulary,
            info.context_length,
            info.bytes,
            answers=tuple(info.metadata.get("lightbulb.answers", ())),
            abstention=abstention_of(info.metadata, Path(name)),
            temperature=temperature_in(info.metadata, Path(name)),
        )


def windows(ids: Sequence[int], context: int) -> list[list[int]]:
    """Cuts a document into pieces, each of which begins with the last token of the one before, so that every token but
    the first of all is predicted once.

    Args:
        ids: tokens of the document
        context: the most tokens of a piece

    Returns:
        The pieces in order; at least one.
    """
    return [list(ids[start : start + context]) for start in range(0, max(1, len(ids) - 1), max(1, context - 1))]


class Runtime(ABC):
    """A model, opened. A prompt is what `render` made of a conversation: text in which special tokens stand as text,
    save the BOS that is added; to an endpoint it is the conversation itself.

    Attributes:
        name: in recipes and as the parameter `runtime`
        title: its name in sentences
        opens: what `open` takes
        capabilities: what it can do; the rest it refuses
        library: the module that it needs beside lightbulb's own
        install: what to type where that is missing
        info: what it sees of the opened model
    """

    name: ClassVar[str]
    title: ClassVar[str]
    opens: ClassVar[ModelForm]
    capabilities: ClassVar[Capabilities]
    library: ClassVar[str] = ""
    install: ClassVar[str] = ""

    info: ModelInfo

    @classmethod
    @abstractmethod
    def open(cls, model: Any, *, threads: int = 2, slots: int = 1, context: int = 1024) -> Self:
        """Opens a model.

        Args:
            model: as `opens` says: the Path of a GGUF, the Artifact of a model folder, the address of an endpoint
            threads: of the processor
            slots: prompts side by side
            context: tokens of the longest prompt with its answer

        Raises:
            ModelError: the model cannot be opened
        """

    @classmethod
    def installed(cls) -> bool:
        """Whether what it needs is there."""
        return not cls.library or find_spec(cls.library) is not None

    @classmethod
    def supports(cls, spec: ModelSpec) -> bool:
        """Whether it runs models of `spec`."""
        return True

    @classmethod
    def notes(cls) -> list[str]:
        """What a reader of its figures must know, in sentences without a full stop."""
        return []

    @classmethod
    def require(cls, *capabilities: str) -> None:
        """Refuses what it cannot do now, rather than in the work.

        Args:
            capabilities: names of fields of `Capabilities`

        Raises:
            UserError: for the first of them that it lacks
        """
        for capability in capabilities:
            if not getattr(cls.capabilities, capability):
                raise cls._lacks(capability)

    @classmethod
    def _lacks(cls, capability: str) -> UserError:
        instead = "`runtime=llamacpp`" if cls.opens == "gguf" else "`runtime=llamacpp` with a .gguf file"
        return UserError(f"{cls.title} cannot {WORDS[capability]}", where=f"`runtime={cls.name}`", hint=instead)

    @abstractmethod
    def render(self, messages: Sequence[dict[str, str]]) -> str:
        """A conversation as a prompt, by the model's own chat template.

        Args:
            messages: its turns, each {"role", "content"}
        """

    @abstractmethod
    def generate(self, prompts: Sequence[str], max_tokens: int, options: Options = PLAIN) -> Answers:
        """Writes what follows each prompt, up to the end of the turn.

        Args:
            prompts: what `render` made
            max_tokens: the most that an answer may have
            options: how it writes

        Raises:
            UserError: options it cannot follow
        """

    def answer(self, prompts: Sequence[str], answers: Sequence[str]) -> Answers:
        """Gives one of a closed set of answers to each prompt: with `closed_set` the likeliest, by one token each; else
        what the model writes, which may be none of them. A language model that was calibrated tells its probability.

        Args:
            prompts: what `render` made
            answers: the closed set
        """
        longest = max(len(a.encode()) for a in answers)
        written = self.generate(prompts, longest + 1)
        return Answers([text.strip() for text in written.texts], written.prompt_tokens, written.output_tokens)

    def score_answers(self, prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        """How likely each answer of a closed set is.

        Args:
            prompts: what `render` made
            answers: the closed set

        Returns:
            Log-likelihoods in nats but for a constant of each prompt, float64 [prompts, answers], not calibrated.

        Raises:
            UserError: the runtime lacks `scores_answers`
        """
        raise self._lacks("scores_answers")

    def score_next(self, prompt: Sequence[int], among: Sequence[int] | None, asked: int) -> NextToken:
        """Scores the token after a prompt.

        Args:
            prompt: token ids
            among: candidates for the likeliest next token; all tokens if None
            asked: the token whose log-probability is given

        Raises:
            UserError: the runtime lacks `scores_next`
        """
        raise self._lacks("scores_next")

    def score_texts(self, texts: Sequence[str]) -> list[TextScore]:
        """Likelihood of whole documents, in their order.

        Raises:
            UserError: it lacks `scores_texts`
        """
        raise self._lacks("scores_texts")

    def write_exactly(self, prompts: Sequence[Sequence[int]], tokens: int) -> Answers:
        """Continues each prompt greedily by an exact number of tokens, through any end of the turn.

        Args:
            prompts: token ids of each
            tokens: how many are written after each

        Raises:
            UserError: the runtime lacks `writes_exactly`
        """
        raise self._lacks("writes_exactly")

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a prompt, the BOS that is added included.

        Raises:
            UserError: it lacks `sees_tokens`
        """
        raise self._lacks("sees_tokens")

    @property
    def context_length(self) -> int:
        """The most tokens, read and written, that the model was made for.

        Raises:
            UserError: it lacks `sees_tokens`
        """
        raise self._lacks("sees_tokens")

    @abstractmethod
    def close(self) -> None:
        """Lets the model go; a second call does nothing."""
