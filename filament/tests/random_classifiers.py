"""Random files of classifiers, and what the reference makes of them (plain_ngrams.py)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter
from plain_ngrams import counted, likelihoods, scored, text_of

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


def features(data: bytes, words: tuple[int, int], chars: tuple[int, int]) -> dict[int, int]:
    """How often each hash comes."""
    return counted(text_of(data), words, chars)


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

    @property
    def labels(self) -> list[str]:
        return self.answers

    @property
    def ngrams(self) -> NgramModel:
        """What says which n-grams are counted: itself."""
        return self

    def choice(self, data: bytes) -> tuple[int, float]:
        """The answer's number and its probability."""
        scores, root = scored(self, text_of(data))
        likely = likelihoods(scores, root, float(np.float32(self.unit)))
        return scores.index(max(scores)), float(np.float32((1 << 24) / sum(likely)))

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
