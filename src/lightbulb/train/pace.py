"""How long real optimizer steps take: of this model, on these data, here and now."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from lightbulb.models.form import Encoded
from lightbulb.train import loop
from lightbulb.train.data import epoch_order, micro_batches
from lightbulb.train.engine import Epochs, forward_of
from lightbulb.train.forward import deterministic, kept_memory


@dataclass(frozen=True, slots=True)
class Pace:
    """Wall seconds of training a token (padding does not count): `first` in the first epoch, in which frozen layers
    are computed, `again` in all others. step_seconds: median of a step of the first epoch. steps: timed in all."""

    first: float
    again: float
    step_seconds: float
    steps: int

    def seconds(self, tokens: float, epochs: float) -> float:
        """Of training for `epochs` on data of `tokens`."""
        return tokens * (min(epochs, 1.0) * self.first + max(0.0, epochs - 1.0) * self.again)


def pace_of(
    model: PreTrainedModel,
    data: Sequence[Encoded],
    schedule: loop.Schedule,
    loss_function: loop.LossFunction,
    *,
    answer_ids: list[int] | None = None,
    seed: int,
    threads: int,
    seconds: float,
) -> Pace:
    """Times steps for about `seconds`, after one that is not counted. `model` is trained a little: throw it away."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=schedule.learning_rate / 100, fused=True)
    order = epoch_order(data, schedule.batch_size, seed, 0)
    took: dict[bool, list[tuple[float, int]]] = {False: [], True: []}

    def step(examples: list[int]) -> tuple[float, int]:
        begin = time.perf_counter()
        batches = micro_batches(data, examples)
        loop._step(model, batches, forward, loss_function, optimizer, parameters)
        return time.perf_counter() - begin, sum(batch.tokens for batch in batches)

    with deterministic(seed, threads), kept_memory():
        forward = forward_of(model, answer_ids, epochs=Epochs(data, schedule.batch_size, seed))
        model.train()
        step(order[-1])
        for again in (False, True):
            begin = time.perf_counter()
            for examples in order[: len(took[False]) or len(order)]:
                took[again].append(step(examples))
                if time.perf_counter() - begin > seconds / 2:
                    break
        model.eval()
    first, second = (sum(s for s, _ in pairs) / sum(n for _, n in pairs) for pairs in took.values())
    return Pace(first, second, statistics.median(s for s, _ in took[False]), sum(map(len, took.values())))
