"""transformers on torch: for models that have not been exported yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import torch
from transformers import PreTrainedModel

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import ModelError
from lightbulb.models.form import render
from lightbulb.models.loading import load_model, load_tokenizer
from lightbulb.runtimes.base import EVERYTHING, Capabilities, ModelForm, ModelInfo, Runtime, windows
from lightbulb.runtimes.decoding import Row, write_rows
from lightbulb.runtimes.exchange import PLAIN, Answers, NextToken, Options, TextScore, Tokens
from lightbulb.runtimes.grammar import Grammars
from lightbulb.runtimes.writing import Writing
from lightbulb.train.forward import best_device, fast_math, to_best_device

BATCH = 256  # texts written side by side
WRITE_TOKENS = 16384  # padding included, of prompts answered side by side: their keys and values are kept
READ_TOKENS = 2048  # padding included, of prompts read side by side: more only takes memory, and that takes time


class Torch(Runtime):
    """A model artifact run by transformers.

    Args:
        artifact: a model folder; its answer tokens ("choose" only) are those that `answer` knows
        model: of the artifact, where it is at hand

    Raises:
        ModelError: the folder cannot be loaded
    """

    name: ClassVar[str] = "torch"
    title: ClassVar[str] = "torch"
    opens: ClassVar[ModelForm] = "folder"
    capabilities: ClassVar[Capabilities] = replace(EVERYTHING, devices=("cpu", "cuda"))

    def __init__(self, artifact: Artifact, model: PreTrainedModel | None = None):
        """model: of the artifact, where it is at hand."""
        self.path = artifact.path
        self.model: Any = to_best_device(model or load_model(artifact.path))
        self.tokenizer = load_tokenizer(artifact.path)
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.answer_ids = artifact.answer_ids
        self.info = ModelInfo(
            name=str(artifact.path),
            architecture=self.model.config.model_type,
            vocabulary=self.model.config.vocab_size,
            context_length=self.context_length,
            bytes=artifact.bytes,
            answers=tuple(map(self._printed, self.answer_ids or ())),
        )

    @classmethod
    def open(cls, model: Artifact, *, threads: int = 2, slots: int = 1, context: int = 1024) -> Self:
        """Loads a model artifact.

        Args:
            model: the artifact
            threads: not used: torch's own, of the whole process
            slots: not used: it takes as many prompts side by side as fit
            context: not used: prompts may have any length
        """
        return cls(model)

    @classmethod
    def notes(cls) -> list[str]:
        if (device := best_device()).type != "cpu":
            return [f"torch computes on the GPU ({device}) in bfloat16; its memory is not in the peak"]
        return ["torch computes what the processor multiplies natively in bfloat16, the rest in float32"]

    def _batches(self, prompts: Sequence[str], tokens: int) -> list[list[int]]:
        """Indices by length, at most BATCH together and (padded) at most `tokens` tokens, if more than one."""
        lengths = [len(ids) for ids in self.tokenizer(list(prompts)).input_ids] if prompts else []
        batches: list[list[int]] = []
        for i in sorted(range(len(prompts)), key=lambda i: lengths[i]):
            if not batches or len(batches[-1]) == BATCH or (len(batches[-1]) + 1) * lengths[i] > tokens:
                batches.append([])
            batches[-1].append(i)
        return batches

    def answer(self, prompts: Sequence[str], answers: Sequence[str]) -> Answers:
        """As `Runtime.answer`.

        Raises:
            ModelError: the model has no answer tokens, or none for one of `answers`
        """
        scores, each = self._scored(prompts, answers)
        return Answers.counted([answers[i] for i in scores.argmax(axis=1)], each)

    def score_answers(self, prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        return self._scored(prompts, answers)[0]

    @torch.no_grad()
    def _scored(self, prompts: Sequence[str], answers: Sequence[str]) -> tuple[np.ndarray, list[Tokens]]:
        """Logits of the answers [prompts, answers], and the tokens of each prompt. Raises ModelError as `answer`
        does."""
        if self.answer_ids is None:
            raise ModelError(
                "this model has no answer tokens", where=str(self.path), hint="run the pass `format-task` first"
            )
        ids = self._ids_of(answers, self.answer_ids)
        scores, each = np.zeros((len(prompts), len(ids))), [Tokens(0, 1)] * len(prompts)
        for indices in self._batches(prompts, READ_TOKENS):
            inputs = self.tokenizer([prompts[i] for i in indices], return_tensors="pt", padding=True).to(
                self.model.device
            )
            with fast_math(self.model.device):
                logits_BV = self.model(**inputs, use_cache=False, logits_to_keep=1).logits[:, -1]
            scores[indices] = logits_BV[:, ids].float().cpu().numpy()
            for i, tokens in zip(indices, inputs["attention_mask"].sum(-1).tolist(), strict=True):
                each[i] = Tokens(tokens, 1)
        return scores, each

    def _ids_of(self, answers: Sequence[str], known: Sequence[int]) -> list[int]:
        """The token of each answer: the one that prints it."""
        printed = {self._printed(i): i for i in known}
        missing = [answer for answer in answers if answer not in printed]
        if missing:
            raise ModelError(
                f"this model has no token for the answer {missing[0]!r}",
                where=str(self.path),
                hint="run the pass `format-task` on this task",
            )
        return [printed[answer] for answer in answers]

    def _printed(self, token: int) -> str:
        return str(self.tokenizer.decode([token], clean_up_tokenization_spaces=False))

    def generate(self, prompts: Sequence[str], max_tokens: int, options: Options = PLAIN) -> Answers:
        texts, each = [""] * len(prompts), [Tokens(0, 0)] * len(prompts)
        for indices in self._batches(prompts, WRITE_TOKENS):
            inputs = self.tokenizer([prompts[i] for i in indices], return_tensors="pt", padding=True)
            writings = [self._writing(i, options) for i in indices]
            rows = [self._row(options, writing) for writing in writings]
            with fast_math(self.model.device):
                write_rows(self.model, inputs["input_ids"], inputs["attention_mask"], rows, max_tokens)
            read = inputs["attention_mask"].sum(-1).tolist()
            for i, row, writing, tokens in zip(indices, rows, writings, read, strict=True):
                texts[i] = writing.end() if writing else str(self.tokenizer.decode(row.text_tokens))
                each[i] = Tokens(tokens, len(row.tokens))
        return Answers.counted(texts, each)

    def _row(self, options: Options, writing: Writing | None) -> Row:
        grammar = None if options.schema is None else self._grammars.matcher("json-schema", options.schema)
        return Row(self.tokenizer.eos_token_id, options.sampling, grammar, writing)

    def _writing(self, number: int, options: Options) -> Writing | None:
        """Where the text of an answer is looked at while it is written; None where nobody looks."""
        if not options.stop and options.stream is None:
            return None
        return Writing(self.tokenizer.backend_tokenizer, number, options, skip_special=False)

    @cached_property
    def _grammars(self) -> Grammars:
        return Grammars(self.tokenizer.backend_tokenizer, self.model.config.vocab_size, self.tokenizer.eos_token_id)

    @property
    def context_length(self) -> int:
        return int(self.model.config.max_position_embeddings)

    def tokenize(self, text: str) -> list[int]:
        return list(self.tokenizer(text).input_ids)

    @torch.no_grad()
    def score_next(self, prompt: Sequence[int], among: Sequence[int] | None, asked: int) -> NextToken:
        ids_1T = torch.tensor([list(prompt)], device=self.model.device)
        log_probs = self.model(ids_1T, use_cache=False).logits[0, -1].float().log_softmax(-1)
        best = max(among, key=lambda i: log_probs[i].item()) if among else int(log_probs.argmax())
        return NextToken(best, log_probs[asked].item())

    @torch.no_grad()
    def write_exactly(self, prompts: Sequence[Sequence[int]], tokens: int) -> Answers:
        inputs = self.tokenizer.pad({"input_ids": [list(p) for p in prompts]}, return_tensors="pt")
        inputs = inputs.to(self.model.device)
        with fast_math(self.model.device):
            out_BT = self.model.generate(  # type: ignore[operator]
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
        self.__dict__.pop("model", None)
