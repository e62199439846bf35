"""Random files of classifiers, and docs/format.md once more in slow, plain Python: the reference of what C++ makes."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter

WORD_BASIS, BASIS, M32 = 2166136261 ^ 0x9E3779B9, 2166136261, 0xFFFFFFFF
WORDS = "card pay money why is my the transfer top-up not_yet 3,50 £9 İstanbul ЁЖ Σίσυφος naïve 東京 é Ǆ ß ½ don't"
BLANKS = " \t\n\u00a0\u2003\u3000\u200b"
HOSTILE = (
    b"",
    b" \x00 a\x00b ",
    b"\xff\xfe card",
    b"\xc3",
    b"ca\xc3rd \xe2\x82 \xf0\x9f\x98 pay",
    b"\xc0\xaf \xe0\x80\xaf \xf0\x80\x80\xaf",
    b"\xed\xa0\x80\xed\xbf\xbf \xf4\x90\x80\x80 \xf5\x80\x80\x80",
    b"\x80\xbf card \xe2\x28\xa1 \xf0\x28\x8c\xbc",
    b"\xef\xbf\xbd\xef\xbf\xbe\xf4\x8f\xbf\xbf",
    "".join(chr(p) for p in range(0x600) if not 0xD800 <= p < 0xE000).encode(),
    " ".join(chr(p) + "a" + chr(p) for p in (*range(0x1FF0, 0x2070), *range(0x2FFE, 0x3042), 0x1680, 0xFEFF)).encode(),
    " ".join(chr(p) for p in (*range(0xFEFE, 0xFF12), 0xFFFC, 0xFFFD, 0xFFFE, 0x10000, 0x1F600)).encode(),
)  # bytes of every kind


def decoded(data: bytes) -> list[int]:
    """Code points; each byte that belongs to none is U+FFFD."""
    points, at = [], 0
    while at < len(data):
        for length in (1, 2, 3, 4):
            try:
                points.append(ord(data[at : at + length].decode()))
            except (UnicodeDecodeError, TypeError):
                continue
            at += length
            break
        else:
            points.append(0xFFFD)
            at += 1
    return points


def lowered(p: int) -> int:
    if 0x41 <= p <= 0x5A or (0xC0 <= p <= 0xDE and p != 0xD7) or 0x391 <= p <= 0x3A9 or 0x410 <= p <= 0x42F:
        return p + 32
    if 0x400 <= p <= 0x40F:
        return p + 80
    even = [(0x100, 0x137), (0x14A, 0x177), (0x460, 0x481), (0x48A, 0x4BF), (0x4D0, 0x52F)]
    if any(a <= p <= b for a, b in even) and p % 2 == 0:
        return p + 1
    return p + 1 if (0x139 <= p <= 0x148 or 0x179 <= p <= 0x17E) and p % 2 == 1 else p


def is_blank(p: int) -> bool:
    single = (0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
    return 9 <= p <= 13 or 0x1C <= p <= 0x20 or 0x2000 <= p <= 0x200A or p in single


def is_letter(p: int) -> bool:
    if p < 0xC0:
        return chr(p) in "0123456789abcdefghijklmnopqrstuvwxyz_" or p in (0xAA, 0xB5, 0xBA)
    gaps = [(0x2000, 0x206F), (0x3000, 0x303F), (0xFF00, 0xFF0F)]
    return p not in (0xD7, 0xF7, 0xFFFD) and not is_blank(p) and not any(a <= p <= b for a, b in gaps)


def runs(points: Sequence[int], belongs: Any) -> list[list[int]]:
    found: list[list[int]] = [[]]
    for p in points:
        if belongs(p):
            found[-1].append(p)
        elif found[-1]:
            found.append([])
    return [run for run in found if run]


def hashed(points: Sequence[int], basis: int) -> int:
    h = basis
    for p in points:
        h = (h ^ p) * 16777619 & M32
    h ^= h >> 16
    h = h * 0x85EBCA6B & M32
    h ^= h >> 13
    h = h * 0xC2B2AE35 & M32
    return h ^ h >> 16


def features(data: bytes, words: tuple[int, int], chars: tuple[int, int]) -> Counter[int]:
    """How often each hash comes."""
    points = [lowered(p) for p in decoded(data)]
    found: Counter[int] = Counter()
    if words[0]:
        all_words = runs(points, is_letter)
        for n in range(words[0], words[1] + 1):
            for first in range(len(all_words) - n + 1):
                joined = [p for word in all_words[first : first + n] for p in (*word, 0x20)][:-1]
                found[hashed(joined, WORD_BASIS)] += 1
    if chars[0]:
        for token in runs(points, lambda p: not is_blank(p)):
            padded = [0x20, *token, 0x20]
            for n in range(chars[0], chars[1] + 1):
                for first in range(len(padded) - n + 1):
                    found[hashed(padded[first : first + n], BASIS)] += 1
    return found


@dataclass(frozen=True)
class NgramModel:
    """The arrays of a file. head: None where the sums are the answers' own."""

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
    head: np.ndarray | None = None

    def scores(self, data: bytes) -> tuple[list[int], int]:
        """Of each answer, and the root, in Python's integers."""
        rows = {int(h): f for f, h in enumerate(self.hashes)}
        width = self.weights.shape[1]
        squares, sums = 0, [0] * width
        for h, times in features(data, self.words, self.chars).items():
            if (f := rows.get(h)) is None:
                continue
            count = int(self.counts[min(times, len(self.counts)) - 1])
            a = min(32767, max(1, int(self.idf[f]) * count >> 8))
            m = min(32767, int(self.scales[f]) * count >> 8)
            squares += a * a
            for j in range(width):
                sums[j] += m * int(self.weights[f, j])
        root = max(1, math.isqrt(squares))
        if self.head is not None:
            shift = 0
            while any(abs(s) >> shift >= 32768 for s in sums):
                shift += 1
            narrow = [s >> shift for s in sums]
            sums = [sum(int(w) * v for w, v in zip(row, narrow, strict=True)) << shift for row in self.head]
        return [s + int(b) * root for s, b in zip(sums, self.bias, strict=True)], root

    def choice(self, data: bytes) -> tuple[int, float]:
        """The answer's number and its probability."""
        scores, root = self.scores(data)
        best = scores.index(max(scores))
        return best, float(np.float32((1 << 24) / sum(self.likelihood(scores[best] - s, root) for s in scores)))

    def likelihood(self, gap: int, root: int) -> int:
        """Of an answer whose score is lower than the highest by `gap`."""
        fraction, exponent = math.frexp(float(np.float32(self.unit)) * math.log(2))
        octave, shift = round(fraction * 2**16), max(-63, min(63, 16 - exponent))
        steps = gap << shift if shift >= 0 else gap >> -shift
        whole, parts = divmod(steps * 8192 // (octave * root), 8192)
        if whole >= 32:
            return 0
        i, part = divmod(parts, 256)
        above, below = (round(2 ** (24 - n / 32)) for n in (i, i + 1))
        return (above - ((above - below) * part >> 8)) >> whole

    def tensors(self) -> dict[str, np.ndarray]:
        tensors = {
            "hashes": self.hashes.view(np.int32),
            "idf": self.idf,
            "scales": self.scales,
            "weights": self.weights,
            "counts": self.counts,
            "bias": self.bias,
        }
        if self.head is not None:
            tensors["head"] = self.head
        return {f"ngrams.{name}": array for name, array in tensors.items()}

    def fields(self) -> dict[str, Any]:
        keys = {"version": 1, "words": list(self.words), "chars": list(self.chars), "unit": self.unit}
        answers = {"lightbulb.kind": "choose", "lightbulb.answers": self.answers}
        return answers | {f"ngrams.{name}": value for name, value in keys.items()}

    def write(self, path: Path) -> Path:
        return write_file(path, "lightbulb-ngrams", self.fields(), self.tensors())


def write_file(path: Path, architecture: str, fields: dict[str, Any], tensors: dict[str, np.ndarray]) -> Path:
    writer = GGUFWriter(path, architecture)
    kinds = {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32, list: writer.add_array}
    for key, value in fields.items():
        kinds[type(value)](key, value)
    for name, array in tensors.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_cascade(path: Path, stages: Sequence[Path], thresholds: Sequence[float], answers: Sequence[str]) -> Path:
    files = {f"stage.{n}": np.frombuffer(stage.read_bytes(), np.int8) for n, stage in enumerate(stages)}
    fields = {"lightbulb.answers": list(answers), "cascade.thresholds": [float(t) for t in thresholds]}
    return write_file(path, "lightbulb-cascade", fields, files)


def sentence(rng: random.Random, words: int = 11) -> str:
    """Some 60 characters, as people write to their bank, but of any script."""
    return "".join(rng.choice(WORDS.split()) + rng.choice(BLANKS if rng.random() < 0.1 else " ") for _ in range(words))


def random_model(
    seed: int,
    *,
    answers: int = 5,
    rows: int = 400,
    words: tuple[int, int] = (1, 2),
    chars: tuple[int, int] = (2, 5),
    width: int | None = None,
    counts: int = 4,
    largest: bool = False,
    bias: int = 40,
    unit: float = 700.0,
) -> NgramModel:
    """width: of the sums below a head, None: no head. largest: numbers as large as the file may hold."""
    rng, draws = np.random.default_rng(seed), random.Random(seed)
    kept = Counter[int]()
    while len(kept) < 2 * rows and sum(kept.values()) < 40 * rows:
        kept.update(features(sentence(draws).encode(), words, chars))
    hashes = np.array(sorted(draws.sample(sorted(kept), min(rows, len(kept)))), np.uint32)
    shape = (len(hashes), answers if width is None else width)
    most = 32767 if largest else 900
    signs = rng.choice([-1, 1], size=shape) * 127 if largest else rng.integers(-127, 128, shape)
    return NgramModel(
        answers=[f"answer {n}" for n in range(answers)],
        words=words,
        chars=chars,
        unit=unit,
        hashes=hashes,
        idf=rng.integers(most if largest else 1, most + 1, len(hashes)).astype(np.int16),
        scales=rng.integers(most if largest else 0, most + 1, len(hashes)).astype(np.int16),
        weights=signs.astype(np.int8),
        counts=np.sort(rng.integers(0, 32768 if largest else 700, counts)).astype(np.int16),
        bias=rng.integers(-bias, bias, answers).astype(np.int32),
        head=None if width is None else rng.integers(-2047, 2048, (answers, width)).astype(np.int16),
    )
