"""Several answers written side by side by a transformers model, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import Cache, DynamicCache, PreTrainedModel

from lightbulb.models.cache import empty_cache
from lightbulb.models.families import OWN
from lightbulb.runtimes.exchange import GREEDY, Sampling
from lightbulb.runtimes.grammar import Matcher
from lightbulb.runtimes.writing import Writing


class Row:
    """One answer while it is written.

    Attributes:
        tokens: written so far, its end included
        end: the token that ends a turn
        writing: where its text is looked at meanwhile (stop strings, a listener)
        grammar: what it must follow
    """

    def __init__(
        self, end: int, sampling: Sampling = GREEDY, grammar: Matcher | None = None, writing: Writing | None = None
    ):
        self.tokens: list[int] = []
        self.ended = False
        self._end, self._sampling, self._grammar, self._writing = end, sampling, grammar, writing
        self._generator = torch.Generator().manual_seed(sampling.seed)

    @property
    def is_plain(self) -> bool:
        """Whether its next token is the likeliest of all."""
        return self._grammar is None and self._sampling.temperature <= 0

    def pick(self, logits_V: torch.Tensor) -> int:
        """The next token, from logits [V]. Of a row that has ended it does not matter which."""
        if not self.ended and self._grammar is not None:
            logits_V = logits_V.masked_fill(~allowed(self._grammar, len(logits_V)).to(logits_V.device), -torch.inf)
        return drawn(logits_V, self._sampling, self._generator)

    def add(self, token: int) -> None:
        """Ends the row at the end of the turn, or at a stop string."""
        if self.ended:
            return
        self.tokens.append(token)
        if self._grammar is not None:
            self._grammar.accept(token)
        self.ended = token == self._end or (self._writing is not None and not self._writing.add(token))

    @property
    def text_tokens(self) -> list[int]:
        """Without the end of the turn."""
        return self.tokens[:-1] if self.tokens and self.tokens[-1] == self._end else self.tokens


def allowed(grammar: Matcher, vocabulary: int) -> torch.Tensor:
    """bool [vocabulary]: what may come next."""
    bits = np.unpackbits(np.frombuffer(grammar.allowed(), dtype=np.uint8), bitorder="little")[:vocabulary]
    return torch.from_numpy(np.pad(bits, (0, vocabulary - len(bits))).astype(bool))


def drawn(logits_V: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """A token from logits [V] as `sampling` says: the likeliest, or one drawn among the likeliest that together hold
    top_p."""
    if sampling.temperature <= 0:
        return int(logits_V.argmax())
    p_V, order_V = (logits_V.float().cpu() / sampling.temperature).softmax(-1).sort(descending=True, stable=True)
    kept_V = p_V.cumsum(-1) - p_V < sampling.top_p
    return int(order_V[torch.multinomial(p_V * kept_V, 1, generator=generator)])


def _cache_of(model: Any) -> Cache:
    """An empty one. What layers of ours keep, no config of transformers says."""
    return empty_cache(model.spec) if model.config.model_type == OWN else DynamicCache(config=model.config)


@torch.no_grad()
def write_rows(
    model: PreTrainedModel, ids_BT: torch.Tensor, mask_BT: torch.Tensor, rows: Sequence[Row], max_tokens: int
) -> None:
    """Writes on each row up to and with its end. Rows that have ended leave the batch as soon as half have:
    transformers' generate carries them to the end of the longest.

    Args:
        model: a decoder
        ids_BT: token ids of the prompts, padded on the left
        mask_BT: 0 where they are padded
        rows: the answers, B of them; written on in place
        max_tokens: the most that an answer may have
    """
    device, plain = model.device, all(row.is_plain for row in rows)
    alive = list(range(len(rows)))  # which row each place of the batch holds
    ids, mask, cache = ids_BT.to(device), mask_BT.to(device), _cache_of(model)
    for _ in range(max_tokens):
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        logits_BV = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
        ).logits[:, -1]
        if plain:
            ids = logits_BV.argmax(-1, keepdim=True)
        else:
            picked = [rows[n].pick(logits_V) for n, logits_V in zip(alive, logits_BV, strict=True)]
            ids = torch.tensor(picked, device=device)[:, None]
        for n, token in zip(alive, ids[:, 0].tolist(), strict=True):
            rows[n].add(token)
        running = [place for place, n in enumerate(alive) if not rows[n].ended]
        if not running:
            break
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        if 2 * len(running) <= len(alive):
            kept = torch.tensor(running, device=device)
            alive, ids, mask = [alive[place] for place in running], ids[kept], mask[kept]
            cache.reorder_cache(kept)  # type: ignore[arg-type]  # recurrent layers know no batch_select_indices
