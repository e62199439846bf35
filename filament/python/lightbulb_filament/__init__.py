"""filament: a CPU runtime that makes small language models as cheap as the silicon allows.

>>> import lightbulb_filament
>>> model = lightbulb_filament.Model("model.gguf", threads=2)
>>> model.generate([1, 15, 22], max_new_tokens=16)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from lightbulb_filament import _native
from lightbulb_filament._native import FilamentError, available

if TYPE_CHECKING:
    import numpy as np

__all__ = ["FilamentError", "Model", "Sampling", "available"]
__version__ = "0.1.0"

CHUNK = 16  # tokens written between two looks at Ctrl-C


class Sampling(TypedDict, total=False):
    """temperature 0, the default, takes the likeliest token; else one is drawn by `seed` among those that min_p and
    top_p leave. stop: tokens that end the text (the file's own, if None)."""

    temperature: float
    top_p: float
    min_p: float
    seed: int
    stop: Sequence[int] | None


class Model:
    """A GGUF file ready to work. Token ids in, token ids out: text is the caller's.

    threads: at most so many, the caller's own among them. kernels: one of `available()`, else the best of them. Calls
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

    def metadata(self, key: str) -> Any:
        """The value of a key of the file, None where it has none."""
        return self._native.metadata(key)

    def generate(self, token_ids: Sequence[int], max_new_tokens: int, **sampling: Unpack[Sampling]) -> list[int]:
        """Tokens that follow, up to and with the first stop token."""
        stream = self._stream(token_ids, max_new_tokens, **sampling)
        written: list[int] = []
        while part := stream.next(CHUNK):
            written += part
        return written

    def stream(self, token_ids: Sequence[int], max_new_tokens: int, **sampling: Unpack[Sampling]) -> Iterator[int]:
        """`generate`, one token at a time."""
        stream = self._stream(token_ids, max_new_tokens, **sampling)
        while part := stream.next(1):
            yield part[0]

    def _stream(
        self,
        token_ids: Sequence[int],
        room: int,
        *,
        temperature: float = 0.0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int = 0,
        stop: Sequence[int] | None = None,
    ) -> _native.Stream:
        if room < 0:
            raise FilamentError(f"cannot write {room} tokens")
        ends = self._ends() if stop is None else list(stop)
        return _native.Stream(self._native, list(token_ids), room, temperature, top_p, min_p, seed, ends)

    def _ends(self) -> list[int]:
        known = (self.metadata(f"tokenizer.ggml.{role}_token_id") for role in ("eos", "eot"))
        return [end for end in known if end is not None]

    def logits(self, token_ids: Sequence[int]) -> np.ndarray:
        """float32 [n, vocabulary]: after each token, the scores of what may follow."""
        return self._native.logits(list(token_ids))

    def choose(self, token_ids: Sequence[int], choices: Sequence[Sequence[int]]) -> int:
        """Index of the likeliest continuation among `choices` (each some token ids), by the sum of log-probabilities.

        The prompt is read once.
        """
        scores = self.score(token_ids, choices)
        return max(range(len(scores)), key=scores.__getitem__)

    def score(self, token_ids: Sequence[int], choices: Sequence[Sequence[int]]) -> list[float]:
        """The sum of log-probabilities (nats) of each continuation."""
        return self._native.score(list(token_ids), [list(c) for c in choices])
