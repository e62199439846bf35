"""A linear model of n-grams in floating point, and how it is rounded to what a file holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from scipy.special import log_softmax

from lightbulb.core.errors import RunFailure
from lightbulb.core.files import write_json
from lightbulb.models.kinds.features import Ngrams, counts_of
from lightbulb.models.kinds.ngrams import MOST, MOST_WEIGHT, NgramFile

WEIGHTS, FORM = "ngrams.safetensors", "ngrams.json"
COUNTS = np.rint(256 * (1 + np.log(np.arange(1, 17)))).astype(np.int16)  # sublinear, and from 16 times on the same
MOST_BIAS = (1 << 31) - 128  # a float32 of `unit` may be a little more than was meant
LONGEST_IDF = 1023  # exact to a tenth of a percent; the higher it is, the coarser are the biases


@dataclass(frozen=True, eq=False)
class NgramModel:
    """logits = (sum over n-grams of t x row) / root + bias, where root^2 = sum of (t x idf)^2 and t is what COUNTS says
    of how often the n-gram comes, by 256.

    Attributes:
        labels: the answers, C of them
        ngrams: which n-grams it looks at
        hashes: uint32 [rows], ascending
        idf: float32 [rows], above 0
        rows: float32 [rows, C]
        bias: float32 [C]
    """

    labels: tuple[str, ...]
    ngrams: Ngrams
    hashes: np.ndarray
    idf: np.ndarray
    rows: np.ndarray
    bias: np.ndarray

    @property
    def parameters(self) -> int:
        """How many numbers were learnt: rows and bias."""
        return self.rows.size + self.bias.size

    def save(self, folder: Path) -> None:
        """Writes ngrams.safetensors and ngrams.json into `folder`."""
        from safetensors.numpy import save_file

        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in ("hashes", "idf", "rows", "bias")}
        save_file(arrays, folder / WEIGHTS)
        write_json(folder / FORM, {"answers": list(self.labels), **asdict(self.ngrams)})

    @staticmethod
    def read(folder: Path) -> NgramModel:
        """The model that `save` wrote.

        Raises:
            RunFailure: `folder` does not hold it
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            form = json.loads((folder / FORM).read_text(encoding="utf-8"))
            ngrams = Ngrams(tuple(form["words"]), tuple(form["chars"]))
            return NgramModel(tuple(form["answers"]), ngrams, **load_file(folder / WEIGHTS))
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as e:
            raise RunFailure(
                f"cannot read the n-grams of this step: {e}",
                where=str(folder),
                hint=f"delete the folder {folder} and repeat the command: the step is made anew",
            ) from e

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """float64 [texts, C]"""
        weighted = times_of(counts_of(texts, self.ngrams, self.hashes))
        roots = lengths_of(weighted, self.idf)
        return np.asarray(weighted @ self.rows.astype(np.float64)) / roots[:, None] + self.bias

    def log_probs(self, texts: Sequence[str]) -> np.ndarray:
        """Log-probabilities of the answers in nats: float64 [texts, C]."""
        return np.asarray(log_softmax(self.logits(texts), axis=1))

    def divided(self, temperature: float) -> NgramModel:
        """The same model with logits that are divided by `temperature`."""
        by = np.float32(temperature)
        return replace(self, rows=self.rows / by, bias=self.bias / by)

    def rounded(self) -> NgramFile:
        """The file whose answers are this model's but for rounding. What all answers have in common, which no
        probability hangs on, is taken off first, so that nothing of the range is spent on it."""
        rows = self.rows - self.rows.mean(axis=1, keepdims=True, dtype=np.float64)
        bias = self.bias - self.bias.mean(dtype=np.float64)
        per_length = LONGEST_IDF / float(self.idf.max())
        largest = np.abs(rows).max(axis=1)
        per_scale = ((MOST << 8) // int(COUNTS.max()) - 1) / (largest.max() or 1.0)
        per_bias = MOST_BIAS / (np.abs(bias).max() or 1.0)
        per_scale = min(per_scale, per_bias * per_length / MOST_WEIGHT)
        scales = np.ceil(largest * per_scale)
        weights = np.rint(rows * (MOST_WEIGHT * per_scale / np.maximum(scales, 1))[:, None])
        unit = float(np.float32(MOST_WEIGHT * per_scale / per_length))
        return NgramFile(
            labels=self.labels,
            ngrams=self.ngrams,
            unit=unit,
            hashes=self.hashes,
            idf=np.maximum(1, np.rint(self.idf * per_length)).astype(np.int16),
            scales=scales.astype(np.int16),
            weights=weights.astype(np.int8),
            counts=COUNTS,
            bias=np.rint(bias * unit).astype(np.int32),
        )


def times_of(counts: sp.csr_matrix) -> sp.csr_matrix:
    """What n-grams count that come so often: float64 [texts, n-grams]."""
    values = (COUNTS / 256)[np.minimum(counts.data, len(COUNTS)) - 1]
    return sp.csr_matrix((values, counts.indices, counts.indptr), counts.shape)


def lengths_of(times: sp.csr_matrix, idf: np.ndarray) -> np.ndarray:
    """The root of each text: float64 [texts], 1 for a text without any of the n-grams."""
    squares = np.asarray(times.power(2) @ (idf.astype(np.float64) ** 2))
    return np.sqrt(np.where(squares > 0, squares, 1.0))
