"""Exactly so many tokens, through any end-of-turn token: what costs are measured with."""

from __future__ import annotations

import pytest

from lightbulb.core.errors import RunFailure
from lightbulb.models.gguf import write_gguf
from lightbulb.runtimes.llamacpp import LlamaCpp
from lightbulb.runtimes.torch import Torch

TEXT = "Turn the kitchen lights off at 7:45, please. What's the weather like tomorrow? " * 5


@pytest.fixture(scope="module")
def gguf(tiny_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    write_gguf(tiny_folder, path, "f32")
    return path


def test_llama_cpp_writes_on_where_an_answer_would_end(gguf):
    runtime = LlamaCpp(gguf, threads=1, slots=2, context=128)
    ids = runtime.tokenize(TEXT)
    # This model ends its turn somewhere after one of these prompts; the premise is checked, so the test can fail.
    prompts = [ids[n : n + 40] for n in range(0, 40, 5)]
    endings = [runtime._complete({"prompt": p, "max_tokens": 60})["usage"]["completion_tokens"] for p in prompts]
    assert min(endings) < 60
    written = runtime.write_exactly(prompts, 60)
    assert (written.prompt_tokens, written.output_tokens) == (40 * len(prompts), 60 * len(prompts))
    with pytest.raises(RunFailure, match="stopped early"):
        runtime.write_exactly([(ids * 9)[:200]], 100)
    assert runtime.context_length == 512
    runtime.close()


def test_torch_writes_as_many_and_both_cut_text_alike(imported, gguf):
    torch, llama = Torch(imported), LlamaCpp(gguf, threads=1)
    ids = torch.tokenize(TEXT)
    assert ids == llama.tokenize(TEXT)
    written = torch.write_exactly([ids[:40], ids[5:30]], 50)
    assert (written.prompt_tokens, written.output_tokens) == (65, 100) and len(written.texts) == 2
    assert torch.context_length == 512
    llama.close()
