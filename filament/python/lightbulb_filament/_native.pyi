from typing import Any

import numpy as np

class FilamentError(ValueError): ...

class Runtime:
    vocabulary: int
    context: int
    threads: int
    kernels: str
    weight_bytes: int
    def cost(self, context: int) -> tuple[int, int]: ...
    def metadata(self, key: str) -> Any: ...
    def logits(self, token_ids: list[int]) -> np.ndarray: ...
    def score(self, prompt: list[int], continuations: list[list[int]]) -> list[float]: ...

class Stream:
    def __init__(
        self,
        runtime: Runtime,
        prompt: list[int],
        room: int,
        temperature: float,
        top_p: float,
        min_p: float,
        seed: int,
        stop: list[int],
    ) -> None: ...
    def next(self, n: int) -> list[int]: ...

def open(path: str, threads: int, kernels: str | None = None) -> Runtime: ...
def available() -> list[str]: ...
