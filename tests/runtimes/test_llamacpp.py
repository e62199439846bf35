"""llama.cpp where its answer is heard while it is written."""

from __future__ import annotations

import pytest
from tiny import TEXT

from lightbulb.core.errors import RunFailure
from lightbulb.models.gguf import write_gguf
from lightbulb.runtimes.exchange import Options
from lightbulb.runtimes.llamacpp import LlamaCpp


@pytest.mark.parametrize("slots", [1, 2])
def test_a_prompt_that_is_too_long_loses_its_beginning_when_streamed_too(tiny_folder, tmp_path, slots):
    write_gguf(tiny_folder, tmp_path / "model.gguf", "f32")
    runtime = LlamaCpp(tmp_path / "model.gguf", threads=1, slots=slots, context=64)
    prompts, heard = [4 * TEXT, "turn on the light", 4 * TEXT[60:]], [""] * 3

    def hear(n: int, piece: str) -> None:
        heard[n] += piece

    whole, streamed = runtime.generate(prompts, 8), runtime.generate(prompts, 8, Options(stream=hear))
    assert whole.prompt_tokens < sum(len(runtime.tokenize(p)) for p in prompts), "these prompts are not too long"
    assert (streamed.prompt_tokens, streamed.output_tokens) == (whole.prompt_tokens, whole.output_tokens)
    assert heard == streamed.texts  # of a character that is cut at the end nothing is heard
    assert all(a.startswith(b) for a, b in zip(whole.texts, streamed.texts, strict=True))
    with pytest.raises(RunFailure, match="llama.cpp refused a prompt"):
        runtime._all([[10**6]], {"max_tokens": 4}, hear)
    runtime.close()
