"""filament, llama.cpp and float64 beside each other: layers of different sizes, linear layers, windows, Gemma 3."""

from __future__ import annotations

import numpy as np
import pytest
from llama_server import llama_server
from random_models import SHAPES, Type, logits_in_float64, write_model

lightbulb_filament = pytest.importorskip("lightbulb_filament", reason="filament is not built: `make filament`")
TOKENS = [int(t) for t in np.random.default_rng(2).integers(3, 300, 90)]
TOP = 10


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    return logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())


def farthest(theirs: dict[int, float], ours: np.ndarray) -> float:
    """Nats between the log-probabilities of llama.cpp's likeliest tokens and ours."""
    return max(abs(ours[token] - value) for token, value in theirs.items())


@pytest.mark.parametrize("name", SHAPES)
def test_logits_are_those_of_llama_cpp(tmp_path, name):
    path = write_model(tmp_path / "m.gguf", Type.F32, SHAPES[name])
    model = lightbulb_filament.Model(path)
    truth = logits_in_float64(path, SHAPES[name], TOKENS)
    with llama_server(path) as server:
        for n in (1, 25, 90):  # within the window, just beyond it, far beyond
            theirs = server.logprobs(TOKENS[:n], TOP)
            assert farthest(theirs, log_probabilities(truth[n - 1])) < 0.03  # it looks GELU up in a table of halves
            assert farthest(theirs, log_probabilities(model.logits(TOKENS[:n])[-1])) < 0.1  # keys of 8 bits here


def test_gemma_3_as_lightbulb_exports_it(tmp_path):
    torch = pytest.importorskip("torch")
    from tiny import tiny_model

    from lightbulb.models.gguf import write_gguf
    from lightbulb.models.loading import load_model

    folder = tiny_model(tmp_path / "m", "gemma3_text", layers=7)
    write_gguf(folder, tmp_path / "m.gguf", "f32")
    model, ids = lightbulb_filament.Model(tmp_path / "m.gguf"), [5 + 7 * i % 400 for i in range(60)]
    with torch.no_grad():
        truth = load_model(folder)(torch.tensor([ids])).logits[0].numpy()
    ours = model.logits(ids)
    assert np.sqrt(np.mean((ours - truth) ** 2)) < 0.03 * truth.std()
    with llama_server(tmp_path / "m.gguf") as server:
        assert farthest(server.logprobs(ids, TOP), log_probabilities(ours[-1])) < 0.1
