"""transformers on torch: for models that have not been exported yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from lightbulb.artifact import Artifact
from lightbulb.errors import ModelError
from lightbulb.models.form import render
from lightbulb.models.loading import load_model, load_tokenizer
from lightbulb.runtimes.base import Answers, TextScore
from lightbulb.train.forward import fast_math, placed

BATCH = 64


class Torch:
    """A model artifact run by transformers. `answer_ids` are those of the artifact ("choose" only)."""

    name: ClassVar[str] = "torch"

    def __init__(self, artifact: Artifact):
        self.path = artifact.path
        self.model = placed(load_model(artifact.path)).eval()
        self.tokenizer = load_tokenizer(artifact.path)
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.answer_ids: list[int] | None = artifact.facts.get("answer_ids")

    def _batches(self, prompts: Sequence[str]) -> list[list[int]]:
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        return [order[start : start + BATCH] for start in range(0, len(order), BATCH)]

    @torch.no_grad()
    def choose(self, prompts: Sequence[str], answers: Sequence[str]) -> Answers:
        if self.answer_ids is None:
            raise ModelError("this model has no answer tokens", where=str(self.path), mend="run the pass `frame` first")
        ids = self._ids_of(answers, self.answer_ids)
        texts, read = [""] * len(prompts), 0
        for indices in self._batches(prompts):
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
                mend="run the pass `frame` on this task",
            )
        return [printed[answer] for answer in answers]

    @torch.no_grad()
    def generate(self, prompts: Sequence[str], max_tokens: int) -> Answers:
        texts, read, written = [""] * len(prompts), 0, 0
        for indices in self._batches(prompts):
            inputs = self.tokenizer([prompts[i] for i in indices], return_tensors="pt", padding=True).to(
                self.model.device
            )
            with fast_math(self.model.device):
                out_BT = self.model.generate(
                    **inputs,
                    max_new_tokens=max_tokens,
                    do_sample=False,
                    pad_token_id=self.tokenizer.pad_token_id,
                    eos_token_id=self.tokenizer.eos_token_id,
                )
            for i, row in zip(indices, out_BT[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
                end = row.index(self.tokenizer.eos_token_id) if self.tokenizer.eos_token_id in row else len(row)
                texts[i] = str(self.tokenizer.decode(row[:end]))
                written += min(end + 1, len(row))
            read += int(inputs["attention_mask"].sum())
        return Answers(texts, read, written)

    @torch.no_grad()
    def score_texts(self, texts: Sequence[str]) -> list[TextScore]:
        scores = []
        for text in texts:
            ids = self.tokenizer(text, return_tensors="pt").input_ids.to(self.model.device)
            logits = self.model(ids, use_cache=False).logits[0, :-1].float()
            nats = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").item()
            scores.append(TextScore(nats, ids.shape[1] - 1, len(text.encode())))
        return scores

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        return render(self.tokenizer, list(messages))

    def close(self) -> None:
        del self.model
