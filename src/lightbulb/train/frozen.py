"""What frozen blocks give for an example is the same in every epoch: computed once, and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from lightbulb.models.form import Encoded
from lightbulb.train.data import Batch, collate, epoch_order, pieces

MOST_BYTES = 2**30  # of kept states. A constant: what is kept decides bytes, so it must not hang on the machine


class Kept:
    """States [tokens, D] of examples, in the dtype of products.

    A product's last bits may depend on what else is in the batch, so an example is always computed in the company that
    the first epoch gives it: a training that was killed and resumed sees the same states as a straight one.

    Args:
        data: encoded examples
        batch_size: of the training
        seed: likewise
        width: D
        dtype: of products
    """

    def __init__(self, data: Sequence[Encoded], batch_size: int, seed: int, width: int, dtype: torch.dtype):
        self.data, self.dtype = data, dtype
        self.company: dict[int, list[int]] = {}
        self.states: dict[int, torch.Tensor] = {}
        room = MOST_BYTES
        for examples in epoch_order(data, batch_size, seed, 0):
            for group in pieces(data, examples):
                room -= sum(len(data[i].ids) - 1 for i in group) * width * dtype.itemsize
                if room >= 0:
                    self.company |= dict.fromkeys(group, group)

    def read(self, batch: Batch, compute: Callable[[Batch], torch.Tensor]) -> torch.Tensor:
        """States [N, D] of the tokens of `batch` in a row, float32; `compute` gives those of any batch."""
        for i in batch.examples:
            if i in self.company and i not in self.states:
                self.states |= self._computed(self.company[i], compute)
        others = [i for i in batch.examples if i not in self.company]
        found = self._computed(others, compute) if others else {}
        return torch.cat([self.states[i] if i in self.states else found[i] for i in batch.examples]).float()

    def _computed(self, examples: list[int], compute: Callable[[Batch], torch.Tensor]) -> dict[int, torch.Tensor]:
        batch = collate(self.data, examples)
        states = compute(batch).split(batch.lengths)
        return {i: torch.empty_like(s, dtype=self.dtype).copy_(s) for i, s in zip(examples, states, strict=True)}
