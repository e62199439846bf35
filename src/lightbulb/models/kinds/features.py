"""From text to n-grams of words and characters as 32-bit hashes with counts, as docs/format.md defines them.

Everything works on many texts at once: their code points stand in one array, and each step is one over all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy.sparse as sp

SEED, PRIME = 2166136261, 16777619  # FNV-1a, 32 bits (Fowler, Noll, Vo)
WORDS = 0x9E3779B9  # tells n-grams of words from those of characters
SPACE, REPLACEMENT = 0x20, 0xFFFD
FOLDED = 0x530  # code points from here on stay as they are
TABLE = 0x10000  # code points from here on are letters
BLANK, LETTER = 1, 2
BLANKS = (
    *(range(0x09, 0x0E), range(0x1C, 0x21), range(0x85, 0x86), range(0xA0, 0xA1), range(0x1680, 0x1681)),
    *(range(0x2000, 0x200B), range(0x2028, 0x202A), range(0x202F, 0x2030), range(0x205F, 0x2060)),
    range(0x3000, 0x3001),
)
NO_LETTERS = (
    *(range(0xD7, 0xD8), range(0xF7, 0xF8), range(0x2000, 0x2070), range(0x3000, 0x3040), range(0xFF00, 0xFF10)),
    range(REPLACEMENT, REPLACEMENT + 1),
)
EARLY_LETTERS = (
    *(range(ord("0"), ord("9") + 1), range(ord("a"), ord("z") + 1), range(ord("_"), ord("_") + 1)),
    *(range(0xAA, 0xAB), range(0xB5, 0xB6), range(0xBA, 0xBB)),
)
LONGEST = 8  # n-gram
CODES_AT_ONCE = 1 << 21  # some 100 bytes of memory for each
MOST_STEPS = 128  # of a word: what is longer is hashed by itself


@dataclass(frozen=True, slots=True)
class Ngrams:
    """Which n-grams are looked at.

    Attributes:
        words: shortest and longest of words; (0, 0) for none
        chars: likewise, of characters
    """

    words: tuple[int, int]
    chars: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Features:
    """The n-grams of texts.

    Attributes:
        hashes: uint32 [F], ascending, no two the same
        counts: int32 [texts, F], how often each comes in each text
    """

    hashes: np.ndarray
    counts: sp.csr_matrix


def features_of(texts: Sequence[str], ngrams: Ngrams, fewest_texts: int = 1) -> Features:
    """The n-grams of `texts`, those that come in at least `fewest_texts` of them."""
    rows, found, counts = _counted(texts, ngrams)
    hashes, places, in_texts = np.unique(found, return_inverse=True, return_counts=True)
    kept = in_texts >= fewest_texts
    number = np.cumsum(kept) - 1
    known = kept[places]
    matrix = _matrix(rows[known], number[places[known]], counts[known], len(texts), int(kept.sum()))
    return Features(hashes[kept], matrix)


def counts_of(texts: Sequence[str], ngrams: Ngrams, hashes: np.ndarray) -> sp.csr_matrix:
    """How often the n-grams `hashes` (ascending) come in each text: int32 [texts, hashes]."""
    rows, found, counts = _counted(texts, ngrams)
    places = np.searchsorted(hashes, found)
    places[places == len(hashes)] = 0
    known = hashes[places] == found if len(hashes) else np.zeros(len(found), bool)
    return _matrix(rows[known], places[known], counts[known], len(texts), len(hashes))


def _matrix(rows: np.ndarray, columns: np.ndarray, counts: np.ndarray, height: int, width: int) -> sp.csr_matrix:
    """From entries that are sorted by row and column."""
    starts = np.zeros(height + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=height), out=starts[1:])
    return sp.csr_matrix((counts, columns, starts), shape=(height, width))


def _counted(texts: Sequence[str], ngrams: Ngrams) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(number of the text, hash, count) of each n-gram of each text, sorted."""
    parts = [_count_some(some, first, ngrams) for first, some in _portions(texts)]
    empty = np.zeros(0, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.int32)
    return tuple(np.concatenate(part) for part in zip(empty, *parts, strict=True))  # type: ignore[return-value]


def _portions(texts: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """Texts in portions that fit into memory, with the number of the first of each."""
    first, codes = 0, 0
    for number, text in enumerate(texts):
        if codes and codes + len(text) > CODES_AT_ONCE:
            yield first, texts[first:number]
            first, codes = number, 0
        codes += len(text)
    yield first, texts[first:]


def _count_some(texts: Sequence[str], first: int, ngrams: Ngrams) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    codes, lengths = code_points(texts)
    text_of = np.repeat(np.arange(len(texts), dtype=np.uint64), lengths)
    classes = class_table()[np.minimum(codes, TABLE - 1)]
    pairs = [
        *_word_ngrams(codes, classes == LETTER, text_of, *ngrams.words),
        *_char_ngrams(codes, classes != BLANK, text_of, *ngrams.chars),
    ]
    every = np.concatenate([np.zeros(0, np.uint64), *(text << np.uint64(32) | mixed(h) for text, h in pairs)])
    distinct, counts = np.unique(every, return_counts=True)
    rows = (distinct >> np.uint64(32)).astype(np.int64) + first
    return rows, distinct.astype(np.uint32), counts.astype(np.int32)


def code_points(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The folded code points of all texts, uint32, and how many each has. Half a surrogate pair has no UTF-8: each of
    the three bytes that would stand for it is one replacement character."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint32)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    halves = (codes >= 0xD800) & (codes < 0xE000)
    if halves.any():
        text_of = np.repeat(np.arange(len(texts)), lengths)
        lengths = lengths + 2 * np.bincount(text_of[halves], minlength=len(texts))
        codes = np.repeat(np.where(halves, np.uint32(REPLACEMENT), codes), np.where(halves, 3, 1))
    early = codes < FOLDED
    codes[early] = fold_table()[codes[early]]
    return codes, lengths


@cache
def fold_table() -> np.ndarray:
    """What each code point below FOLDED becomes: uint32."""
    table = np.arange(FOLDED, dtype=np.uint32)
    for first, last in ((0x41, 0x5A), (0xC0, 0xDE), (0x391, 0x3A9), (0x410, 0x42F)):
        table[first : last + 1] += 32
    table[0xD7] = 0xD7
    table[0x400:0x410] += 80
    for first, last in ((0x100, 0x137), (0x14A, 0x177), (0x460, 0x481), (0x48A, 0x4BF), (0x4D0, 0x52F)):
        table[first : last + 1 : 2] += 1  # the first of each is even
    for first, last in ((0x139, 0x148), (0x179, 0x17E)):
        table[first : last + 1 : 2] += 1  # and here odd
    return table


@cache
def class_table() -> np.ndarray:
    """BLANK, LETTER or 0 of each code point below TABLE, after folding: uint8."""
    table = np.zeros(TABLE, np.uint8)
    table[0xC0:] = LETTER
    for value, ranges in ((LETTER, EARLY_LETTERS), (0, NO_LETTERS), (BLANK, BLANKS)):
        for places in ranges:
            table[places.start : places.stop] = value
    return table


def mixed(hashes: np.ndarray) -> np.ndarray:
    """The last step of a hash (MurmurHash3's finalizer, Appleby): uint32 -> uint32."""
    hashes = (hashes ^ (hashes >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    hashes = (hashes ^ (hashes >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return hashes ^ (hashes >> np.uint32(16))


def _runs(inside: np.ndarray, text_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First places and lengths of the longest runs of True within one text."""
    changes = np.ones(len(inside) + 1, bool)
    changes[1:-1] = (inside[1:] != inside[:-1]) | (text_of[1:] != text_of[:-1])
    edges = np.flatnonzero(changes)
    starts, lengths = edges[:-1], np.diff(edges)
    whole = inside[starts]
    return starts[whole], lengths[whole]


def _word_ngrams(
    codes: np.ndarray, letters: np.ndarray, text_of: np.ndarray, shortest: int, longest: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(number of the text, hash before its last step) of all word n-grams, by length."""
    starts, lengths = _runs(letters, text_of) if longest else (np.zeros(0, np.int64), np.zeros(0, np.int64))
    texts = text_of[starts]
    hashes = np.full(len(starts), SEED ^ WORDS, np.uint32)
    for n in range(1, longest + 1):
        last = np.arange(n - 1, len(starts))  # the n-gram that ends with this word
        same = texts[last] == texts[: len(last)]
        hashes = hashes[: len(last)]
        if n > 1:
            hashes = (hashes ^ np.uint32(SPACE)) * np.uint32(PRIME)
        hashes = continued(hashes, codes, starts[last], lengths[last])
        if n >= shortest:
            yield texts[last][same], hashes[same]


def continued(hashes: np.ndarray, codes: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Hashes after the code points of a run each."""
    order = np.argsort(-lengths, kind="stable")
    hashes, starts, lengths = hashes[order], starts[order], lengths[order]
    for step in range(min(MOST_STEPS, int(lengths.max(initial=0)))):
        active = int(np.searchsorted(-lengths, -step))  # those that are longer, which stand first
        hashes[:active] = (hashes[:active] ^ codes[starts[:active] + step]) * np.uint32(PRIME)
    for place in range(int(np.searchsorted(-lengths, -MOST_STEPS))):
        value = int(hashes[place])
        for code in codes[starts[place] + MOST_STEPS : starts[place] + lengths[place]].tolist():
            value = (value ^ code) * PRIME & 0xFFFFFFFF
        hashes[place] = value
    result = np.empty_like(hashes)
    result[order] = hashes
    return result


def _char_ngrams(
    codes: np.ndarray, visible: np.ndarray, text_of: np.ndarray, shortest: int, longest: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(number of the text, hash before its last step) of all character n-grams, by length."""
    if not longest:
        return
    starts, lengths = _runs(visible, text_of)
    padded, left = _padded(codes, starts, lengths)
    texts = np.repeat(text_of[starts], lengths + 2)
    places, hashes = np.arange(len(padded)), np.full(len(padded), SEED, np.uint32)
    for n in range(1, longest + 1):
        fits = left[places] >= n
        places = places[fits]
        hashes = (hashes[fits] ^ padded[places + (n - 1)]) * np.uint32(PRIME)
        if n >= shortest:
            yield texts[places], hashes


def _padded(codes: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All tokens between spaces one after the other, and how many code points are left of its token at each place."""
    widths = lengths + 2
    begins = np.cumsum(widths) - widths
    at = np.arange(int(widths.sum()))
    inside = at - np.repeat(begins, widths) - 1  # -1 at the space before, its length at that behind
    size = np.repeat(lengths, widths)
    token = (inside >= 0) & (inside < size)
    padded = np.full(len(at), SPACE, np.uint32)
    padded[token] = codes[(np.repeat(starts, widths) + inside)[token]]
    return padded, size + 1 - inside
