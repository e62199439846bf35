"""Classifiers: one of a closed set of answers to each text, some microseconds each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from os import PathLike, fspath

from lightbulb_filament import _native

LONGEST = 8  # n-gram


class Classifier:
    """A GGUF file of docs/format.md, ready to work: texts in, answers out.

    Many texts in one call cost the least: a call takes about as long as one answer. Calls from several threads take
    turns, and none of them holds up the rest of Python.

    Args:
        path: a file of the architecture `lightbulb-ngrams`, `lightbulb-cascade` or `bert`.
        threads: at most so many work on a call, the caller's own among them.
        kernels: one of `available()`, else the best of them. The answers are the same.

    Raises:
        FilamentError: a ValueError, for a file that cannot be read or run.
    """

    def __init__(self, path: str | PathLike[str], threads: int = 1, *, kernels: str | None = None):
        self._native = _native.open_classifier(fspath(path), threads, kernels)

    @cached_property
    def answers(self) -> tuple[str, ...]:
        """The closed set, in the order of the file."""
        return tuple(self._native.answers)

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Architectures of its stages: of a cascade several, cheapest first."""
        return tuple(self._native.kinds)

    @cached_property
    def threshold(self) -> float:
        """The least probability of an answer that is given; below it the answer is `none`. 0: all are given."""
        return float(self._native.threshold)

    @cached_property
    def none(self) -> str:
        """What is said where the likeliest answer is less probable than `threshold`."""
        return str(self._native.none)

    def classify(self, texts: Sequence[str]) -> tuple[list[int], list[float]]:
        """The likeliest answer to each text.

        Returns:
            Numbers of the answers (places in `answers`), and the probability of each by the model, 0 to 1. What is
            less probable than `threshold` is for the caller to leave out.
        """
        numbers, probabilities, _ = self._native.classify(texts)
        return numbers, probabilities

    def stages_used(self, texts: Sequence[str]) -> list[int]:
        """The number of the stage that answers each text: 0 for all without a cascade."""
        return self._native.classify(texts)[2]


def ngram_hashes(text: str, words: tuple[int, int], chars: tuple[int, int]) -> list[tuple[int, int]]:
    """The n-grams of a text, as `lightbulb-ngrams` files name them.

    Args:
        text: any text.
        words: shortest and longest n-gram of words; (0, 0): none.
        chars: shortest and longest n-gram of characters; (0, 0): none.

    Returns:
        The hash of each, ascending, and how often it comes.

    Raises:
        ValueError: for a range that no file may have.
    """
    for shortest, longest in (words, chars):
        if (shortest, longest) != (0, 0) and not 1 <= shortest <= longest <= LONGEST:
            raise _native.FilamentError(f"({shortest}, {longest}) is no range of lengths within 1 to {LONGEST}")
    return _native.ngram_hashes(text, words, chars)
