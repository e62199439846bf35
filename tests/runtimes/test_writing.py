"""The text of an answer while it is written: nothing of a stop string is told, and all of the answer is."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from lightbulb.runtimes.decoding import drawn
from lightbulb.runtimes.exchange import Options, Sampling
from lightbulb.runtimes.writing import Writing


class Letters(Writing):
    """Tokens are characters."""

    def __init__(self, options: Options):
        super().__init__(None, 0, options)  # type: ignore[arg-type]
        self._decoder = self

    def step(self, tokenizer: None, token: str) -> str:
        return token


@given(text=st.text("abc", max_size=30), stops=st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_what_is_told_is_the_text_before_the_first_stop(text, stops):
    heard: list[str] = []
    writing = Letters(Options(stop=tuple(stops), stream=lambda n, piece: heard.append(piece)))
    written = 0
    for token in text:
        written += 1
        if not writing.add(token):
            break
    ends = [end for end in range(1, len(text) + 1) if any(text[:end].endswith(stop) for stop in stops)]
    seen = text[: ends[0]] if ends else text
    assert written == len(seen)
    expected = min((seen[: seen.find(stop)] for stop in stops if stop in seen), key=len, default=seen)
    assert writing.end() == expected == "".join(heard)


def test_tokens_are_drawn_as_often_as_they_are_likely():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    generator = torch.Generator().manual_seed(0)

    def shares(sampling: Sampling) -> list[float]:
        found = [drawn(logits, sampling, generator) for _ in range(4000)]
        return [found.count(i) / len(found) for i in range(4)]

    for share, expected in zip(shares(Sampling(temperature=1.0)), (0.5, 0.3, 0.15, 0.05), strict=True):
        assert abs(share - expected) < 0.03
    half = shares(Sampling(temperature=1.0, top_p=0.7))
    assert abs(half[0] - 0.625) < 0.03 and half[2:] == [0.0, 0.0]
    assert shares(Sampling()) == [1.0, 0.0, 0.0, 0.0]
    assert shares(Sampling(temperature=100.0))[3] > 0.2
