"""filament: a CPU runtime that makes small language models as cheap as the silicon allows.

>>> import lightbulb_filament
>>> model = lightbulb_filament.Model("model.gguf", threads=2)
>>> model.generate([1, 15, 22], max_new_tokens=16)
>>> lightbulb_filament.Classifier("classifier.gguf").classify(["a text", "another"])
>>> lightbulb_filament.SlotFiller("slots.gguf").fill(["wake me at half past six"])
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, Unpack

from lightbulb_filament import _native
from lightbulb_filament._native import FilamentError, Prefix, available
from lightbulb_filament.classifier import Classifier, ngram_hashes
from lightbulb_filament.slots import SlotFiller

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "Classifier",
    "Constraint",
    "FilamentError",
    "Model",
    "Prefix",
    "Sampling",
    "SlotFiller",
    "available",
    "ngram_hashes",
    "probe",
]
__version__ = "0.1.0"

CHUNK = 16  # tokens written between two looks at Ctrl-C


class Sampling(TypedDict, total=False):
    """temperature 0, the default, takes the likeliest token; else one is drawn by `seed` among those that min_p and
    top_p leave. stop: tokens that end the text (the file's own, if None). prefix: what `remember` gave for a text that
    the prompt begins with, at least in part. lookup: where the last tokens of a text that is written alone stood in it
    before, the model is asked for several at once, guessed to be those that followed then. What is written is the
    same."""

    temperature: float
    top_p: float
    min_p: float
    seed: int
    stop: Sequence[int] | None
    prefix: Prefix | None
    lookup: bool


class Constraint(Protocol):
    """What may be written next, token by token: a matcher of some library of grammars, for one text."""

    def allowed(self) -> bytes:
        """A bit for each token of the vocabulary, the lowest bit of the first byte being token 0."""
        ...

    def accept(self, token: int) -> None:
        """This one was written."""
        ...


def probe(bytes: int, threads: int = 2) -> tuple[float, float]:
    """(bytes read a second, int8 operations a second) that this processor reaches with `bytes` read again and again:
    the two lines of a roofline. A multiplication with its addition counts as two operations."""
    return _native.probe(bytes, threads)


class Model:
    """A GGUF file ready to work. Token ids in, token ids out: text is the caller's.

    threads: at most so many, the caller's own among them; a text that is written alone takes one where the others would
    cost more joules than they save. kernels: one of `available()`, else the best of them. Calls
    from several threads take turns. Raises FilamentError (a ValueError) for a file that cannot be read or run.
    """

    def __init__(self, path: str | PathLike[str], threads: int = 2, *, kernels: str | None = None):
        self._native = _native.open(fspath(path), threads, kernels)

    @property
    def vocabulary(self) -> int:
        """Rows of logits."""
        return self._native.vocabulary

    @property
    def context(self) -> int:
        """The most tokens that the model was made for."""
        return self._native.context

    @property
    def kernels(self) -> str:
        """The instruction set in use."""
        return self._native.kernels

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights in memory: what a token reads."""
        return self._native.weight_bytes

    def cost(self, context: int) -> tuple[int, int]:
        """(bytes read, operations) of writing one token after `context` others: weights, keys and values."""
        return self._native.cost(context)

    @property
    def ends(self) -> list[int]:
        """The file's own tokens that end a text."""
        known = (self.metadata(f"tokenizer.ggml.{role}_token_id") for role in ("eos", "eot"))
        return [end for end in known if isinstance(end, int) and 0 <= end < self.vocabulary]

    def metadata(self, key: str) -> Any:
        """The value of a key of the file, None where it has none."""
        return self._native.metadata(key)

    def remember(self, token_ids: Sequence[int]) -> Prefix:
        """Reads a text once; prompts that begin as it does and are given it as `prefix` skip that part."""
        return _native.remember(self._native, list(token_ids))

    def generate(
        self,
        token_ids: Sequence[int],
        max_new_tokens: int,
        *,
        constraint: Constraint | None = None,
        **sampling: Unpack[Sampling],
    ) -> list[int]:
        """Tokens that follow, up to and with the first stop token."""
        stream = self._stream(token_ids, max_new_tokens, **sampling)
        return list(_written(stream, constraint, CHUNK))

    def stream(
        self,
        token_ids: Sequence[int],
        max_new_tokens: int,
        *,
        constraint: Constraint | None = None,
        **sampling: Unpack[Sampling],
    ) -> Iterator[int]:
        """`generate`, one token at a time."""
        return _written(self._stream(token_ids, max_new_tokens, **sampling), constraint, 1)

    def generate_batch(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, *, streams: int = 8, **sampling: Unpack[Sampling]
    ) -> list[list[int]]:
        """`generate` for each prompt, with the same result. `streams` of them share every reading of the weights; when
        one ends, the next begins."""
        if streams < 1:
            raise FilamentError(f"{streams} streams cannot work")
        written: list[list[int]] = [[] for _ in prompts]
        waiting, running = iter(enumerate(prompts)), dict[int, _native.Stream]()
        while True:
            for i, prompt in islice(waiting, streams - len(running)):
                running[i] = self._stream(prompt, max_new_tokens, **sampling)
            if not running:
                return written
            for i, part in zip(running, _native.advance(list(running.values()), CHUNK), strict=True):
                written[i] += part
            running = {i: stream for i, stream in running.items() if not stream.ended}

    def _stream(
        self,
        token_ids: Sequence[int],
        max_new_tokens: int,
        *,
        temperature: float = 0.0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int = 0,
        stop: Sequence[int] | None = None,
        prefix: Prefix | None = None,
        lookup: bool = False,
    ) -> _native.Stream:
        if max_new_tokens < 0:
            raise FilamentError(f"cannot write {max_new_tokens} tokens")
        ends = self.ends if stop is None else list(stop)
        return _native.Stream(
            self._native, list(token_ids), max_new_tokens, temperature, top_p, min_p, seed, ends, prefix, lookup
        )

    def logits(self, token_ids: Sequence[int]) -> np.ndarray:
        """float32 [n, vocabulary]: after each token, the scores of what may follow."""
        return self._native.logits(list(token_ids))

    def choose(
        self, token_ids: Sequence[int], choices: Sequence[Sequence[int]], *, prefix: Prefix | None = None
    ) -> int:
        """Index of the likeliest continuation among `choices` (each some token ids), by the sum of log-probabilities.

        The prompt is read once.
        """
        scores = self.compare(token_ids, choices, prefix=prefix)
        return max(range(len(scores)), key=scores.__getitem__)

    def score(
        self, token_ids: Sequence[int], choices: Sequence[Sequence[int]], *, prefix: Prefix | None = None
    ) -> list[float]:
        """The sum of log-probabilities (nats) of each continuation."""
        return self._native.score(list(token_ids), [list(c) for c in choices], prefix)

    def compare(
        self, token_ids: Sequence[int], choices: Sequence[Sequence[int]], *, prefix: Prefix | None = None
    ) -> list[float]:
        """`score` less a number that all have in common; of choices of one token, the head reads no other rows."""
        return self._native.compare(list(token_ids), [list(c) for c in choices], prefix)


def _written(stream: _native.Stream, constraint: Constraint | None, steps: int) -> Iterator[int]:
    if constraint is None:
        while not stream.ended:
            yield from _native.advance([stream], steps)[0]
        return
    while not stream.ended:
        only = stream.allow(constraint.allowed())  # what is the only one is not asked for
        for token in _native.advance([stream], 1)[0] if only is None else [only]:
            constraint.accept(token)
            yield token
