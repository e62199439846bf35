"""Training from text: documents packed into rows without padding, and how fast to learn from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from lightbulb.models.form import Encoded
from lightbulb.train.data import Batch
from lightbulb.train.forward import device_of
from lightbulb.train.loop import WARM_UP, Forward, Schedule

HALFWAY = 0.5
AT_ONCE = 1000  # documents that are tokenized together


class Pretraining(Schedule):
    """As `Schedule`, whose examples are rows of packed documents.

    Attributes:
        decay: to zero after the warm-up, along a cosine or a line
        drop: the learning rate is this many times what it would be from halfway on: weights that are rounded to three
            levels want to move fast first, and then to settle (Zhu et al. 2024, section 4.2)
    """

    decay: Literal["cosine", "linear"] = "cosine"
    drop: float = Field(default=1.0, gt=0, le=1)

    def rate(self, step: int, planned: int) -> float:
        """The learning rate of a step, of a training planned with `planned` of them."""
        place = self._place(step, planned)
        share, warm = place / planned, max(1, round(WARM_UP * planned))
        fallen = 0.5 * (1 + math.cos(math.pi * share)) if self.decay == "cosine" else 1 - share
        return self.learning_rate * min(1.0, (place + 1) / warm) * fallen * (self.drop if share >= HALFWAY else 1.0)


def begin_of(tokenizer: PreTrainedTokenizerFast) -> int:
    """The token that stands before each document: the one that the tokenizer puts before a text by itself, else the one
    that ends a text."""
    first = tokenizer("x").input_ids[0]
    begin = first if first == tokenizer.bos_token_id else tokenizer.eos_token_id
    assert isinstance(begin, int)
    return begin


def packed(texts: Iterable[str], tokenizer: PreTrainedTokenizerFast, context: int) -> list[Encoded]:
    """Rows of `context` tokens, each of which predicts the next one: all documents, one behind the other, cut wherever
    a row is full. The last row may be shorter.

    Args:
        texts: the documents
        tokenizer: whose end-of-text token ends each of them
        context: tokens of a row
    """
    stream = list(_stream(texts, tokenizer))
    return [Encoded(stream[at : at + context + 1], 1) for at in range(0, len(stream) - 1, context)]


def _stream(texts: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> Iterator[int]:
    begin, end = begin_of(tokenizer), tokenizer.eos_token_id
    documents = list(texts)
    for at in range(0, len(documents), AT_ONCE):
        for ids in tokenizer(documents[at : at + AT_ONCE], add_special_tokens=False).input_ids:
            yield begin
            yield from ids
            if end != begin:
                yield end
    if end == begin:
        yield end


def positions_of(ids_BT: torch.Tensor, begin: int) -> torch.Tensor:
    """Where each token stands in its document, [B, T]: 0 at each `begin` and at the first of a row."""
    places = torch.arange(ids_BT.shape[1], device=ids_BT.device)
    return places - torch.where(ids_BT == begin, places, 0).cummax(1).values


def packed_forward(begin: int) -> Forward:
    """What gives the logits [P, V] at the targets of a batch of rows, whose documents see nothing of each other."""

    def forward(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        device = device_of(model)
        ids_BT = batch.ids.to(device)
        found = model.base_model(input_ids=ids_BT, position_ids=positions_of(ids_BT, begin), use_cache=False)
        h_PD = found.last_hidden_state[batch.rows.to(device), batch.columns.to(device)]
        return F.linear(h_PD, model.lm_head.weight)

    return forward
