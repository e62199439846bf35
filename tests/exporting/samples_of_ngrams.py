"""Random files of n-grams, texts that are hard to read, and what filament/tests/plain_ngrams.py makes of both."""

from __future__ import annotations

import numpy as np
import plain_ngrams
from plain_ngrams import text_of

from lightbulb.models.kinds.features import Ngrams, features_of
from lightbulb.models.kinds.ngrams import NgramFile


def random_file(
    texts: list[str],
    answers: list[str],
    *,
    words: tuple[int, int] = (1, 2),
    chars: tuple[int, int] = (2, 4),
    rows: int = 500,
    width: int | None = None,
    counts: int = 16,
    unit: float | None = None,
    threshold: float | None = None,
) -> NgramFile:
    """Random numbers for n-grams that come in `texts`. width: with a head, None without. unit: the larger, the less
    sure; None: random."""
    rng, ngrams = np.random.default_rng(0), Ngrams(words, chars)
    seen = features_of(texts, ngrams).hashes
    hashes = np.sort(rng.choice(seen, min(rows, len(seen)), replace=False))
    n, columns = len(hashes), width or len(answers)

    drawn = rng.uniform(10, 100)

    def numbers(low: int, high: int, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        return rng.integers(low, high, shape, dtype=dtype, endpoint=True)

    return NgramFile(
        labels=tuple(answers),
        ngrams=ngrams,
        unit=float(np.float32(drawn if unit is None else unit)),
        hashes=hashes,
        idf=numbers(1, 32767, (n,), np.int16),
        scales=numbers(0, 32767, (n,), np.int16),
        weights=numbers(-127, 127, (n, columns), np.int8),
        counts=np.sort(numbers(1, 2000, (counts,), np.int16)),
        bias=numbers(-50, 50, (len(answers),), np.int32),
        head=numbers(-2047, 2047, (len(answers), width), np.int16) if width else None,
        threshold=None if threshold is None else float(np.float32(threshold)),
        none='none"?? é',
    )


def scores(file: NgramFile, data: bytes) -> tuple[list[int], int]:
    """The score of each answer to a text of bytes, and its root."""
    return plain_ngrams.scored(file, text_of(data))


def answer(file: NgramFile, data: bytes) -> int:
    """Its number; -1 for none."""
    found, _ = scores(file, data)
    sure = np.float32(probabilities(file, data).max()) >= np.float32(file.threshold or 0)
    return found.index(max(found)) if sure else -1


def probabilities(file: NgramFile, data: bytes) -> np.ndarray:
    likely = np.array(plain_ngrams.likelihoods(*scores(file, data), file.unit), float)
    return likely / likely.sum()


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

KINDS = {
    "sums": {},
    "head": {"width": 6},
    "words": {"chars": (0, 0), "words": (2, 3), "rows": 40},
    "characters": {"words": (0, 0), "chars": (1, 8), "rows": 3000},
    "counts": {"counts": 256, "rows": 900},
    "one row": {"rows": 1, "counts": 1},
    "none of them": {"unit": 60.0, "threshold": 0.6},
    "none of them, a head": {"unit": 2e5, "threshold": 0.45, "width": 6},
}
