"""llama.cpp for tests: a server on a GGUF through xllamacpp, asked over loopback."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class LlamaServer:
    def __init__(self, address: str):
        self.address = address

    def post(self, path: str, **body: Any) -> Any:
        request = urllib.request.Request(
            self.address + path, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.loads(reply.read())

    def tokenize(self, text: str) -> list[int]:
        """Ids of `text`; special tokens written in it count as such."""
        return self.post("/tokenize", content=text, add_special=False, parse_special=True)["tokens"]

    def greedy(self, ids: list[int], n: int) -> list[int]:
        reply = self.post(
            "/completion",
            prompt=ids,
            n_predict=n,
            temperature=0.0,
            return_tokens=True,
            ignore_eos=False,
            cache_prompt=False,
        )
        return reply["tokens"]

    def logprobs(self, ids: list[int], top: int) -> dict[int, float]:
        """Token id -> log-probability of the `top` likeliest next tokens.

        The sampled token is forced to be a letter: the server leaves the probabilities out when it ends within a
        UTF-8 character. They are of the logits before the bias.
        """
        letter = self.tokenize("e")[-1]
        reply = self.post(
            "/completion",
            prompt=ids,
            n_predict=1,
            temperature=-1.0,
            n_probs=top,
            cache_prompt=False,
            logit_bias=[[letter, 1e4]],
        )
        return {t["id"]: t["logprob"] for t in reply["completion_probabilities"][0]["top_logprobs"]}


@contextlib.contextmanager
def llama_server(gguf: Path, context: int = 512) -> Iterator[LlamaServer]:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.n_ctx, params.n_parallel, params.warmup, params.fit_params = context, 1, False, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.verbosity = 0
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32  # weights are compared, not caches
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(params)
    try:
        client = LlamaServer(server.listening_address)
        client.greedy([1], 1)  # a server that is closed before its loop has begun never ends
        yield client
    finally:
        del server
