"""The one protocol of every runtime: what turns a model file into answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from lightbulb.models.gguf import GgufInfo


@dataclass(frozen=True, slots=True)
class Answers:
    """Texts in the order of the prompts; tokens of all prompts (some may be read once for several), and tokens
    written."""

    texts: list[str]
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class TextScore:
    """Negative log-likelihood of one document in nats, over `tokens` predicted tokens and `bytes` UTF-8 bytes."""

    nats: float
    tokens: int
    bytes: int


def windows(ids: Sequence[int], context: int) -> list[list[int]]:
    """A document as pieces of at most `context` tokens. Each begins with the last token of the one before, so that
    every token but the first of all is predicted once."""
    return [list(ids[start : start + context]) for start in range(0, max(1, len(ids) - 1), max(1, context - 1))]


class Runtime(Protocol):
    """Prompts are rendered text (see `render`): special tokens stand in it as text, save the BOS that is added."""

    name: ClassVar[str]
    path: Path

    def choose(self, prompts: Sequence[str], answers: Sequence[str]) -> Answers:
        """The likeliest of a closed set of single-token answers for each prompt: one prefill, one token."""
        ...

    def generate(self, prompts: Sequence[str], max_tokens: int) -> Answers:
        """Greedy continuation of each prompt up to the end-of-turn token."""
        ...

    def score_texts(self, texts: Sequence[str]) -> list[TextScore]:
        """Likelihood of whole documents."""
        ...

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        """A conversation ({"role", "content"} each) as text, by the model's own chat template."""
        ...

    def close(self) -> None: ...


class Measurable(Runtime, Protocol):
    """What measuring and verifying ask of a runtime beside answering."""

    @property
    def context_length(self) -> int:
        """The most tokens, read and written, that the model was made for."""
        ...

    def tokenize(self, text: str) -> list[int]:
        """Token ids of rendered text, the BOS that is added included."""
        ...

    def likeliest(self, prompt: list[int], among: Sequence[int] | None, asked: int) -> tuple[int, float]:
        """(the likeliest next token, among the given ones if any; the log-probability of the token `asked`, in nats,
        over the whole vocabulary)."""
        ...

    def write_exactly(self, prompts: Sequence[Sequence[int]], tokens: int) -> Answers:
        """Greedy continuation of each prompt (token ids) by exactly `tokens` tokens, through any end-of-turn token."""
        ...


class Shipped(Measurable, Protocol):
    """What `ask` and the main job use of a runtime for GGUF files."""

    info: GgufInfo

    def generate(
        self, prompts: Sequence[str], max_tokens: int, *, schema: str | None = None, stop: Sequence[str] = ()
    ) -> Answers:
        """As in Runtime. schema: a JSON Schema that answers follow. stop: strings before which they end."""
        ...
