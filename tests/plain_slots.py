"""docs/format.md on `lightbulb-slots`, word for word and number for number: slow, and written without the code that it
checks. Paths of tags are found by trying all."""

from __future__ import annotations

import itertools
import json
import math

from plain_ngrams import folded, is_blank, is_letter

BASIS, PRIME, MASK = 2166136261, 16777619, 0xFFFFFFFF
WORDS = [
    (0,),
    (-1,),
    (1,),
    (-2,),
    (2,),
    (-3,),
    (3,),
    (-1, 0),
    (0, 1),
    (-2, -1),
    (1, 2),
    (-1, 1),
    (-3, -2, -1),
    (1, 2, 3),
]
SHAPES = [(0,), (-1,), (1,), (-1, 0, 1), (-2, -1), (1, 2)]


def mix(h: int) -> int:
    h = (h ^ h >> 16) * 0x85EBCA6B & MASK
    h = (h ^ h >> 13) * 0xC2B2AE35 & MASK
    return h ^ h >> 16


def hash_of(codes: list[int]) -> int:
    h = BASIS
    for code in codes:
        h = (h ^ code) * PRIME & MASK
    return mix(h)


def feature(number: int, parts: list[int]) -> int:
    h = mix(BASIS ^ number)
    for part in parts:
        h = mix((h ^ part) * PRIME & MASK)
    return h


def kind_of(code: int) -> str:
    if is_blank(code):
        return "blank"
    if 48 <= code <= 57:
        return "digit"
    return "letter" if is_letter(code) else "other"


def tokens_of(text: str) -> list[dict]:
    found: list[dict] = []
    before = "blank"
    for place, character in enumerate(text):
        code = folded(ord(character))
        kind = kind_of(code)
        if kind != "blank":
            if kind != before or kind == "other":
                found.append({"begin": place, "kind": kind, "codes": [], "changed": 0})
            found[-1]["codes"].append(code)
            found[-1]["changed"] += code != ord(character)
            found[-1]["end"] = place + 1
        before = kind
    for token in found:
        codes, changed = token["codes"], token["changed"]
        shape = {
            "digit": 16 + min(15, len(codes)),
            "letter": 1 if changed == 0 else 2 if changed == len(codes) else 3,
            "other": 32 + codes[0],
        }[token["kind"]]
        token |= {"word": hash_of(codes), "start": hash_of(codes[:3]), "end_": hash_of(codes[-3:]), "shape": shape}
    return found


def text_features(tokens: list[dict]) -> set[int]:
    words = [token["word"] for token in tokens]
    found = {feature(64 + n, words[i : i + n]) for n in (1, 2, 3) for i in range(len(words) - n + 1)}
    pairs = {(i, j) for i in range(len(words)) for j in range(i + 1, min(len(words), i + 33))}
    return found | {feature(80, [words[i], words[j]]) for i, j in pairs}


def token_features(tokens: list[dict], at: int) -> set[int]:
    def shown(what: str, on: int) -> int:
        if 0 <= at + on < len(tokens):
            return tokens[at + on][what]
        return 0 if what == "shape" else 1 if on < 0 else 2

    windows = [("word", w) for w in WORDS] + [("shape", w) for w in SHAPES] + [("start", (0,)), ("end_", (0,))]
    found = {feature(n, [shown(what, on) for on in places]) for n, (what, places) in enumerate(windows)}
    return found | {feature(22, [min(3, len(tokens))])}


def scores_of(table, features: set[int]) -> list[int]:
    scores = table.bias.tolist()
    for row, h in enumerate(table.hashes.tolist()):
        if h in features:
            for i in range(table.starts[row], table.starts[row + 1]):
                scores[table.columns[i]] += int(table.weights[i])
    return scores


def best_path(scores: list[list[int]], transitions: list[list[int]]) -> list[int]:
    tags = range(len(scores[0]))

    def stands(path: tuple[int, ...]) -> bool:
        return all(
            tag % 2 == 1 or tag == 0 or (place > 0 and path[place - 1] in (tag, tag - 1))
            for place, tag in enumerate(path)
        )

    def total(path: tuple[int, ...]) -> int:
        between = sum(transitions[1 + a][b] for a, b in itertools.pairwise(path))
        return transitions[0][path[0]] + between + sum(scores[i][tag] for i, tag in enumerate(path))

    paths = [path for path in itertools.product(tags, repeat=len(scores)) if stands(path)]
    return list(max(paths, key=lambda path: (total(path), [-tag for tag in reversed(path)])))


def filled(file, text: str) -> tuple[str, float]:
    """The answer of a SlotFile to a text, and its probability."""
    form, tokens = file.form, tokens_of(text)
    values: dict[int, str] = {}
    margins: list[int] = []
    if form.pieces:
        scores = scores_of(file.choices, text_features(tokens))
        groups, left = [], scores
        for size in (len(form.sets), *map(len, form.options)):
            groups.append(left[:size])
            left = left[size:]
        chosen = [group.index(max(group)) for group in groups]
        there = form.sets[chosen[0]]
        used = [groups[0]] + [g for g, field in zip(groups[1:], form.pieces, strict=True) if there[field]]
        margins += [sorted(group)[-1] - sorted(group)[-2] for group in used if len(group) > 1]
        for field, options, place in zip(form.pieces, form.options, chosen[1:], strict=True):
            if there[field]:
                values[field] = values.get(field, "") + options[place]
    if form.copied and tokens:
        scores = [scores_of(file.tags, token_features(tokens, at)) for at in range(len(tokens))]
        path = best_path(scores, file.transitions.tolist())
        margins += [s[tag] - max(s[:tag] + s[tag + 1 :]) for s, tag in zip(scores, path, strict=True)]
        for at, tag in enumerate(path):
            if tag % 2:
                last = at
                while last + 1 < len(path) and path[last + 1] == tag + 1:
                    last += 1
                own = text[tokens[at]["begin"] : tokens[last]["end"]]
                whole, dot, part = own.partition(".")
                digits = set(own) <= set("0123456789.") and whole and (not dot or part) and "." not in part
                number = digits and (whole == "0" or whole[0] != "0")
                field = form.copied[tag // 2]
                values[field] = own if number and field in form.bare else json.dumps(own, ensure_ascii=False)
    parts = [form.fields[n] + values[n] for n in sorted(values)]
    margin = min(margins, default=0)
    return form.opening + form.between.join(parts) + form.closing, 1 / (
        1 + math.exp(-(file.slope * margin + file.offset))
    )
