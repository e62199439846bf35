"""What a file of the architecture `lightbulb-slots` (docs/format.md) holds and answers: the reference of every runtime,
in integers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.special import expit

from lightbulb.models.kinds.slot_features import (
    Tokens,
    matrix_of,
    texts_as_rows,
    tokens_as_rows,
    tokens_of,
    well_formed,
)

MOST_FIELDS, MOST_COLUMNS, MOST_WEIGHT, MOST_SUM = 64, 32767, 32767, 1 << 28
NUMBER = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?")
NEVER = -(1 << 62)  # the score of tags that cannot stand so
OUTSIDE = 0  # the tag of a token that is copied nowhere; 1 + 2n begins what the nth copied field takes, 2 + 2n goes on


@dataclass(frozen=True, eq=False)
class Form:
    """How an answer is put together: fields with values, between an opening and a closing.

    Attributes:
        opening: text before the fields
        between: text between two of them
        closing: text behind them
        fields: text before the value of each, in their order
        copied: numbers of those whose value is copied from the text, as a JSON string, ascending
        bare: those of them that are numbers: where what is copied is one, it stands without quotes
        sets: bool [sets, fields], which of the others can be there together; no set where all are copied
        pieces: numbers of the fields of which each piece of a value is a part, ascending
        options: the texts that each piece can be
    """

    opening: str
    between: str
    closing: str
    fields: tuple[str, ...]
    copied: tuple[int, ...]
    bare: tuple[int, ...]
    sets: np.ndarray
    pieces: tuple[int, ...]
    options: tuple[tuple[str, ...], ...]

    @property
    def choices(self) -> int:
        """Columns of the table that chooses: one for each set, then for each option."""
        return len(self.sets) + sum(map(len, self.options))

    @property
    def tags(self) -> int:
        """Columns of the table that tags tokens."""
        return 1 + 2 * len(self.copied) if self.copied else 0

    def groups(self) -> list[slice]:
        """Columns of the sets, and of the options of each piece."""
        ends = np.cumsum([len(self.sets), *map(len, self.options)])
        return [slice(int(a), int(b)) for a, b in zip([0, *ends[:-1]], ends, strict=True)]

    def written(self, values: Mapping[int, str]) -> str:
        """The answer with these values, by number of the field."""
        return self.opening + self.between.join(self.fields[n] + values[n] for n in sorted(values)) + self.closing


@dataclass(frozen=True, eq=False)
class Table:
    """A linear model of features, most of whose weights are 0. R features, W weights, C columns.

    Attributes:
        hashes: uint32 [R], ascending
        starts: int32 [R + 1], where the weights of each begin
        columns: int16 [W], ascending within a feature
        weights: int16 [W]
        bias: int32 [C]
    """

    hashes: np.ndarray
    starts: np.ndarray
    columns: np.ndarray
    weights: np.ndarray
    bias: np.ndarray

    def scores(self, found: tuple[np.ndarray, np.ndarray, np.ndarray], rows: int) -> np.ndarray:
        """int64 [rows, C], of features as `texts_as_rows` gives them, each of which counts once in a row."""
        there = matrix_of(found, rows, self.hashes) > 0
        shape = (len(self.hashes), len(self.bias))
        weights = sp.csr_matrix((self.weights.astype(np.int64), self.columns, self.starts), shape)
        return np.asarray((there.astype(np.int64) @ weights).todense()) + self.bias

    @staticmethod
    def of(hashes: np.ndarray, weights: sp.csr_matrix, bias: np.ndarray) -> Table:
        """Of whole numbers: sparse weights [R, C] and bias [C]. Features without a weight are left out, but for one
        where all are."""
        kept = np.flatnonzero(np.diff(weights.indptr))
        if not len(kept):
            one = np.zeros(1, np.int16)
            return Table(np.zeros(1, np.uint32), np.array([0, 1], np.int32), one, one, bias)
        sparse = weights[kept]
        sparse.sort_indices()
        starts, columns = sparse.indptr.astype(np.int32), sparse.indices.astype(np.int16)
        return Table(hashes[kept], starts, columns, sparse.data.astype(np.int16), bias)


@dataclass(frozen=True, slots=True)
class Filled:
    """An answer, and how far what was decided for it lay from anything else: the least of all distances."""

    text: str
    margin: int


@dataclass(frozen=True, eq=False)
class SlotFile:
    """What a file holds, and its arithmetic.

    Attributes:
        form: of the answers
        slope, offset: the probability of an answer is 1 / (1 + exp(-(slope x margin + offset)))
        choices: of the texts' n-grams; None where all fields are copied
        tags: of tokens' surroundings; None where none is
        transitions: int32 [1 + tags, tags], what a tag gets after another, and (first row) at the beginning
    """

    form: Form
    slope: float
    offset: float
    choices: Table | None
    tags: Table | None
    transitions: np.ndarray | None

    @property
    def parameters(self) -> int:
        """How many numbers were learnt."""
        learnt = [t for table in (self.choices, self.tags) if table for t in (table.weights, table.bias)]
        return sum(t.size for t in learnt) + (0 if self.transitions is None else self.transitions.size)

    @property
    def features(self) -> int:
        """How many it looks for."""
        return sum(len(table.hashes) for table in (self.choices, self.tags) if table)

    def fill(self, texts: Sequence[str]) -> list[Filled]:
        """The answer to each text."""
        texts = [well_formed(text) for text in texts]
        tokens = tokens_of(texts)
        bounds = np.searchsorted(tokens.text_of, np.arange(len(texts) + 1))
        scores_NC = self.choices.scores(texts_as_rows(tokens), len(texts)) if self.choices else None
        scores_TC = self.tags.scores(tokens_as_rows(tokens), len(tokens)) if self.tags else None
        found = []
        for number, text in enumerate(texts):
            values: dict[int, str] = {}
            margins: list[int] = []
            if scores_NC is not None:
                _choose(self.form, scores_NC[number], values, margins)
            own = slice(bounds[number], bounds[number + 1])
            if scores_TC is not None and len(scores_TC[own]):
                path = self._tagged(scores_TC[own], margins)
                values |= dict(_copied(self.form, path, text, tokens, bounds[number]))
            found.append(Filled(self.form.written(values), min(margins, default=0)))
        return found

    def probabilities(self, filled: Sequence[Filled]) -> np.ndarray:
        """That answers are right, float64."""
        margins = np.array([f.margin for f in filled], np.float64)
        return np.asarray(expit(np.float32(self.slope) * margins + np.float32(self.offset)))

    def _tagged(self, scores_TC: np.ndarray, margins: list[int]) -> list[int]:
        """The tags that together have the highest score (Viterbi 1967), of equals those with the lowest numbers from
        the end on; what goes on stands only behind what it goes on from."""
        assert self.transitions is not None
        best, back = self.transitions[0] + scores_TC[0], []
        best = np.where(_may_begin(len(best)), best, NEVER)
        for scores_C in scores_TC[1:]:
            ways = np.where(_may_follow(len(best)), best[:, None] + self.transitions[1:], NEVER)
            back.append(ways.argmax(axis=0))
            best = ways.max(axis=0) + scores_C
        path = [int(best.argmax())]
        for before in reversed(back):
            path.append(int(before[path[-1]]))
        path.reverse()
        others = scores_TC.copy()
        others[np.arange(len(path)), path] = np.iinfo(np.int64).min
        margins += (scores_TC[np.arange(len(path)), path] - others.max(axis=1)).tolist()
        return path


def _may_begin(tags: int) -> np.ndarray:
    return (np.arange(tags) == OUTSIDE) | (np.arange(tags) % 2 == 1)


def _may_follow(tags: int) -> np.ndarray:
    """bool [before, tag]"""
    before, tag = np.indices((tags, tags))
    return _may_begin(tags)[tag] | (before == tag) | (before == tag - 1)


def _choose(form: Form, scores_C: np.ndarray, values: dict[int, str], margins: list[int]) -> None:
    """The likeliest set, and the likeliest option of each piece of its fields, of equals the first."""
    chosen: list[int] = []
    groups = form.groups()
    for group in groups:
        scores = scores_C[group]
        chosen.append(int(scores.argmax()))
    present = form.sets[chosen[0]]
    for place, group in enumerate(groups):
        field = form.pieces[place - 1] if place else None
        if field is not None and not present[field]:
            continue
        if field is not None:
            values[field] = values.get(field, "") + form.options[place - 1][chosen[place]]
        if group.stop - group.start > 1:
            first, second = np.sort(scores_C[group])[[-1, -2]]
            margins.append(int(first - second))


def _copied(form: Form, path: Sequence[int], text: str, tokens: Tokens, first: int) -> Iterator[tuple[int, str]]:
    """(field, value) of every run of tags, in their order."""
    for place, tag in enumerate(path):
        if tag % 2 == 0:
            continue
        last = place
        while last + 1 < len(path) and path[last + 1] == tag + 1:
            last += 1
        field, own = form.copied[tag // 2], text[tokens.begins[first + place] : tokens.ends[first + last]]
        bare = field in form.bare and NUMBER.fullmatch(own)
        yield field, own if bare else json.dumps(own, ensure_ascii=False)
