"""From text to what a slot model looks at, as docs/format.md defines it: tokens, and 32-bit hashes of what stands in a
text and around each token.

Everything works on many texts at once: their tokens stand in one array, and each step is one over all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import scipy.sparse as sp

from lightbulb.models.kinds.features import (
    BLANK,
    LETTER,
    PRIME,
    SEED,
    TABLE,
    class_table,
    code_points,
    continued,
    mixed,
)

BEFORE, BEHIND = 1, 2  # stand for the words outside a text
LOWER, UPPER, CAPITAL = 1, 2, 3  # shapes of words; 0 stands outside
DIGITS, OTHERS = 16, 32  # of numbers, by their length, and of what is neither
MOST_DIGITS, EDGE, LONGEST, REACH, FEW = 15, 3, 3, 32, 3
WORD, SHAPE, START, END = range(4)  # what a window shows of a token
Window = tuple[tuple[int, int], ...]  # (what, how many tokens on)


def _row(what: int, *places: tuple[int, ...]) -> tuple[Window, ...]:
    return tuple(tuple((what, place) for place in window) for window in places)


WINDOWS = (
    *_row(WORD, (0,), (-1,), (1,), (-2,), (2,), (-3,), (3,)),
    *_row(WORD, (-1, 0), (0, 1), (-2, -1), (1, 2), (-1, 1), (-3, -2, -1), (1, 2, 3)),
    *_row(SHAPE, (0,), (-1,), (1,), (-1, 0, 1), (-2, -1), (1, 2)),
    *_row(START, (0,)),
    *_row(END, (0,)),
)
SIZED = len(WINDOWS)  # the number of the feature that says how many tokens a text has
NGRAM, PAIR = 64, 80  # numbers of the features of whole texts: NGRAM + n


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of texts, one after the other.

    Attributes:
        text_of: int64 [tokens], number of the text
        begins: int64 [tokens], place of the first character in its text
        ends: likewise, behind the last
        shows: WORD, SHAPE, START and END of each, uint32 [4, tokens]
    """

    text_of: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    shows: np.ndarray

    def __len__(self) -> int:
        return len(self.text_of)


def well_formed(text: str) -> str:
    """Each byte that is not part of well-formed UTF-8 (a half of a surrogate pair has three) becomes U+FFFD."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def tokens_of(texts: Sequence[str]) -> Tokens:
    """Runs of digits, runs of other letters, and each other character that is no blank.

    Args:
        texts: well-formed
    """
    raw = np.frombuffer("".join(texts).encode("utf-32-le"), "<u4").astype(np.uint32)
    codes, lengths = code_points(texts)
    text_of = np.repeat(np.arange(len(texts)), lengths)
    classes = class_table()[np.minimum(codes, TABLE - 1)].astype(np.int64)
    digits = (codes >= ord("0")) & (codes <= ord("9"))
    classes[digits] = LETTER + 1
    first = np.ones(len(codes), bool)
    first[1:] = (classes[1:] != classes[:-1]) | (classes[1:] == 0) | (text_of[1:] != text_of[:-1])
    starts = np.flatnonzero(first)
    sizes = np.diff(np.append(starts, len(codes)))
    kept = classes[starts] != BLANK
    starts, sizes = starts[kept], sizes[kept]
    offsets = np.cumsum(lengths) - lengths
    begins = starts - offsets[text_of[starts]]
    edge = np.minimum(sizes, EDGE)
    shows = [
        _hash(codes, starts, sizes),
        _shapes(raw != codes, codes[starts], classes[starts], starts, sizes),
        _hash(codes, starts, edge),
        _hash(codes, starts + sizes - edge, edge),
    ]
    return Tokens(text_of[starts], begins, begins + sizes, np.stack(shows).astype(np.uint32))


def _hash(codes: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return mixed(continued(np.full(len(starts), SEED, np.uint32), codes, starts, sizes))


def _shapes(
    upper: np.ndarray, firsts: np.ndarray, classes: np.ndarray, starts: np.ndarray, sizes: np.ndarray
) -> np.ndarray:
    """uint32 [tokens]. upper: of each character, whether folding changes it."""
    uppers = np.concatenate([[0], np.cumsum(upper)])
    held = uppers[starts + sizes] - uppers[starts]
    cased = np.where(held == 0, LOWER, np.where(held == sizes, UPPER, CAPITAL))
    return np.select(
        [classes == LETTER, classes == LETTER + 1],
        [cased, DIGITS + np.minimum(sizes, MOST_DIGITS)],
        OTHERS + firsts.astype(np.int64),
    ).astype(np.uint32)


def combined(number: int, parts: Sequence[np.ndarray]) -> np.ndarray:
    """The hash of a feature, by its number and what it is made of: uint32."""
    start = mixed(np.full(len(parts[0]), SEED ^ number, np.uint32))
    return reduce(lambda h, part: mixed((h ^ part) * np.uint32(PRIME)), parts, start)


def window_features(tokens: Tokens) -> np.ndarray:
    """What stands at and around each token: uint32 [tokens, SIZED + 1]."""
    columns = [combined(number, [_at(tokens, *part) for part in window]) for number, window in enumerate(WINDOWS)]
    sizes = np.bincount(tokens.text_of)[tokens.text_of] if len(tokens) else np.zeros(0, np.int64)
    columns.append(combined(SIZED, [np.minimum(sizes, FEW).astype(np.uint32)]))
    return np.stack(columns, axis=1)


def _at(tokens: Tokens, what: int, on: int) -> np.ndarray:
    """What the token `on` places on from each shows, within its text."""
    places = np.arange(len(tokens)) + on
    near = np.clip(places, 0, max(0, len(tokens) - 1))
    inside = (places == near) & (tokens.text_of[near] == tokens.text_of)
    outside = 0 if what == SHAPE else BEFORE if on < 0 else BEHIND
    return np.where(inside, tokens.shows[what][near], np.uint32(outside)).astype(np.uint32)


def text_features(tokens: Tokens) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(number of the text, hash) of every n-gram of one to LONGEST tokens, and of every two tokens that stand at most
    REACH apart, in their order."""
    words, text_of = tokens.shows[WORD], tokens.text_of
    for n in range(1, LONGEST + 1):
        last = len(words) - n + 1
        same = text_of[n - 1 :] == text_of[: max(0, last)]
        parts = [words[i : i + max(0, last)][same] for i in range(n)]
        yield text_of[: max(0, last)][same], combined(NGRAM + n, parts)
    for apart in range(1, REACH + 1):
        same = text_of[apart:] == text_of[:-apart]
        if not same.any():
            return
        yield text_of[apart:][same], combined(PAIR, [words[:-apart][same], words[apart:][same]])


def texts_as_rows(tokens: Tokens) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Their features one by one: (row, hash, how often), sorted."""
    pairs = [row.astype(np.uint64) << np.uint64(32) | hashes for row, hashes in text_features(tokens)]
    return _counted(np.concatenate([np.zeros(0, np.uint64), *pairs]))


def tokens_as_rows(tokens: Tokens) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same of the windows of tokens, a row each."""
    hashes = window_features(tokens)
    rows = np.repeat(np.arange(len(tokens), dtype=np.uint64), hashes.shape[1])
    return _counted(rows << np.uint64(32) | hashes.ravel())


def _counted(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    distinct, counts = np.unique(pairs, return_counts=True)
    return (distinct >> np.uint64(32)).astype(np.int64), distinct.astype(np.uint32), counts.astype(np.int32)


def matrix_of(found: tuple[np.ndarray, np.ndarray, np.ndarray], height: int, hashes: np.ndarray) -> sp.csr_matrix:
    """Counts [height, hashes] of the features `hashes` (ascending), int32."""
    rows, features, counts = found
    if not len(hashes):
        return sp.csr_matrix((height, 0), dtype=np.int32)
    places = np.minimum(np.searchsorted(hashes, features), len(hashes) - 1)
    known = hashes[places] == features
    return sp.csr_matrix((counts[known], (rows[known], places[known])), shape=(height, len(hashes)))
