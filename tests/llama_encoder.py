"""What stock llama.cpp (its server, in this process) makes of a BERT file: tokens, and the vector that it pools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from llama_server import LlamaServer


class LlamaEncoder:
    """A file opened for embeddings, which are handed out as they are, not normalised."""

    def __init__(self, path: Path):
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path, params.embedding, params.embd_normalize = str(path), True, -1
        params.n_parallel, params.n_ctx, params.n_gpu_layers, params.verbosity = 1, 512, 0, -1
        params.n_batch = params.n_ubatch = 512
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.warmup = False
        self._inner = xllamacpp.Server(params)
        self._server = LlamaServer(self._inner.listening_address)

    def ids(self, text: str) -> list[int]:
        """Its tokens of a text, [CLS] and [SEP] among them."""
        return self._server.post("/tokenize", content=text, add_special=True, parse_special=False)["tokens"]

    def vector(self, text: str | list[int], length: int) -> np.ndarray:
        """The first `length` numbers of what it pools: of a file that ranks these are the answers' scores."""
        reply = self._server.post("/embeddings", content=text)
        return np.array(reply[0]["embedding"], np.float64).ravel()[:length]
