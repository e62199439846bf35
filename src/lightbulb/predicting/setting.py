"""How a model is run, as far as its cost depends on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RuntimeClass = Literal["eager", "vllm", "llama.cpp", "filament"]
RUNTIMES: tuple[RuntimeClass, ...] = ("eager", "vllm", "llama.cpp", "filament")
CHAT_SHARE = 0.4  # prompt tokens for each token written in chats (LMSYS-Chat-1M: 0.32 in one turn, arXiv:2309.11998)


@dataclass(frozen=True, slots=True)
class Setting:
    """How the model is run.

    Attributes:
        batch: sequences side by side
        context: tokens of each so far
        devices: that share the weights
        runtime: class of runtimes
        prompt_share: prompt tokens read for each token written, whose cost is charged to those written
    """

    batch: int = 1
    context: int = 512
    devices: int = 1
    runtime: RuntimeClass = "llama.cpp"
    prompt_share: float = 0.0


def usual_share(runtime: RuntimeClass, batch: int) -> float:
    """Prompt tokens that a server reads for each token that it writes: where many are served, some are always new."""
    return CHAT_SHARE if runtime == "vllm" and batch > 1 else 0.0
