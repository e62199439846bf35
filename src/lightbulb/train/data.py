"""From a task to batches: encoded once, bucketed by length, in an order that only the seed and the epoch decide."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerFast

from lightbulb.models.form import Encoded, encode
from lightbulb.models.phrases import phrases_of
from lightbulb.tasks.task import SplitName, Task

MAX_LENGTH = 1024  # tokens of one training sequence
MICRO_TOKENS = 2048  # padded tokens that go through the model at once: more only takes memory, and that takes time
BUCKET = 32  # batches are cut from windows of this many batches, sorted by length: little padding, still mixed


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences side by side, and what is predicted in them: logits at (rows, columns) predict targets.

    Attributes:
        ids: tokens [B, T], right-padded
        rows: [P], of the target positions, flat over the batch
        columns: [P], likewise
        targets: tokens [P]
        examples: indices into the encoded data, B of them
        lengths: tokens of each without padding
    """

    ids: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    targets: torch.Tensor
    examples: list[int]
    lengths: list[int]

    @property
    def tokens(self) -> int:
        """The sum of the lengths."""
        return sum(self.lengths)


def encode_split(
    task: Task,
    split: SplitName,
    tokenizer: PreTrainedTokenizerFast,
    answer_ids: list[int] | None,
    context_length: int,
    limit: int | None = None,
) -> list[Encoded]:
    """Encodes the examples of a split.

    Args:
        task: with the split
        split: which
        tokenizer: the model's
        answer_ids: a token for each of task.answers ("choose" only)
        context_length: positions that the model knows; longer sequences are cut to it, and to MAX_LENGTH
        limit: how many examples; None: all

    Raises:
        ModelError: the template cannot render a prompt
    """
    max_length = min(MAX_LENGTH, context_length)
    phrases = phrases_of(tokenizer)
    return [encode(tokenizer, task, example, answer_ids, max_length, phrases) for example in task.split(split, limit)]


def within(data: Sequence[Encoded], tokens: int) -> list[Encoded]:
    """The first of the data, as many as have at most so many tokens together; at least one."""
    found, room = list(data[:1]), tokens - sum(len(item.ids) for item in data[:1])
    for item in data[1:]:
        room -= len(item.ids)
        if room < 0:
            break
        found.append(item)
    return found


def collate(data: Sequence[Encoded], examples: list[int]) -> Batch:
    """The batch of some of the data."""
    items = [data[i] for i in examples]
    width = max(len(item.ids) for item in items) - 1  # the last token of a sequence is only ever a target
    ids = torch.zeros(len(items), width, dtype=torch.long)
    rows: list[int] = []
    columns: list[int] = []
    targets: list[int] = []
    for r, item in enumerate(items):
        ids[r, : len(item.ids) - 1] = torch.tensor(item.ids[:-1])
        rows += [r] * len(item.targets)
        columns += range(item.first_target - 1, len(item.ids) - 1)
        targets += item.targets
    return Batch(
        ids,
        torch.tensor(rows),
        torch.tensor(columns),
        torch.tensor(targets),
        examples,
        [len(item.ids) - 1 for item in items],
    )


def pieces(data: Sequence[Encoded], examples: list[int]) -> list[list[int]]:
    """One batch cut into pieces of at most MICRO_TOKENS padded tokens (and at least one example)."""
    found: list[list[int]] = []
    for i in sorted(examples, key=lambda i: len(data[i].ids)):
        if not found or (len(found[-1]) + 1) * len(data[i].ids) > MICRO_TOKENS:
            found.append([])
        found[-1].append(i)
    return found


def micro_batches(data: Sequence[Encoded], examples: list[int]) -> list[Batch]:
    """The batches of `pieces`."""
    return [collate(data, piece) for piece in pieces(data, examples)]


def epoch_order(data: Sequence[Encoded], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Batches of example indices for one epoch: shuffled, then sorted by length inside windows, then shuffled again.

    Args:
        data: encoded examples
        batch_size: examples of a batch
        seed: of the training
        epoch: counted from 0
    """
    rng = random.Random(f"{seed}/{epoch}")
    order = list(range(len(data)))
    rng.shuffle(order)
    window = batch_size * BUCKET
    mixed = [
        i
        for start in range(0, len(order), window)
        for i in sorted(order[start : start + window], key=lambda i: len(data[i].ids))
    ]
    batches = [mixed[start : start + batch_size] for start in range(0, len(mixed), batch_size)]
    rng.shuffle(batches)
    return batches


def in_order(data: Sequence[Encoded], batch_size: int) -> list[list[int]]:
    """All examples once, by length: for reading, not for training."""
    order = sorted(range(len(data)), key=lambda i: len(data[i].ids))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
