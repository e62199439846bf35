"""The tokens of a batch in one row without padding, and which of its rows ask what of which others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from lightbulb.train.data import Batch


@dataclass(frozen=True)
class Packed:
    """The tokens of a batch in a row.

    Attributes:
        ids: [N]
        position: [N], in their sequence
        slot: [N], in the padded [B * T]
        at: [P], the rows where something is predicted
        batch: B
        width: T
    """

    ids: torch.Tensor
    position: torch.Tensor
    slot: torch.Tensor
    at: torch.Tensor
    batch: int
    width: int

    @staticmethod
    def of(batch: Batch, device: torch.device) -> Packed:
        lengths = torch.tensor(batch.lengths)
        B, T = batch.ids.shape
        slot = (torch.arange(T) < lengths[:, None]).flatten().nonzero().flatten()
        start = lengths.cumsum(0) - lengths
        at = start[batch.rows] + batch.columns
        ids = batch.ids.flatten()[slot]
        return Packed(ids.to(device), (slot % T).to(device), slot.to(device), at.to(device), B, T)

    @cached_property
    def all(self) -> Queries:
        return Queries(self, None)

    @cached_property
    def predicting(self) -> Queries:
        return Queries(self, self.at)


class Queries:
    """Which rows ask in a block (None: all), where they stand in the padded [B, Tq], and what each may see."""

    def __init__(self, packed: Packed, rows: torch.Tensor | None):
        self.packed, self.rows, self.slot, self.width = packed, rows, packed.slot, packed.width
        if rows is not None:
            sequence = packed.slot[rows] // packed.width
            counts = torch.bincount(sequence, minlength=packed.batch)
            rank = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[sequence]
            self.width = int(counts.max())
            self.slot = sequence * self.width + rank
        self.full = len(self.slot) == packed.batch * self.width
        self.seen: dict[int | None, torch.Tensor] = {}

    def may_see(self, window: int | None) -> torch.Tensor:
        """Mask [1 or B, Tq, T]."""
        if window not in self.seen:
            keys = torch.arange(self.packed.width, device=self.slot.device)
            if self.rows is None:
                queries = keys[None, :]
            else:
                queries = torch.zeros(self.packed.batch * self.width, dtype=torch.long, device=self.slot.device)
                queries[self.slot] = self.packed.position[self.rows]
                queries = queries.view(self.packed.batch, self.width)
            distance = queries[:, :, None] - keys
            self.seen[window] = (distance >= 0) if window is None else (distance >= 0) & (distance < window)
        return self.seen[window]
