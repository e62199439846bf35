"""docs/format.md once more, one code point after the other: slow, and from nothing but that page. And random files."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from gguf import GGUFWriter

BLANKS = {*range(0x09, 0x0E), *range(0x1C, 0x21), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F}
BLANKS |= {0x205F, 0x3000}
NO_LETTERS = {0xD7, 0xF7, 0xFFFD, *range(0x2000, 0x2070), *range(0x3000, 0x3040), *range(0xFF00, 0xFF10)} | BLANKS
EARLY_LETTERS = {*map(ord, "0123456789_abcdefghijklmnopqrstuvwxyz"), 0xAA, 0xB5, 0xBA}


def code_points(data: bytes) -> Iterator[int]:
    """Folded; each byte that is in no well-formed sequence is U+FFFD."""
    at = 0
    while at < len(data):
        for length in (1, 2, 3, 4):
            try:
                code = ord(data[at : at + length].decode("utf-8"))
            except (UnicodeDecodeError, TypeError):
                continue
            break
        else:
            code, length = 0xFFFD, 1
        at += length
        yield fold(code)


def fold(code: int) -> int:
    if 0x41 <= code <= 0x5A or (0xC0 <= code <= 0xDE and code != 0xD7):
        return code + 32
    if 0x391 <= code <= 0x3A9 or 0x410 <= code <= 0x42F:
        return code + 32
    if 0x400 <= code <= 0x40F:
        return code + 80
    even = ((0x100, 0x137), (0x14A, 0x177), (0x460, 0x481), (0x48A, 0x4BF), (0x4D0, 0x52F))
    if any(first <= code <= last for first, last in even):
        return code + 1 if code % 2 == 0 else code
    if 0x139 <= code <= 0x148 or 0x179 <= code <= 0x17E:
        return code + 1 if code % 2 == 1 else code
    return code


def runs(codes: list[int], inside) -> list[list[int]]:
    found: list[list[int]] = [[]]
    for code in codes:
        if inside(code):
            found[-1].append(code)
        elif found[-1]:
            found.append([])
    return [run for run in found if run]


def hash_of(codes: list[int], of_words: bool) -> int:
    h = 2166136261 ^ (0x9E3779B9 if of_words else 0)
    for code in codes:
        h = (h ^ code) * 16777619 % 2**32
    h ^= h >> 16
    h = h * 0x85EBCA6B % 2**32
    h ^= h >> 13
    h = h * 0xC2B2AE35 % 2**32
    return h ^ h >> 16


@cache
def ngrams(text: bytes, words: tuple[int, int], chars: tuple[int, int]) -> Counter[int]:
    """How often each hash comes."""
    codes, found = list(code_points(text)), Counter[int]()
    letters = runs(codes, lambda c: c in EARLY_LETTERS or (c >= 0xC0 and c not in NO_LETTERS))
    for n in range(words[0], words[1] + 1) if words[1] else ():
        for at in range(len(letters) - n + 1):
            joined = [code for word in letters[at : at + n] for code in (*word, 0x20)][:-1]
            found[hash_of(joined, True)] += 1
    for token in runs(codes, lambda c: c not in BLANKS):
        padded = [0x20, *token, 0x20]
        for n in range(chars[0], chars[1] + 1) if chars[1] else ():
            for at in range(len(padded) - n + 1):
                found[hash_of(padded[at : at + n], False)] += 1
    return found


@dataclass(frozen=True)
class Model:
    """The numbers of a file. head: None where the sums are the answers' own."""

    answers: list[str]
    words: tuple[int, int]
    chars: tuple[int, int]
    unit: float
    hashes: np.ndarray
    idf: np.ndarray
    scales: np.ndarray
    weights: np.ndarray
    counts: np.ndarray
    bias: np.ndarray
    head: np.ndarray | None

    def scores(self, text: bytes) -> tuple[list[int], int]:
        """The score of each answer, and the root."""
        row_of = {int(h): row for row, h in enumerate(self.hashes)}
        squares, sums = 0, [0] * self.weights.shape[1]
        for h, n in ngrams(text, self.words, self.chars).items():
            if (row := row_of.get(h)) is None:
                continue
            times = int(self.counts[min(n, len(self.counts)) - 1])
            squares += max(1, min(32767, int(self.idf[row]) * times >> 8)) ** 2
            m = min(32767, int(self.scales[row]) * times >> 8)
            sums = [s + m * w for s, w in zip(sums, self.weights[row].tolist(), strict=True)]
        root, shift = max(1, math.isqrt(squares)), 0
        if self.head is not None:
            while any(abs(s) >> shift >= 32768 for s in sums):
                shift += 1
            short = [s >> shift for s in sums]
            sums = [sum(a * b for a, b in zip(row, short, strict=True)) << shift for row in self.head.tolist()]
        return [s + int(b) * root for s, b in zip(sums, self.bias, strict=True)], root

    def answer(self, text: bytes) -> int:
        scores, _ = self.scores(text)
        return scores.index(max(scores))

    def probabilities(self, text: bytes) -> np.ndarray:
        scores, root = self.scores(text)
        logits = np.array([s - max(scores) for s in scores], float) / (root * self.unit)
        return np.exp(logits) / np.exp(logits).sum()

    def write(self, path: Path) -> Path:
        writer = GGUFWriter(path, "lightbulb-ngrams")
        writer.add_string("lightbulb.kind", "choose")
        writer.add_array("lightbulb.answers", self.answers)
        writer.add_uint32("ngrams.version", 1)
        for name in ("words", "chars"):
            _add_pair(writer, f"ngrams.{name}", getattr(self, name))
        writer.add_float32("ngrams.unit", self.unit)
        for name in ("hashes", "idf", "scales", "weights", "counts", "bias", "head"):
            if (table := getattr(self, name)) is not None:
                writer.add_tensor(f"ngrams.{name}", table.view(np.int32) if name == "hashes" else table)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path


def _add_pair(writer: GGUFWriter, key: str, pair: tuple[int, int]) -> None:
    from gguf import GGUFValueType

    writer.add_key_value(key, list(pair), GGUFValueType.ARRAY, sub_type=GGUFValueType.UINT32)


def random_model(
    texts: list[str],
    answers: list[str],
    *,
    words: tuple[int, int] = (1, 2),
    chars: tuple[int, int] = (2, 4),
    rows: int = 500,
    width: int | None = None,
    counts: int = 16,
    seed: int = 0,
) -> Model:
    """Random numbers for n-grams that come in `texts`. width: with a head, None without."""
    rng = np.random.default_rng(seed)
    seen = sorted(set().union(*(ngrams(text.encode("utf-8", "surrogatepass"), words, chars) for text in texts)))
    hashes = np.array(sorted(rng.choice(seen, min(rows, len(seen)), replace=False)), np.uint32)
    n, columns = len(hashes), width or len(answers)

    def numbers(low: int, high: int, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        return rng.integers(low, high, shape, dtype=dtype, endpoint=True)

    return Model(
        answers=answers,
        words=words,
        chars=chars,
        unit=float(np.float32(rng.uniform(10, 100))),
        hashes=hashes,
        idf=numbers(1, 32767, (n,), np.int16),
        scales=numbers(0, 32767, (n,), np.int16),
        weights=numbers(-127, 127, (n, columns), np.int8),
        counts=np.sort(numbers(1, 2000, (counts,), np.int16)),
        bias=numbers(-50, 50, (len(answers),), np.int32),
        head=numbers(-2047, 2047, (len(answers), width), np.int16) if width else None,
    )


HOSTILE = [
    "",
    " ",
    "a",
    "\n\t  \x1c x \u3000y\u2028z",
    "Ärger über ÄÖÜ ÿŸ ŹźŻ ĹŇ ЀЏ Ѡѡ ΑΩ ΆΣ straße ẞ",
    "١٢٣ ４２ ！ x×y÷z",
    "emoji 😀😀😀 \U0010ffff \ufffd\ufffe",
    "a" * 5000,
    "na" * 700 + " " + "batman " * 300,
    "card " * 400,
    "\x00zero\x00 inside",
    "!!! ??? ... ---",
    "x\u0085y\u00a0z\u1680w ª µ º",
    "'\"\\ </script> */ ??/ %s {{ }}",
]
BROKEN = [
    b"\xff\xfe caf\xe9 caf\xc3",
    b"\xed\xa0\x80 half",  # a surrogate
    b"\xc0\xaf \xe0\x80\x80 \xf0\x80\x80\x80 overlong",
    b"\xf4\x90\x80\x80 \xf5 beyond",
    b"\xe2\x82 \xe2 \xf0\x9f\x98 cut",
    b"\x80\x80 trail",
    b"ok \xf0\x9f\x98\x80 \xe2\x82\xac",
    b"\xf0\x9f\x98",
]
