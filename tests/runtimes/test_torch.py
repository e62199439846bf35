"""The torch runtime against transformers' own generate."""

from __future__ import annotations

import contextlib
from collections import Counter
from importlib.util import find_spec

import pytest
from tiny import TEXT, tiny_model

from lightbulb.core.artifact import Artifact
from lightbulb.models.gguf import write_gguf
from lightbulb.runtimes.base import windows
from lightbulb.runtimes.filament import Filament
from lightbulb.runtimes.llamacpp import LlamaCpp
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


def test_a_document_is_scored_in_windows_that_share_a_token():
    ids = list(range(10))
    assert windows(ids, 4) == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]] and windows(ids, 10) == [ids]
    assert windows([5], 4) == [[5]] and windows(ids[:5], 4) == [[0, 1, 2, 3], [3, 4]]


def test_a_long_document_has_one_score_in_every_runtime(tmp_path):
    folder = tiny_model(tmp_path / "m", context=64)
    write_gguf(folder, tmp_path / "m.gguf", "f32")
    text = TEXT * 3
    scores = [
        Torch(Artifact(path=folder, kind="model", key="", made_by="")).score_texts([text])[0],
        LlamaCpp(tmp_path / "m.gguf", context=4096).score_texts([text])[0],
    ]
    if find_spec("lightbulb_filament"):
        scores.append(Filament(tmp_path / "m.gguf", context=4096).score_texts([text])[0])
    assert scores[0].tokens > 200 and {s.tokens for s in scores} == {scores[0].tokens}
    assert all(s.nats == pytest.approx(scores[0].nats, rel=0.01) for s in scores)
