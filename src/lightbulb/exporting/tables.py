"""What the exports have in common: the tables of a file and an index over its hashes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jinja2 import Environment

    from lightbulb.models.kinds.ngrams import NgramFile

TEMPLATES = Path(__file__).parent / "templates"
MOST_BUCKET_BITS = 20


@dataclass(frozen=True, slots=True)
class Index:
    """Where in the ascending hashes those with the same first bits begin: some four rows a bucket.

    Attributes:
        bits: how many of a hash's first bits number its bucket
        starts: uint32 [2^bits + 1], the last the number of rows
    """

    bits: int
    starts: np.ndarray


def index_of(hashes: np.ndarray) -> Index:
    """An index over hashes, uint32 [rows], ascending."""
    bits = min(max(len(hashes).bit_length() - 3, 1), MOST_BUCKET_BITS)
    edges = np.arange((1 << bits) + 1, dtype=np.uint64) << np.uint64(32 - bits)
    return Index(bits, np.searchsorted(hashes.astype(np.uint64), edges).astype(np.uint32))


def largest_score(file: NgramFile) -> int:
    """No score, nor any sum on the way to one, is larger for any text: what whole numbers must hold exactly."""
    most = int(file.counts.max(initial=0))
    weights = np.minimum(file.scales.astype(np.int64) * most >> 8, 32767)
    lengths = np.clip(file.idf.astype(np.int64) * most >> 8, 1, 32767)
    sums = int((np.abs(file.weights.astype(np.int64)) * weights[:, None]).sum(axis=0).max(initial=0))
    if file.head is not None:  # what a sum loses when it is shortened is less than it
        sums *= 2 * int(np.abs(file.head.astype(np.int64)).sum(axis=1).max())
    root = math.isqrt(int((lengths**2).sum())) + 1
    return sums + int(np.abs(file.bias.astype(np.int64)).max()) * root


@cache
def templates() -> Environment:
    """The templates of source code: nothing is escaped, what is put in must be a literal."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
