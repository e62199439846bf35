"""docs/format.md on `lightbulb-ngrams`, word for word and number for number: slow, and written without the code that it
checks."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache

MASK = 0xFFFFFFFF


def folded(code: int) -> int:
    plus_32 = ((0x41, 0x5A), (0xC0, 0xDE), (0x391, 0x3A9), (0x410, 0x42F))
    if code != 0xD7 and any(a <= code <= b for a, b in plus_32):
        return code + 32
    if 0x400 <= code <= 0x40F:
        return code + 80
    even = ((0x100, 0x137), (0x14A, 0x177), (0x460, 0x481), (0x48A, 0x4BF), (0x4D0, 0x52F))
    if code % 2 == 0 and any(a <= code <= b for a, b in even):
        return code + 1
    if code % 2 == 1 and (0x139 <= code <= 0x148 or 0x179 <= code <= 0x17E):
        return code + 1
    return code


def is_blank(code: int) -> bool:
    single = (0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
    return 9 <= code <= 0xD or 0x1C <= code <= 0x20 or 0x2000 <= code <= 0x200A or code in single


def is_letter(code: int) -> bool:
    if chr(code) in "0123456789abcdefghijklmnopqrstuvwxyz_" or code in (0xAA, 0xB5, 0xBA):
        return True
    ranges = ((0x2000, 0x206F), (0x3000, 0x303F), (0xFF00, 0xFF0F))
    no_letter = code in (0xD7, 0xF7, 0xFFFD) or any(a <= code <= b for a, b in ranges)
    return code >= 0xC0 and not no_letter and not is_blank(code)


@cache
def text_of(data: bytes) -> str:
    """The text of bytes. Each that is in no well-formed sequence is U+FFFD."""
    text, at = "", 0
    while at < len(data):
        for length in (1, 2, 3, 4):
            try:
                text += data[at : at + length].decode("utf-8")
            except UnicodeDecodeError:
                continue
            break
        else:
            text, length = text + "\ufffd", 1
        at += length
    return text


def codes_of(text: str) -> list[int]:
    """Folded code points. Each byte of half a surrogate pair, which is no UTF-8, is U+FFFD."""
    codes: list[int] = []
    for c in text:
        codes += [0xFFFD] * 3 if 0xD800 <= ord(c) <= 0xDFFF else [folded(ord(c))]
    return codes


def runs(codes: list[int], inside) -> list[list[int]]:
    found: list[list[int]] = [[]]
    for code in codes:
        if inside(code):
            found[-1].append(code)
        elif found[-1]:
            found.append([])
    return [run for run in found if run]


def hash_of(codes: list[int], word: bool) -> int:
    h = 2166136261 ^ (0x9E3779B9 if word else 0)
    for code in codes:
        h = (h ^ code) * 16777619 & MASK
    h ^= h >> 16
    h = h * 0x85EBCA6B & MASK
    h ^= h >> 13
    h = h * 0xC2B2AE35 & MASK
    return h ^ h >> 16


def counted(text: str, words: tuple[int, int], chars: tuple[int, int]) -> dict[int, int]:
    """hash -> how often its n-gram comes"""
    codes, found = codes_of(text), Counter[int]()
    every = runs(codes, is_letter)
    for n in range(words[0], words[1] + 1) if words[1] else ():
        for i in range(len(every) - n + 1):
            joined = every[i] + [c for word in every[i + 1 : i + n] for c in (0x20, *word)]
            found[hash_of(joined, True)] += 1
    for token in runs(codes, lambda code: not is_blank(code)):
        padded = [0x20, *token, 0x20]
        for n in range(chars[0], chars[1] + 1) if chars[1] else ():
            for i in range(len(padded) - n + 1):
                found[hash_of(padded[i : i + n], False)] += 1
    return dict(found)


def scored(file, text: str) -> tuple[list[int], int]:
    """(scores, root) of one text by an NgramFile's arrays."""
    found = counted(text, file.ngrams.words, file.ngrams.chars)
    width, answers = file.weights.shape[1], len(file.labels)
    squares, sums = 0, [0] * width
    for f, h in enumerate(file.hashes.tolist()):
        if h in found:
            times = int(file.counts[min(found[h], len(file.counts)) - 1])
            a = min(32767, max(1, int(file.idf[f]) * times >> 8))
            m = min(32767, int(file.scales[f]) * times >> 8)
            squares += a * a
            for j in range(width):
                sums[j] += m * int(file.weights[f][j])
    root = max(1, math.isqrt(squares))
    if file.head is None:
        scores = sums
    else:
        s = 0
        while any(abs(x) >> s >= 32768 for x in sums):
            s += 1
        v = [x >> s for x in sums]
        scores = [sum(int(file.head[c][j]) * v[j] for j in range(width)) << s for c in range(answers)]
    return [scores[c] + int(file.bias[c]) * root for c in range(answers)], root


def likelihoods(scores: list[int], root: int, unit: float) -> list[int]:
    """How likely each answer is, of which the likeliest has 2^24. unit: exactly a float32."""
    mantissa, exponent = math.frexp(unit * 0.6931471805599453)
    octave, shift = round(mantissa * 65536), max(-63, min(63, 16 - exponent))
    table = [round(2 ** (24 - i / 32)) for i in range(33)]
    likely = []
    for score in scores:
        gap = max(scores) - score
        steps = gap << shift if shift >= 0 else gap >> -shift
        if steps >= 32 * root * octave:
            likely.append(0)
            continue
        parts = 8192 * steps // (root * octave)
        i, part = parts // 256 % 32, parts % 256
        likely.append(table[i] - ((table[i] - table[i + 1]) * part >> 8) >> parts // 8192)
    return likely
