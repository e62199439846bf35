"""Does filament say what llama.cpp says? Perplexity and greedy text of SmolLM2-135M on WikiText-2, the same GGUF in
both.

    python benchmarks/filament_quality.py --text ../shared/data/wikitext2/wiki.test.raw [--chunks 16] [--write]

Perplexity: pieces of the text, read from their first token on; the ratio filament / llama.cpp with a 95% bootstrap
interval over pieces. Greedy text: the same beginnings continued by both; at the first token that differs both
candidates' log-odds are asked of both runtimes, and of the same weights in float32 (torch): both round activations to
int8, filament also keys and values, so a difference is explained when the exact odds lie no farther from even than what
roundings move them.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from sections import commit, put
from shapes import make

from lightbulb.runtimes.filament import Filament
from lightbulb.runtimes.llamacpp import LlamaCpp

HEADING = "## What filament says, beside llama.cpp"
NAMES = ("SmolLM2-135M q4_0", "SmolLM2-135M q8_0")
BYTES = 2000  # of a piece: some 450 tokens
BEGINNING, WRITTEN = 32, 64  # tokens of a greedy text


@dataclass(frozen=True)
class Fork:
    """Where two greedy texts part. odds: log-odds of filament's token against llama.cpp's in filament, in llama.cpp and
    in float32 (nats)."""

    text: int
    after: int
    ours: str
    theirs: str
    odds: tuple[float, float, float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--chunks", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    pieces = cut(asked.text.read_text(encoding="utf-8"), asked.chunks)
    head = f"`python benchmarks/filament_quality.py {shlex.join(sys.argv[1:])}`, {date.today()}, commit {commit()}."
    parts = [head]
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            path = make(name, Path(folder))
            room = BYTES + WRITTEN
            ours = Filament(path, threads=asked.threads, context=room)
            theirs = LlamaCpp(path, threads=asked.threads, context=room)
            exact = Exact(path, Path(folder) / f"{path.stem}-model")
            parts += [perplexities(name, ours, theirs, pieces), forks(name, ours, theirs, exact, pieces)]
            print("\n".join(parts[-2:]), file=sys.stderr, flush=True)
            ours.close(), theirs.close()
    print(text := "\n\n".join(parts))
    if asked.write:
        put("filament-quality", text, HEADING)
    return 0


def cut(text: str, count: int) -> list[str]:
    """Pieces from all over the text, each from the start of a paragraph."""
    paragraphs = [p.strip() for p in text.split("\n") if len(p) > 200]
    starts = np.linspace(0, len(paragraphs) - 12, count).astype(int)
    return [" ".join(paragraphs[s : s + 12]).encode()[:BYTES].decode(errors="ignore") for s in starts]


class Exact:
    """The weights of a GGUF file, computed with in float32."""

    def __init__(self, gguf: Path, folder: Path):
        from lightbulb.models.importing import import_model
        from lightbulb.models.loading import load_model
        from lightbulb.models.resolve import resolve

        import_model(resolve(str(gguf)), folder)
        self.model = load_model(folder).eval()

    def odds(self, prompt: list[int], token: int, other: int) -> float:
        import torch

        with torch.no_grad():
            logits = self.model(torch.tensor([prompt])).logits[0, -1].float()
        return float(logits[token] - logits[other])


def perplexities(name: str, ours: Filament, theirs: LlamaCpp, pieces: list[str]) -> str:
    scores = [[r.score_texts([p])[0] for p in pieces] for r in (ours, theirs)]
    nats = np.array([[s.nats for s in row] for row in scores])
    tokens = np.array([s.tokens for s in scores[0]])
    assert [s.tokens for s in scores[1]] == tokens.tolist(), "the runtimes cut the text differently"
    drawn = np.random.default_rng(0).integers(0, len(pieces), (10_000, len(pieces)))
    ratios = np.exp((nats[0] - nats[1])[drawn].sum(1) / tokens[drawn].sum(1))
    low, high = np.quantile(ratios, [0.025, 0.975])
    a, b = (math.exp(row.sum() / tokens.sum()) for row in nats)
    return (
        f"**{name}**, {len(pieces)} pieces, {tokens.sum():,} tokens: perplexity {a:.3f} in filament, {b:.3f} in "
        f"llama.cpp; ratio {a / b:.4f} [{low:.4f}, {high:.4f}]"
    )


def forks(name: str, ours: Filament, theirs: LlamaCpp, exact: Exact, pieces: list[str]) -> str:
    found = [f for n, p in enumerate(pieces) if (f := fork(n, ours, theirs, exact, ours.tokenize(p)[:BEGINNING]))]
    lines = [
        f"{name}: {len(pieces) - len(found)} of {len(pieces)} greedy texts of {WRITTEN} tokens are the same. Where the "
        "others part, log-odds of filament's token against llama.cpp's (nats):",
        "",
        "| text | after tokens | filament | llama.cpp | odds in filament | in llama.cpp | in float32 |",
        "|--:|--:|---|---|--:|--:|--:|",
        *(
            f"| {f.text} | {f.after} | `{f.ours!r}` | `{f.theirs!r}` | "
            + " | ".join(f"{o:+.3f}" for o in f.odds)
            + " |"
            for f in found
        ),
    ]
    return "\n".join(lines)


def fork(number: int, ours: Filament, theirs: LlamaCpp, exact: Exact, ids: list[int]) -> Fork | None:
    written = ours._model.generate(ids, WRITTEN, stop=[])
    for n, token in enumerate(written):
        prefix = ids + written[:n]
        other, log_prob = theirs.score_next(prefix, None, token)
        if other == token:
            continue
        a, b = ours._model.score(prefix, [[token], [other]])
        texts = [ours._tokenizer.decode([t]) for t in (token, other)]
        odds = (a - b, log_prob - theirs.score_next(prefix, None, other)[1], exact.odds(prefix, token, other))
        return Fork(number, n, texts[0], texts[1], odds)
    return None


if __name__ == "__main__":
    raise SystemExit(main())
