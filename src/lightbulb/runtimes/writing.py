"""One answer while it is written token by token: its text, the string that ends it, and who hears it meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightbulb.runtimes.exchange import Options

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Writing:
    """One answer in the making.

    Args:
        tokenizer: the model's
        number: of the prompt
        options: what ends the answer, and who hears it
        skip_special: leave special tokens out of the text
    """

    def __init__(self, tokenizer: Tokenizer, number: int, options: Options, skip_special: bool = True):
        from tokenizers.decoders import DecodeStream

        self._tokenizer, self._number, self._options = tokenizer, number, options
        self._decoder = DecodeStream(skip_special_tokens=skip_special)
        self._text, self._sent = "", 0

    def add(self, token: int) -> bool:
        """Whether the answer goes on after this token."""
        self._text += self._decoder.step(self._tokenizer, token) or ""
        if found := [at for stop in self._options.stop if (at := self._text.find(stop)) >= 0]:
            self._text = self._text[: min(found)]
            return False
        return not self._tell(len(self._text) - self._held())

    def end(self) -> str:
        """The whole answer, which nothing follows."""
        self._tell(len(self._text))
        return self._text

    def _held(self) -> int:
        """Characters at the end that may be the beginning of a stop string."""
        longest = max(map(len, self._options.stop), default=1) - 1
        return next((n for n in range(min(longest, len(self._text)), 0, -1) if self._begins_stop(self._text[-n:])), 0)

    def _begins_stop(self, end: str) -> bool:
        return any(stop.startswith(end) for stop in self._options.stop)

    def _tell(self, upto: int) -> bool:
        """Whether who hears it wants no more."""
        if self._options.stream is None or upto <= self._sent:
            return False
        piece, self._sent = self._text[self._sent : upto], upto
        return self._options.stream(self._number, piece) is True
