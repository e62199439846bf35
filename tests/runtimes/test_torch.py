"""The torch runtime against transformers' own generate."""

from __future__ import annotations

import contextlib
from collections import Counter

import pytest

from lightbulb.runtimes.torch import Torch

PROMPTS = ["light", "turn on the light in the kitchen and then the heating", "a b c", "x", "heat", "open it all"]


@pytest.mark.parametrize("max_tokens", [1, 7, 40])
def test_greedy_writes_what_generate_writes(imported, max_tokens, monkeypatch):
    """Rows of different lengths leave the batch at different times; what the others write must not change."""
    monkeypatch.setattr("lightbulb.runtimes.torch.fast_math", lambda device: contextlib.nullcontext())  # no near ties
    runtime = Torch(imported)
    tokenizer, model = runtime.tokenizer, runtime.model
    rows = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt")
        row = model.generate(**ids, max_new_tokens=max_tokens, min_new_tokens=max_tokens, do_sample=False)[0]
        rows.append(row[ids["input_ids"].shape[1] :].tolist())
    # A random model seldom ends: let the end be the token that the most rows hold, so that some end and others do not.
    end = Counter(token for row in rows for token in set(row)).most_common(1)[0][0]
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    cut = [row[: row.index(end)] if end in row else row for row in rows]
    found = runtime.generate(PROMPTS, max_tokens)
    assert found.texts == [tokenizer.decode(row) for row in cut]
    assert found.output_tokens == sum(len(row) + (end in rows[n]) for n, row in enumerate(cut))
    if max_tokens == 40:
        assert len({len(row) for row in cut}) > 2, "rows must end at different places, or nothing is tested"
