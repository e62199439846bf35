"""Files of the architecture `lightbulb-ngrams` (docs/format.md), and what they answer: the reference of every runtime,
in integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from lightbulb.core.files import new_file
from lightbulb.models.abstention import NONE, NONE_KEY, THRESHOLD_KEY, abstention_of
from lightbulb.models.kinds.features import LONGEST, Ngrams, counts_of
from lightbulb.models.kinds.file_reader import STORED, FileReader, refuse
from lightbulb.models.kinds.likelihood import ONE, likelihoods

ARCHITECTURE, KIND, VERSION = "lightbulb-ngrams", "choose", 1
MOST_COUNTS = 256
MOST, MOST_WEIGHT, MOST_HEAD = 32767, 127, 2047


@dataclass(frozen=True, eq=False)
class NgramFile:
    """What a file holds, and its arithmetic.

    Attributes:
        labels: the answers, C of them
        ngrams: which n-grams it looks at
        unit: logit = score / (root x unit)
        hashes: uint32 [rows], ascending
        idf: int16 [rows]
        scales: int16 [rows]
        weights: int8 [rows, width]
        counts: int16 [K]
        bias: int32 [C]
        head: int16 [C, width]; None where the sums are the answers' own
        threshold: the least probability of an answer that is given, a float32; None: all are given
        none: what is said where none is given
    """

    labels: tuple[str, ...]
    ngrams: Ngrams
    unit: float
    hashes: np.ndarray
    idf: np.ndarray
    scales: np.ndarray
    weights: np.ndarray
    counts: np.ndarray
    bias: np.ndarray
    head: np.ndarray | None = None
    threshold: float | None = None
    none: str = NONE

    @property
    def parameters(self) -> int:
        """How many numbers were learnt: weights, bias and head."""
        return self.weights.size + self.bias.size + (0 if self.head is None else self.head.size)

    def tensors(self) -> dict[str, tuple[str, np.ndarray]]:
        """Name -> (type, values) of all that the file holds."""
        found = {
            "ngrams.hashes": ("I32", self.hashes.view(np.int32)),
            "ngrams.idf": ("I16", self.idf),
            "ngrams.scales": ("I16", self.scales),
            "ngrams.weights": ("I8", self.weights),
            "ngrams.counts": ("I16", self.counts),
            "ngrams.bias": ("I32", self.bias),
        }
        return found if self.head is None else found | {"ngrams.head": ("I16", self.head)}

    def write(self, path: Path) -> None:
        """Writes the file, whole or not at all; the same content gives the same bytes."""
        from gguf import GGUFValueType, GGUFWriter

        with new_file(path) as beside:
            writer = GGUFWriter(beside, ARCHITECTURE)
            writer.add_string("lightbulb.kind", KIND)
            writer.add_array("lightbulb.answers", list(self.labels))
            writer.add_uint32("ngrams.version", VERSION)
            for name, lengths in (("words", self.ngrams.words), ("chars", self.ngrams.chars)):
                writer.add_key_value(f"ngrams.{name}", list(lengths), GGUFValueType.ARRAY, GGUFValueType.UINT32)
            writer.add_float32("ngrams.unit", self.unit)
            if self.threshold is not None:
                writer.add_float32(THRESHOLD_KEY, self.threshold)
                writer.add_string(NONE_KEY, self.none)
            for name, (stored, values) in self.tensors().items():
                writer.add_tensor(name, np.ascontiguousarray(values, STORED[stored][1]))
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()

    @staticmethod
    def read(path: Path) -> NgramFile:
        """The classifier of a file.

        Raises:
            ModelError: the file is damaged, of another architecture, or beyond what the format allows
        """
        file = _Reader(path).file()
        _check(file, path)
        return file

    def scores(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the answers, int64 [texts, C], and the root of each text, int64 [texts]."""
        found = counts_of(texts, self.ngrams, self.hashes)
        times = self.counts.astype(np.int64)[np.minimum(found.data, len(self.counts)) - 1]
        lengths = np.maximum(1, np.minimum(MOST, (self.idf[found.indices] * times) >> 8))
        roots = np.maximum(1, whole_roots(_like(found, lengths**2).sum(axis=1)))
        by = np.minimum(MOST, (self.scales[found.indices] * times) >> 8)
        scores = _like(found, by) @ self.weights.astype(np.int64)
        if self.head is not None:
            scores = _times_head(scores, self.head.astype(np.int64))
        return scores + self.bias.astype(np.int64) * roots[:, None], roots

    def choices(self, texts: Sequence[str]) -> list[int]:
        """The number of the answer to each text: that with the highest score, of equals the first; -1 for none."""
        scores, roots = self.scores(texts)
        likely = likelihoods(scores, roots, self.unit)
        sure = (ONE / likely.sum(axis=1)).astype(np.float32) >= np.float32(self.threshold or 0)
        return np.where(sure, scores.argmax(axis=1), -1).tolist()

    def answers(self, texts: Sequence[str]) -> list[str]:
        """The answer to each text, or what `none` says."""
        return [self.labels[i] if i >= 0 else self.none for i in self.choices(texts)]

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Calibrated probabilities of the answers, float64 [texts, C]."""
        likely = likelihoods(*self.scores(texts), self.unit)
        return np.asarray(likely / likely.sum(axis=1, keepdims=True))


def _like(found: sp.csr_matrix, values: np.ndarray) -> sp.csr_matrix:
    return sp.csr_matrix((values, found.indices, found.indptr), found.shape)


def whole_roots(squares: np.ndarray) -> np.ndarray:
    """floor(sqrt(x)) of whole numbers below 2^62, exact: a double's root is off by one at most."""
    squares = np.asarray(squares, np.int64).ravel()
    roots = np.sqrt(squares.astype(np.float64)).astype(np.int64)
    roots -= roots * roots > squares
    return roots + ((roots + 1) * (roots + 1) <= squares)


def _times_head(sums: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Sums [texts, width] of each text shifted to 16 bits, times the head [C, width], shifted back."""
    peaks = np.abs(sums).max(axis=1)
    shifts = np.zeros(len(sums), np.int64)
    while (high := (peaks >> shifts) > MOST).any():
        shifts += high
    return ((sums >> shifts[:, None]) @ head.T) << shifts[:, None]


class _Reader(FileReader):
    def file(self) -> NgramFile:
        self.check_format(ARCHITECTURE, {"lightbulb.kind": KIND, "ngrams.version": VERSION}, "n-grams")
        rows = self._length("ngrams.hashes")
        labels = self._labels()
        width = self.shape("ngrams.weights")[-1]
        head = self.tensor("ngrams.head", "I16", (len(labels), width)) if "ngrams.head" in self.entries else None
        return NgramFile(
            labels=labels,
            ngrams=Ngrams(self._range("ngrams.words"), self._range("ngrams.chars")),
            unit=self._unit(),
            hashes=self.tensor("ngrams.hashes", "I32", (rows,)).view(np.uint32),
            idf=self.tensor("ngrams.idf", "I16", (rows,)),
            scales=self.tensor("ngrams.scales", "I16", (rows,)),
            weights=self.tensor("ngrams.weights", "I8", (rows, len(labels) if head is None else width)),
            counts=self.tensor("ngrams.counts", "I16", (self._length("ngrams.counts"),)),
            bias=self.tensor("ngrams.bias", "I32", (len(labels),)),
            head=head,
            **self._abstention(),
        )

    def _labels(self) -> tuple[str, ...]:
        value = self.fields.get("lightbulb.answers")
        if not isinstance(value, list) or len(value) < 2 or not all(isinstance(v, str) for v in value):
            refuse(self.path, "lightbulb.answers is no list of two answers or more")
        return tuple(value)

    def _range(self, key: str) -> tuple[int, int]:
        value: Any = self.fields.get(key)
        whole = isinstance(value, list) and len(value) == 2 and all(type(v) is int for v in value)
        if not whole or (value != [0, 0] and not 1 <= value[0] <= value[1] <= LONGEST):
            refuse(self.path, f"{key} is {str(value)[:40]}, no range of lengths within 1 to {LONGEST}")
        return value[0], value[1]

    def _unit(self) -> float:
        value: Any = self.fields.get("ngrams.unit")
        if not isinstance(value, float) or not 0 < value < np.inf:
            refuse(self.path, f"ngrams.unit is {str(value)[:40]}, no number above 0")
        return value

    def _length(self, name: str) -> int:
        return self.shape(name)[-1]

    def _abstention(self) -> dict[str, Any]:
        found = abstention_of(self.fields, self.path)
        return {"threshold": found.threshold, "none": found.none}


def _check(file: NgramFile, path: Path) -> None:
    """Raises ModelError for values beyond the format's bounds, and where a score could pass 63 bits."""
    if file.ngrams == Ngrams((0, 0), (0, 0)):
        refuse(path, "it looks at no n-grams")
    if not (file.hashes[1:] > file.hashes[:-1]).all():
        refuse(path, "ngrams.hashes do not ascend")
    if len(file.counts) > MOST_COUNTS:
        refuse(path, f"ngrams.counts has {len(file.counts)} entries, more than {MOST_COUNTS}")
    bounds = {
        "idf": (1, MOST),
        "scales": (0, MOST),
        "weights": (-MOST_WEIGHT, MOST_WEIGHT),
        "counts": (0, MOST),
        "head": (-MOST_HEAD, MOST_HEAD),
    }
    for name, (least, most) in bounds.items():
        values = getattr(file, name)
        if values is not None and not least <= values.min() <= values.max() <= most:
            refuse(path, f"ngrams.{name} holds {values.min()} to {values.max()}, where {least} to {most} is allowed")
    if highest_score(file) >= 2.0**63:
        refuse(path, "its scores could pass 63 bits")


def highest_score(file: NgramFile) -> float:
    """A bound on every score of the file, from its largest entries."""
    rows, times = len(file.hashes), int(file.counts.max())
    total = rows * float(min(MOST, int(file.scales.max()) * times >> 8)) * _largest(file.weights)
    root = rows**0.5 * max(1, min(MOST, int(file.idf.max()) * times >> 8))
    if file.head is not None:  # a sum that is shifted right and left again grows by less than 2^-14 of itself
        total = file.weights.shape[1] * _largest(file.head) * (total * (1 + 2.0**-14) + 1)
    return total + _largest(file.bias) * root


def _largest(values: np.ndarray) -> float:
    return float(np.abs(values.astype(np.float64)).max())
