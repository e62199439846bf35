"""What goes into a runtime and comes out of it: options, answers and scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is taken. The same seed draws the same text from the same prompt.

    Attributes:
        temperature: divides the logits; 0 takes the likeliest
        top_p: drawn among the likeliest that together hold this probability (Holtzman et al. 2020)
        seed: of the draws
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


GREEDY = Sampling()


@dataclass(frozen=True, slots=True)
class Options:
    """How `generate` writes.

    Attributes:
        stop: strings before which an answer ends
        schema: a JSON Schema, as text, that it follows
        sampling: how tokens are taken
        stream: called with (number of the prompt, next piece of its answer) while they are written, all pieces of a
            prompt being its answer; where it returns True nobody listens any more, and the answer may end there
    """

    stop: tuple[str, ...] = ()
    schema: str | None = None
    sampling: Sampling = GREEDY
    stream: Callable[[int, str], bool | None] | None = None

    @property
    def needs(self) -> list[str]:
        """The capabilities that these options ask for."""
        asked = {
            "stop": self.stop,
            "schema": self.schema is not None,
            "sampling": self.sampling.temperature > 0,
            "stream": self.stream is not None,
        }
        return [name for name, wanted in asked.items() if wanted]


PLAIN = Options()


class Tokens(NamedTuple):
    """Tokens of one prompt, and of its answer."""

    read: int
    written: int


@dataclass(frozen=True, slots=True)
class Answers:
    """What a runtime answers to a batch of prompts.

    Attributes:
        texts: in the order of the prompts
        prompt_tokens: tokens of all prompts (some may be read once for several)
        output_tokens: tokens written, of all answers
        probabilities: of each text, by the model, where the runtime gives them
        each: the tokens of each prompt and of its answer, where the runtime tells them apart
            (`Capabilities.counts_each`)
    """

    texts: list[str]
    prompt_tokens: int
    output_tokens: int
    probabilities: tuple[float, ...] | None = None
    each: tuple[Tokens, ...] | None = None

    @staticmethod
    def likeliest(scores: np.ndarray, temperature: float, answers: Sequence[str], each: Sequence[Tokens]) -> Answers:
        """The likeliest of `answers` to each prompt and its calibrated probability. scores: what `score_answers`
        gives."""
        likely = np.exp((scores - scores.max(axis=1, keepdims=True)) / temperature)
        made = Answers.counted([answers[i] for i in scores.argmax(axis=1)], each)
        probabilities = (1 / likely.sum(axis=1)).astype(np.float32)
        return replace(made, probabilities=tuple(probabilities.tolist()))

    @staticmethod
    def counted(texts: list[str], each: Sequence[Tokens]) -> Answers:
        """Answers whose tokens are known one by one."""
        read, written = sum(t.read for t in each), sum(t.written for t in each)
        return Answers(texts, read, written, each=tuple(each))


@dataclass(frozen=True, slots=True)
class TextScore:
    """How likely a model finds one document.

    Attributes:
        nats: negative log-likelihood of the whole document
        tokens: how many of its tokens were predicted
        bytes: its length in UTF-8
    """

    nats: float
    tokens: int
    bytes: int


class NextToken(NamedTuple):
    """What a model says of the token after a prompt.

    Attributes:
        likeliest: id of the likeliest next token, among the candidates
        log_prob: log-probability (nats, over the whole vocabulary) of the token asked for
    """

    likeliest: int
    log_prob: float
