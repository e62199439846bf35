"""Answers filled in from a text, some ten microseconds each."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath

from lightbulb_filament import _native


class SlotFiller:
    """A GGUF file of the architecture `lightbulb-slots` (docs/format.md), ready to work: texts in, JSON objects out,
    whose values are copied from the text or chosen from those that the file knows.

    Many texts in one call cost the least. Calls from several threads take turns, and none of them holds up the rest of
    Python.

    Args:
        path: the file.
        threads: at most so many work on a call, the caller's own among them.

    Raises:
        FilamentError: a ValueError, for a file that cannot be read or run.
    """

    def __init__(self, path: str | PathLike[str], threads: int = 1):
        self._native = _native.open_slots(fspath(path), threads)

    def fill(self, texts: Sequence[str]) -> tuple[list[str], list[float]]:
        """The answer to each text.

        Returns:
            The answers, and the probability that each is right by the model, 0 to 1.
        """
        return self._native.fill(texts)
