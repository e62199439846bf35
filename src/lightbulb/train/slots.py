"""Slot models: how the answers of a task are put together, where in the texts they come from, and linear models of
both."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from lightbulb.models.kinds.base import text_of
from lightbulb.models.kinds.slot_features import (
    Tokens,
    matrix_of,
    texts_as_rows,
    tokens_as_rows,
    tokens_of,
    well_formed,
)
from lightbulb.models.kinds.slots import MOST_FIELDS, MOST_SUM, MOST_WEIGHT, OUTSIDE, Form, SlotFile, Table
from lightbulb.tasks.task import Example
from lightbulb.train.linear import fit_svm

OBJECTS = 0.99  # of the answers must be JSON objects
COPIED = 0.95  # of a field's values must stand in their texts, for it to be copied
MOST_OPTIONS = 512  # of a piece: more is no closed list
TRANSITION = 0.05  # of the log-probability of a tag after another, beside margins of support vector machines
SMOOTH = 0.1  # of a time that every tag was seen after every other
STYLES = ((",", ":"), (", ", ": "))  # of JSON: between fields, and behind their names
Values = Mapping[str, Any]
Found = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Lesson:
    """Examples whose answers are JSON objects.

    Attributes:
        texts: well-formed
        answers: the values of each, by name
        tokens: of all texts
    """

    texts: tuple[str, ...]
    answers: tuple[Values, ...]
    tokens: Tokens

    @staticmethod
    def of(examples: Sequence[Example]) -> Lesson:
        """Leaves out what is answered otherwise."""
        pairs = [(well_formed(text_of(e)), answer) for e in examples if (answer := _object(e.completion)) is not None]
        texts = tuple(text for text, _ in pairs)
        return Lesson(texts, tuple(answer for _, answer in pairs), tokens_of(texts))

    def bounds(self) -> np.ndarray:
        """Where the tokens of each text begin, and those of the last end."""
        return np.searchsorted(self.tokens.text_of, np.arange(len(self.texts) + 1))


def why_not(examples: Sequence[Example]) -> str | None:
    """Why answers of this kind cannot be filled in, where they cannot."""
    answers = [answer for e in examples if (answer := _object(e.completion)) is not None]
    if len(answers) < OBJECTS * len(examples):
        return f"{len(examples) - len(answers):,} of {len(examples):,} answers in train are no JSON objects"
    names = {name for answer in answers for name in answer}
    if not 1 <= len(names) <= MOST_FIELDS:
        return f"the answers have {len(names):,} different fields"
    form = form_of(Lesson.of(examples), examples)
    for piece, options in zip(form.pieces, form.options, strict=True):
        if len(options) > MOST_OPTIONS:
            return f"the field {form.fields[piece].strip(': ')} has {len(options):,} values that are not in the texts"
    return f"fields come in {len(form.sets):,} different sets" if len(form.sets) > MOST_OPTIONS else None


def _object(text: str) -> Values | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def form_of(lesson: Lesson, examples: Sequence[Example]) -> Form:
    """How the answers are put together: fields in the order in which they mostly come, each copied where its values
    stand in the texts, else chosen from those that were seen, in pieces where they have all the same signs between
    letters and digits ("07:30")."""
    between, colon = _style(examples)
    names = _names(lesson.answers)
    copied = tuple(n for n, name in enumerate(names) if _is_copied(lesson, name))
    closed = [n for n in range(len(names)) if n not in copied]
    sets = sorted({tuple(n in closed and names[n] in answer for n in range(len(names))) for answer in lesson.answers})
    pieces: list[int] = []
    options: list[tuple[str, ...]] = []
    for n in closed:
        values = [pieces_of(answer[names[n]]) for answer in lesson.answers if names[n] in answer]
        for column in zip(*_columns(values), strict=True):
            pieces.append(n)
            options.append(tuple(sorted(set(column))))
    return Form(
        opening="{",
        between=between,
        closing="}",
        fields=tuple(json.dumps(name, ensure_ascii=False) + colon for name in names),
        copied=copied,
        bare=tuple(n for n in copied if not any(isinstance(a.get(names[n]), str) for a in lesson.answers)),
        sets=np.array(sets if closed else np.zeros((0, len(names))), bool),
        pieces=tuple(pieces),
        options=tuple(options),
    )


def _style(examples: Sequence[Example]) -> tuple[str, str]:
    """As most answers are written."""
    counts: Counter[tuple[str, str]] = Counter()
    for example in examples:
        for style in STYLES:
            value = _object(example.completion)
            counts[style] += json.dumps(value, separators=style, ensure_ascii=False) == example.completion
    return max(STYLES, key=lambda style: counts[style])


def _names(answers: Sequence[Values]) -> list[str]:
    places: dict[str, list[int]] = {}
    for answer in answers:
        for place, name in enumerate(answer):
            places.setdefault(name, []).append(place)
    return sorted(places, key=lambda name: (sum(places[name]) / len(places[name]), name))


def _is_copied(lesson: Lesson, name: str) -> bool:
    """Whether it is, by the share of its values that stand in their texts. One that is always the same is none."""
    found, values, bounds = 0, [], lesson.bounds()
    for number, answer in enumerate(lesson.answers):
        if name in answer:
            values.append(json.dumps(answer[name]))
            found += next(places_of(lesson, bounds, number, answer[name]), None) is not None
    return found >= COPIED * len(values) and len(set(values)) > 1


def places_of(lesson: Lesson, bounds: np.ndarray, number: int, value: Any) -> Iterator[range]:
    """The tokens of text `number` that are `value`, wherever it stands."""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
        return
    value = value if isinstance(value, str) else json.dumps(value)
    text, own = lesson.texts[number], slice(bounds[number], bounds[number + 1])
    begins, ends, at = lesson.tokens.begins[own], lesson.tokens.ends[own], -1
    while (at := text.find(value, at + 1)) >= 0:
        first, last = np.searchsorted(begins, at), np.searchsorted(ends, at + len(value))
        if first < len(begins) and last < len(ends) and begins[first] == at and ends[last] == at + len(value):
            yield range(int(bounds[number] + first), int(bounds[number] + last) + 1)


def pieces_of(value: Any) -> list[str]:
    """The JSON of a value; of a text its parts, each a run of letters and digits with the signs before it."""
    text = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str) or not (parts := re.findall(r"[\W_]*[^\W_]+", text)):
        return [text]
    return [*parts[:-1], parts[-1] + text[len("".join(parts)) :]]


def _columns(values: Sequence[list[str]]) -> list[list[str]]:
    """The same values, each whole where pieces of them are not alike, or where there are no fewer pieces."""
    signs = {tuple(re.sub(r"[^\W_]+", "", piece) for piece in pieces) for pieces in values}
    whole = ["".join(pieces) for pieces in values]
    if len(signs) == 1 and len(values[0]) > 1:
        different = sum(len(set(column)) for column in zip(*values, strict=True))
        if different < len(set(whole)):
            return list(values)
    return [[text] for text in whole]


def tags_of(lesson: Lesson, form: Form, names: Sequence[str]) -> np.ndarray:
    """The tag of each token, int64 [tokens]: the first place of every value that is copied, where nothing else is.

    Args:
        lesson: its texts and answers
        form: of the answers
        names: of its fields
    """
    tags, bounds = np.full(len(lesson.tokens), OUTSIDE), lesson.bounds()
    for number, answer in enumerate(lesson.answers):
        for place, field in enumerate(form.copied):
            for own in places_of(lesson, bounds, number, answer.get(names[field])):
                if (tags[own] == OUTSIDE).all():
                    tags[own] = 2 + 2 * place
                    tags[own.start] = 1 + 2 * place
                    break
    return tags


@dataclass(frozen=True, eq=False)
class Fitted:
    """A linear model of features in floating point.

    Attributes:
        hashes: uint32 [features], ascending
        weights: sparse [features, C]
        bias: float64 [C]
    """

    hashes: np.ndarray
    weights: sp.csc_matrix
    bias: np.ndarray


class Learner:
    """Fits slot models on a train split.

    Args:
        examples: of it
        fewest: times that a feature must come
        most: features of a table, those that come most often
        seed: of the order in which examples are taken
    """

    def __init__(self, examples: Sequence[Example], fewest: int, most: int, seed: int):
        self.lesson, self.seed = Lesson.of(examples), seed
        self.form = form_of(self.lesson, examples)
        self.names = [json.loads(field.rstrip(": ")) for field in self.form.fields]
        texts, tokens = len(self.lesson.texts), len(self.lesson.tokens)
        self.text_hashes, self.texts = _common(texts_as_rows(self.lesson.tokens), texts, fewest, most)
        self.token_hashes, self.tokens = _common(tokens_as_rows(self.lesson.tokens), tokens, fewest, most)
        self.tags = tags_of(self.lesson, self.form, self.names)

    @property
    def looked_at(self) -> int:
        """How many features are weighed."""
        return len(self.text_hashes) * bool(self.form.choices) + len(self.token_hashes) * bool(self.form.tags)

    def fit(self, c: float) -> SlotFile:
        """A model that is not calibrated.

        Args:
            c: inverse strength of the penalty
        """
        choices = self._choices(c) if self.form.choices else None
        tags = self._tags(c) if self.form.tags else None
        fitted = [f for f in (choices, tags) if f is not None]
        unit = MOST_WEIGHT / max(float(abs(f.weights).max()) or 1.0 for f in fitted)
        return SlotFile(
            self.form,
            slope=1 / unit,
            offset=0.0,
            choices=_rounded(choices, unit),
            tags=_rounded(tags, unit),
            transitions=_whole(self._transitions(), unit) if tags else None,
        )

    def _choices(self, c: float) -> Fitted:
        """Each group of columns by the texts whose answers have its field."""
        groups = [(np.arange(len(self.lesson.texts)), self._sets())]
        groups += [self._options(piece) for piece in range(len(self.form.pieces))]
        parts = [
            fit_svm(self.texts[texts], labels, group.stop - group.start, c, self.seed, "l1")
            for (texts, labels), group in zip(groups, self.form.groups(), strict=True)
        ]
        weights = sp.hstack([sp.csc_matrix(part.weights) for part in parts], format="csc")
        return Fitted(self.text_hashes, weights, np.concatenate([part.bias for part in parts]))

    def _sets(self) -> np.ndarray:
        """Which set of closed fields the answer to each text has."""
        number = {tuple(own): i for i, own in enumerate(self.form.sets.tolist())}
        closed = [n not in self.form.copied for n in range(len(self.names))]
        held = [tuple(c and name in a for c, name in zip(closed, self.names, strict=True)) for a in self.lesson.answers]
        return np.array([number[own] for own in held])

    def _options(self, piece: int) -> tuple[np.ndarray, np.ndarray]:
        """The texts whose answers have the field of a piece, and which of its options they have."""
        form, field = self.form, self.form.pieces[piece]
        name, parted, which = self.names[field], form.pieces.count(field) > 1, piece - form.pieces.index(field)
        number = {text: i for i, text in enumerate(form.options[piece])}
        texts = [i for i, answer in enumerate(self.lesson.answers) if name in answer]
        parts = [pieces_of(self.lesson.answers[i][name]) for i in texts]
        return np.array(texts), np.array([number[p[which] if parted else "".join(p)] for p in parts])

    def _tags(self, c: float) -> Fitted:
        fitted = fit_svm(self.tokens, self.tags, self.form.tags, c, self.seed, "l1")
        return Fitted(self.token_hashes, sp.csc_matrix(fitted.weights), fitted.bias)

    def _transitions(self) -> np.ndarray:
        """float64 [1 + tags, tags]"""
        times = np.full((1 + self.form.tags, self.form.tags), SMOOTH)
        begins = np.ones(len(self.tags), bool)
        begins[1:] = self.lesson.tokens.text_of[1:] != self.lesson.tokens.text_of[:-1]
        np.add.at(times[0], self.tags[begins], 1)
        np.add.at(times[1:], (self.tags[:-1][~begins[1:]], self.tags[1:][~begins[1:]]), 1)
        return np.asarray(TRANSITION * np.log(times / times.sum(axis=1, keepdims=True)))


def _common(found: Found, rows: int, fewest: int, most: int) -> tuple[np.ndarray, sp.csr_matrix]:
    """The features that come in at least `fewest` rows, and which row has which: float64 [rows, features]."""
    hashes, times = np.unique(found[1], return_counts=True)
    order = np.argsort(-times, kind="stable")[:most]
    kept = np.sort(order[times[order] >= fewest])
    return hashes[kept], sp.csr_matrix(matrix_of(found, rows, hashes[kept]) > 0, dtype=np.float64)


def _rounded(fitted: Fitted | None, unit: float) -> Table | None:
    if fitted is None:
        return None
    weights = fitted.weights.copy()
    weights.data = np.rint(weights.data * unit)
    weights.eliminate_zeros()
    return Table.of(fitted.hashes, sp.csr_matrix(weights), _whole(fitted.bias, unit))


def _whole(values: np.ndarray, unit: float) -> np.ndarray:
    return np.clip(np.rint(values * unit), -MOST_SUM, MOST_SUM).astype(np.int32)


def calibrated(margins: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """(slope, offset) of the probability that answers are right, by logistic regression (Platt 1999), never falling
    with the margin.

    Args:
        margins: of held-out items
        right: whether each was answered rightly
    """
    from sklearn.linear_model import LogisticRegression

    share = (right.sum() + 1) / (len(right) + 2)
    flat = 0.0, float(np.log(share / (1 - share)))
    scale = float(np.abs(margins).mean()) if len(margins) else 0.0
    if scale == 0 or right.all() or not right.any():
        return flat
    fitted = LogisticRegression().fit(margins[:, None] / scale, right)
    slope = float(fitted.coef_[0, 0]) / scale
    return (slope, float(fitted.intercept_[0])) if slope > 0 else flat
