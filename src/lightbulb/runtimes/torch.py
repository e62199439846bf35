"""transformers on torch: for models that have not been exported yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from transformers import DynamicCache, PreTrainedModel

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import ModelError
from lightbulb.models.form import render
from lightbulb.models.loading import load_model, load_tokenizer
from lightbulb.runtimes.base import Answers, TextScore, windows
from lightbulb.train.forward import fast_math, to_best_device

BATCH = 256  # texts written side by side
WRITE_TOKENS = 16384  # padding included, of prompts answered side by side: their keys and values are kept
READ_TOKENS = 2048  # padding included, of prompts read side by side: more only takes memory, and that takes time


class Torch:
    """A model artifact run by transformers. `answer_ids` are those of the artifact ("choose" only)."""

    name: ClassVar[str] = "torch"

    def __init__(self, artifact: Artifact, model: PreTrainedModel | None = None):
        """model: of the artifact, where it is at hand."""
        self.path = artifact.path
        self.model: Any = to_best_device(model or load_model(artifact.path))
        self.tokenizer = load_tokenizer(artifact.path)
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.answer_ids = artifact.answer_ids

    def _batches(self, prompts: Sequence[str], tokens: int) -> list[list[int]]:
        """Indices by length, at most BATCH together and (padded) at most `tokens` tokens, if more than one."""
        lengths = [len(ids) for ids in self.tokenizer(list(prompts)).input_ids] if prompts else []
        batches: list[list[int]] = []
        for i in sorted(range(len(prompts)), key=lambda i: lengths[i]):
            if not batches or len(batches[-1]) == BATCH or (len(batches[-1]) + 1) * lengths[i] > tokens:
                batches.append([])
            batches[-1].append(i)
        return batches

    @torch.no_grad()
    def choose(self, prompts: Sequence[str], answers: Sequence[str]) -> Answers:
        if self.answer_ids is None:
            raise ModelError(
                "this model has no answer tokens", where=str(self.path), hint="run the pass `format-task` first"
            )
        ids = self._ids_of(answers, self.answer_ids)
        texts, read = [""] * len(prompts), 0
        for indices in self._batches(prompts, READ_TOKENS):
            inputs = self.tokenizer([prompts[i] for i in indices], return_tensors="pt", padding=True).to(
                self.model.device
            )
            with fast_math(self.model.device):
                logits_BV = self.model(**inputs, use_cache=False, logits_to_keep=1).logits[:, -1]
            for i, best in zip(indices, logits_BV[:, ids].argmax(-1).tolist(), strict=True):
                texts[i] = answers[best]
            read += int(inputs["attention_mask"].sum())
        return Answers(texts, read, len(prompts))

    def _ids_of(self, answers: Sequence[str], known: Sequence[int]) -> list[int]:
        """The token of each answer: the one that prints it."""
        printed = {self.tokenizer.decode([i], clean_up_tokenization_spaces=False): i for i in known}
        missing = [answer for answer in answers if answer not in printed]
        if missing:
            raise ModelError(
                f"this model has no token for the answer {missing[0]!r}",
                where=str(self.path),
                hint="run the pass `format-task` on this task",
            )
        return [printed[answer] for answer in answers]

    @torch.no_grad()
    def generate(self, prompts: Sequence[str], max_tokens: int) -> Answers:
        texts, read, written = [""] * len(prompts), 0, 0
        for indices in self._batches(prompts, WRITE_TOKENS):
            inputs = self.tokenizer([prompts[i] for i in indices], return_tensors="pt", padding=True)
            with fast_math(self.model.device):
                rows = self._greedy(inputs["input_ids"], inputs["attention_mask"], max_tokens)
            for i, row in zip(indices, rows, strict=True):
                texts[i] = str(self.tokenizer.decode(row[:-1] if row[-1] == self.tokenizer.eos_token_id else row))
                written += len(row)
            read += int(inputs["attention_mask"].sum())
        return Answers(texts, read, written)

    def _greedy(self, ids_BT: torch.Tensor, mask_BT: torch.Tensor, max_tokens: int) -> list[list[int]]:
        """The likeliest tokens of each row up to and with its end. Rows that have ended leave the batch as soon as half
        have: transformers' generate carries them to the end of the longest."""
        device, end = self.model.device, self.tokenizer.eos_token_id
        rows: list[list[int]] = [[] for _ in ids_BT]
        alive = torch.arange(len(rows))  # which row each place of the batch holds
        ids, mask, cache = ids_BT.to(device), mask_BT.to(device), DynamicCache(config=self.model.config)
        for _ in range(max_tokens):
            positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            logits_BV = self.model(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
            ).logits[:, -1]
            ids = logits_BV.argmax(-1, keepdim=True)
            running = []
            for place, (row, token) in enumerate(zip(alive.tolist(), ids[:, 0].tolist(), strict=True)):
                if not rows[row] or rows[row][-1] != end:
                    rows[row].append(token)
                if rows[row][-1] != end:
                    running.append(place)
            if not running:
                break
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            if 2 * len(running) <= len(alive):
                kept = torch.tensor(running)
                alive, ids, mask = alive[kept], ids[kept.to(device)], mask[kept.to(device)]
                cache.batch_select_indices(kept.to(device))
        return rows

    @property
    def context_length(self) -> int:
        return int(self.model.config.max_position_embeddings)

    def tokenize(self, text: str) -> list[int]:
        return list(self.tokenizer(text).input_ids)

    @torch.no_grad()
    def likeliest(self, prompt: list[int], among: Sequence[int] | None, asked: int) -> tuple[int, float]:
        logits_V = self.model(torch.tensor([prompt], device=self.model.device), use_cache=False).logits[0, -1].float()
        log_probs = logits_V.log_softmax(-1)
        best = max(among, key=lambda i: log_probs[i].item()) if among else int(log_probs.argmax())
        return best, log_probs[asked].item()

    @torch.no_grad()
    def write_exactly(self, prompts: Sequence[Sequence[int]], tokens: int) -> Answers:
        inputs = self.tokenizer.pad({"input_ids": [list(p) for p in prompts]}, return_tensors="pt")
        inputs = inputs.to(self.model.device)
        with fast_math(self.model.device):
            out_BT = self.model.generate(
                **inputs,
                min_new_tokens=tokens,
                max_new_tokens=tokens,
                do_sample=False,
                pad_token_id=self.tokenizer.pad_token_id,
            )
        texts = self.tokenizer.batch_decode(out_BT[:, inputs["input_ids"].shape[1] :])
        return Answers(texts, sum(len(p) for p in prompts), tokens * len(prompts))

    @torch.no_grad()
    def score_texts(self, texts: Sequence[str]) -> list[TextScore]:
        scores = []
        for text in texts:
            ids, nats = self.tokenize(text), 0.0
            for window in windows(ids, self.context_length):
                ids_1T = torch.tensor([window], device=self.model.device)
                logits_TV = self.model(ids_1T, use_cache=False).logits[0, :-1].float()
                nats += torch.nn.functional.cross_entropy(logits_TV, ids_1T[0, 1:], reduction="sum").item()
            scores.append(TextScore(nats, len(ids) - 1, len(text.encode())))
        return scores

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        return render(self.tokenizer, list(messages))

    def close(self) -> None:
        del self.model
