"""The other side of a benchmark's process: a runtime that reads and writes as it is told, and times itself."""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

LONGEST = 4096
PART = 8  # tokens


class Engine(Protocol):
    def read(self, prompt: list[int]) -> None: ...
    def write(self, tokens: int) -> list[int]: ...


class Ours:
    def __init__(self, path: str, threads: int, longest: int = LONGEST):
        import lightbulb_filament

        self.model, self.threads = lightbulb_filament.Model(path, threads=threads), threads
        self.longest = longest
        self.written: Iterator[int] = iter(())
        self.fastest = 0.0  # seconds a token of the fastest PART tokens of what was written last

    def read(self, prompt: list[int]) -> None:
        self.written = self.model.stream(prompt, self.longest - len(prompt), stop=[])
        next(self.written)

    def write(self, tokens: int) -> list[int]:
        written, ends = [], [time.perf_counter()]
        for _ in range(tokens // PART):
            written += [next(self.written) for _ in range(PART)]
            ends.append(time.perf_counter())
        self.fastest = min(after - before for before, after in pairwise(ends)) / PART
        return written

    def least(self, context: int) -> float:
        """Seconds that a token after `context` others takes at the roofline, which is tried now: what memory gives
        changes with what other machines on the host do."""
        import lightbulb_filament

        count, operations = self.model.cost(context)
        reading, multiplying = lightbulb_filament.probe(count, self.threads)
        return max(count / reading, operations / multiplying)


class Wheel:
    """xllamacpp's server, called in this process. Its cache of the prompt is used to write without reading again: a
    request reads one token anew, so that it takes as many steps as it writes tokens."""

    def __init__(self, path: str, threads: int, longest: int = LONGEST):
        from lightbulb.runtimes.llamacpp import LlamaCpp

        self.runtime = LlamaCpp(Path(path), threads=threads, context=longest)
        self.prompt: list[int] = []

    def read(self, prompt: list[int]) -> None:
        self.prompt = prompt
        self._ask(1)

    def write(self, tokens: int) -> list[int]:
        self._ask(tokens)
        return []

    def _ask(self, tokens: int) -> None:
        request = {"prompt": self.prompt, "max_tokens": tokens, "ignore_eos": True, "cache_prompt": True}
        assert self.runtime._complete(request)["usage"]["completion_tokens"] == tokens


class Native:
    """llama.cpp as llama-cpp-python compiled it here, by its C interface: no server, no sampler but the likeliest."""

    def __init__(self, path: str, threads: int, longest: int = LONGEST):
        import llama_cpp
        import numpy as np

        self.c, self.np = llama_cpp, np
        self.llama = llama_cpp.Llama(
            path, n_threads=threads, n_threads_batch=threads, n_ctx=longest, n_batch=512, verbose=False
        )
        self.context, self.vocabulary = self.llama.ctx, self.llama.n_vocab()
        self.next = 0

    def _decode(self, tokens: list[int]) -> None:
        array = (self.c.llama_token * len(tokens))(*tokens)
        assert self.c.llama_decode(self.context, self.c.llama_batch_get_one(array, len(tokens))) == 0
        logits = self.c.llama_get_logits_ith(self.context, -1)
        self.next = int(self.np.ctypeslib.as_array(logits, (self.vocabulary,)).argmax())

    def read(self, prompt: list[int]) -> None:
        self.c.llama_memory_clear(self.c.llama_get_memory(self.context), True)
        for start in range(0, len(prompt), 512):
            self._decode(prompt[start : start + 512])

    def write(self, tokens: int) -> list[int]:
        written = []
        for _ in range(tokens):
            written.append(self.next)
            self._decode([self.next])
        return written


ENGINES: dict[str, Any] = {"filament": Ours, "xllamacpp": Wheel, "native": Native}


def work(runtime: str, path: str, threads: str) -> int:
    """Answers lines of [tokens to read, tokens to write] with what a token took of each."""
    from lightbulb.energy.meter import Meter

    engine: Engine = ENGINES[runtime](path, int(threads))
    meter, rng = Meter(threads=int(threads)), random.Random(0)
    for asked in sys.stdin:
        read, write = json.loads(asked)
        prompt = [rng.randrange(300, 8000) for _ in range(read)]
        took: dict[str, Any] = {}
        with timed(meter, took, "read", read):
            engine.read(prompt)
        if write:
            with timed(meter, took, "write", write):
                engine.write(write)
            if isinstance(engine, Ours):
                took["write"] |= {"least": engine.least(read + write // 2), "fastest": engine.fastest}
        print(json.dumps(took), flush=True)
    meter.close()
    return 0


@contextmanager
def timed(meter: Any, took: dict[str, Any], what: str, tokens: int) -> Iterator[None]:
    with meter.window(what) as window:
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    joules = window.reading.joules
    ends = [joules.value, joules.low, joules.high]
    each = None if None in ends else [x / tokens for x in ends if x is not None]
    took[what] = {"cpu": cpu / tokens, "wall": wall / tokens, "joules": each}
