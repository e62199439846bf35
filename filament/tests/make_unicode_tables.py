"""Writes src/unicode_tables.cpp: what BERT's tokenizer makes of each code point, as the library `tokenizers` does it.
As a program: `python filament/tests/make_unicode_tables.py > filament/src/unicode_tables.cpp`."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

HANGUL = range(0xAC00, 0xD7A4)  # decomposed by arithmetic
IDEOGRAPHS = (range(0xF900, 0xFADA), range(0x2F800, 0x2FA1E))  # that stand for others
SHORTEST_RUN = 3
MOST = 16  # characters that become the same one, of a row
WIDTH = 110

HEAD = """// Made by tests/make_unicode_tables.py from the library `tokenizers`; not written by hand.
#include "unicode_tables.hpp"

namespace filament::unicode {

// clang-format off
"""


def code_points() -> Iterator[int]:
    return (c for c in range(0x110000) if not 0xD800 <= c < 0xE000)


def normalized() -> dict[int, str]:
    """What is left of each code point by itself: nothing, a blank, or some characters."""
    change = BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=True)
    return {c: change.normalize_str(chr(c)) for c in code_points()}


def punctuation() -> list[int]:
    """What is a word of its own."""
    cut = BertPreTokenizer()
    return [c for c in code_points() if len(cut.pre_tokenize_str(f"a{chr(c)}a")) == 3]


def ranges(points: Iterable[int]) -> list[tuple[int, int]]:
    """(first, last) of points that follow each other."""
    found: list[tuple[int, int]] = []
    for c in points:
        if found and found[-1][1] == c - 1:
            found[-1] = (found[-1][0], c)
        else:
            found.append((c, c))
    return found


def runs(one: dict[int, int]) -> tuple[list[tuple[int, int, int, int]], dict[int, int]]:
    """(first, last, step, what the first becomes) of points that are moved by the same number, and the others."""
    left, found = dict(one), []
    for c in sorted(one):
        if c not in left:
            continue
        best = (c, c, 1)
        for step in (1, 2):
            last = c
            while left.get(last + step, 0) - (last + step) == left[c] - c:
                last += step
            best = max(best, (c, last, step), key=lambda r: (r[1] - r[0]) // r[2])
        first, last, step = best
        if (last - first) // step + 1 >= SHORTEST_RUN:
            found.append((first, last, step, left[c]))
            for moved in range(first, last + 1, step):
                del left[moved]
    return found, left


def shown(c: str) -> str:
    """As a character that any editor shows from left to right and keeps, else as a number."""
    kept = unicodedata.normalize("NFC", c) == c and unicodedata.bidirectional(c) == "L"
    if kept and unicodedata.category(c)[0] == "L":
        return c
    return f"\\u{ord(c):04X}" if ord(c) < 0x10000 else f"\\U{ord(c):08X}"


def quoted(text: str) -> str:
    return f'U"{"".join(map(shown, text))}"'


def columns(text: str) -> int:
    """Of a screen."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def rows(entries: Sequence[str]) -> str:
    lines, line = [], "   "
    for entry in entries:
        if columns(line + entry) + 2 > WIDTH:
            lines.append(line)
            line = "   "
        line += f" {entry},"
    return "\n".join([*lines, line])


def table(kind: str, name: str, entries: Sequence[str]) -> str:
    head = f"const {kind} {name}Rows[] = {{\n{rows(entries)}\n}};\n"
    return head + f"const std::span<const {kind}> {name} = {name}Rows;\n"


def main() -> None:
    of = normalized()
    chinese = {c for c, s in of.items() if len(s) == 3 and s[0] == s[2] == " "}
    moved = {c: ord(s) for c, s in of.items() if len(s) == 1 and s not in (chr(c), " ")}
    even, odd = runs(moved)
    sources = defaultdict(str)
    for c, to in odd.items():
        sources[to] += chr(c)
    several = {c: s for c, s in of.items() if len(s) > 1 and c not in HANGUL and c not in chinese}
    print(HEAD)
    dropped = ranges(c for c, s in of.items() if s == "")
    print(table("Range", "kDropped", [f"{{0x{a:X}, 0x{b:X}}}" for a, b in dropped]))
    print(table("Range", "kPunctuation", [f"{{0x{a:X}, 0x{b:X}}}" for a, b in ranges(punctuation())]))
    print(table("Range", "kChinese", [f"{{0x{a:X}, 0x{b:X}}}" for a, b in ranges(sorted(chinese))]))
    print(table("Range", "kBlanks", [f"{{0x{a:X}, 0x{b:X}}}" for a, b in ranges(c for c in of if of[c] == " ")]))
    print(table("Run", "kRuns", [f"{{0x{a:X}, 0x{b:X}, {s}, 0x{to:X}}}" for a, b, s, to in even]))
    others = [
        quoted(chr(to) + froms[i : i + MOST])
        for to, froms in sorted(sources.items())
        for i in range(0, len(froms), MOST)
    ]
    print(table("Text", "kOthers", others))
    print(table("Text", "kSeveral", [quoted(chr(c) + s) for c, s in several.items()]))
    for name, block in zip(("kIdeographs", "kMoreIdeographs"), IDEOGRAPHS, strict=True):
        text = "".join(of[c].strip() for c in block)
        assert len(text) == len(block)
        parts = [text[i : i + 50] for i in range(0, len(text), 50)]
        print(f"const Text {name} =\n" + "\n".join(f'    U"{part}"' for part in parts) + ";\n")
    print("// clang-format on\n\n}  // namespace filament::unicode")


if __name__ == "__main__":
    main()
