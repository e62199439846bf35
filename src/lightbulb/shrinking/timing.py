"""How long this machine takes for the work of a run: real steps and real answers, some seconds of each, with whatever
else runs on it meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from lightbulb.core.artifact import Artifact
from lightbulb.models.families import keep_layers, layers_of
from lightbulb.models.form import Encoded, shortened, turns_of
from lightbulb.models.loading import load_model, load_tokenizer
from lightbulb.models.resolve import json_object
from lightbulb.models.spec_config import spec_of_config
from lightbulb.passes.adapt import freeze
from lightbulb.passes.evaluate import SLOTS
from lightbulb.passes.fit import plain_loss
from lightbulb.runtimes import open_gguf
from lightbulb.runtimes.answering import longest_exchange
from lightbulb.runtimes.base import Runtime
from lightbulb.runtimes.torch import Torch
from lightbulb.shrinking.times import STUDENT_ROWS, Times
from lightbulb.tasks.task import Task
from lightbulb.train.data import encode_split, epoch_order, in_order, micro_batches
from lightbulb.train.engine import Epochs, forward_of
from lightbulb.train.forward import deterministic, device_of, kept_memory, to_best_device
from lightbulb.train.frozen import MOST_BYTES
from lightbulb.train.loop import Schedule, optimizer_of, take_step

LONGEST, SHORTEST, SHARE = 2.5, 0.3, 1 / 240  # seconds of each kind of work: of the time that the job has
SAMPLE = 1024  # examples among which typical batches are found
ASKED = 64  # questions at most
STUDENT_DEPTHS = (1, 6)
FROZEN_SHARE = 0.6  # the most that a teacher freezes: what lies between is interpolated
LONGER = 1.3  # answers written side by side end one after the other: rounds / mean tokens of an answer


def time_work(
    formatted: Artifact,
    gguf: Path,
    task: Task,
    *,
    batch_size: int,
    threads: int,
    runtime: str,
    output_tokens: float,
    pass_seconds: float,
    max_seconds: float,
) -> Times:
    """Seconds of a job's parts, from real steps and answers.

    Args:
        formatted: the model in the task's form
        gguf: its float16 file
        output_tokens: of a typical answer
        max_seconds: the time that the whole job has
    """
    seconds = min(LONGEST, max(SHORTEST, SHARE * max_seconds))
    written = round(max(1.0, output_tokens))
    steps, answers = Steps(formatted, task, batch_size, seconds), AnswerTimes(task, written, seconds)
    with deterministic(0, threads), kept_memory():
        measured = steps.measured()
        folder = answers.of_folder(formatted)
    return Times(
        **measured, answer_folder=folder, answer_file=answers.of_file(gguf, threads, runtime), pass_seconds=pass_seconds
    )


@dataclass(frozen=True)
class Steps:
    """Optimizer steps on a batch of typical length.

    Attributes:
        seconds: of each kind of step, beside warming up
    """

    formatted: Artifact
    task: Task
    batch_size: int
    seconds: float

    def measured(self) -> dict[str, Any]:
        """What `Times` says of training and of reading."""
        model = to_best_device(load_model(self.formatted.path))
        layers = len(layers_of(model))
        frozen_layers = round(FROZEN_SHARE * layers)
        full, read = self.step(model, self.answer_ids), self.reading(model)
        freeze(model, frozen_layers, keep_head=self.task.kind == "choose")
        frozen = min(full, self.step(model, self.answer_ids))
        kept = self.kept_share(model.config.hidden_size)
        again = self.step(model, self.answer_ids, Epochs(self.data, self.batch_size, 0))
        del model
        depths = sorted({min(depth, layers) for depth in STUDENT_DEPTHS})
        return {
            "layers": layers,
            "full_step": full,
            "frozen_step": frozen,
            "frozen_again": min(kept * again + (1 - kept) * frozen, frozen),
            "frozen_layers": frozen_layers,
            "student_steps": tuple((depth, self.student(depth)) for depth in depths),
            "read_example": read,
        }

    @property
    def answer_ids(self) -> list[int] | None:
        return self.formatted.answer_ids

    @cached_property
    def data(self) -> list[Encoded]:
        positions = spec_of_config(json_object(self.formatted.path / "config.json")).context
        tokenizer = load_tokenizer(self.formatted.path)
        return encode_split(self.task, "train", tokenizer, self.answer_ids, positions, SAMPLE)

    @cached_property
    def batch(self) -> list[int]:
        """The batch whose tokens are nearest to the mean of all batches of an epoch."""
        size = min(self.batch_size, len(self.data))
        batches = [b for b in epoch_order(self.data, self.batch_size, 0, 0) if len(b) == size]
        tokens = [sum(len(self.data[i].ids) for i in batch) for batch in batches]
        mean = sum(tokens) / len(tokens)
        return min(zip(batches, tokens, strict=True), key=lambda bt: abs(bt[1] - mean))[0]

    def kept_share(self, width: int) -> float:
        """Of the states of frozen layers, the share that is kept from epoch to epoch."""
        tokens = sum(len(item.ids) - 1 for item in self.data) / len(self.data) * len(self.task.train)
        return min(1.0, MOST_BYTES / (tokens * width * 2))

    def step(
        self,
        model: PreTrainedModel,
        answer_ids: list[int] | None,
        epochs: Epochs | None = None,
        data: Sequence[Encoded] | None = None,
    ) -> float:
        """Seconds of an optimizer step at learning rate 0. Where a whole batch takes long, a quarter of it and the
        optimizer.

        Args:
            epochs: as a step of a later epoch, in which frozen layers are not computed again
        """
        parameters, optimizer = optimizer_of(model, Schedule(epochs=1, learning_rate=1e-9, weight_decay=0))
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        forward = forward_of(model, answer_ids, None, epochs)

        def step(examples: Sequence[int]) -> None:
            batches = micro_batches(data or self.data, list(examples))
            take_step(model, batches, forward, plain_loss, optimizer, list(parameters.values()))
            synchronize(model)

        model.train()
        batch, part = self.batch, self.batch[:: min(4, len(self.batch))]
        quarter = seconds_of(lambda: step(part))  # allocates what all later ones use, too
        if quarter > self.seconds:
            quarter = mean_seconds(lambda: step(part), self.seconds)
            alone = seconds_of(optimizer.step)
            seconds = alone + max(quarter - alone, 0.0) * len(batch) / len(part)
        else:
            seconds = mean_seconds(lambda: step(batch), self.seconds)
        model.eval()  # type: ignore[no-untyped-call]
        return seconds

    def student(self, layers: int) -> float:
        """Of a step of the first `layers` layers on a vocabulary of STUDENT_ROWS: tokens above take others' places."""
        model = load_model(self.formatted.path)
        keep_layers(model, list(range(layers)))
        rows = min(STUDENT_ROWS, model.config.vocab_size)
        model.resize_token_embeddings(rows)
        folded = [Encoded([i % rows for i in item.ids], item.first_target) for item in self.data]
        ids = None if self.answer_ids is None else sorted({i % rows for i in self.answer_ids})
        return self.step(to_best_device(model), ids, data=folded)

    @torch.no_grad()
    def reading(self, model: PreTrainedModel) -> float:
        """Of reading one example, the mean of batches of different lengths."""
        batches = in_order(self.data, 64)
        places = sorted({len(batches) // 4, len(batches) // 2, 3 * len(batches) // 4})
        forward, tokens, begin = forward_of(model.eval()), 0, time.perf_counter()  # type: ignore[no-untyped-call]
        for batch in micro_batches(self.data, [i for place in places for i in batches[place]]):
            forward(model, batch)
            synchronize(model)
            tokens += batch.tokens
            if time.perf_counter() - begin > self.seconds:
                break
        mean_tokens = sum(len(item.ids) - 1 for item in self.data) / len(self.data)
        return (time.perf_counter() - begin) / max(1, tokens) * mean_tokens


@dataclass(frozen=True)
class AnswerTimes:
    """Seconds a question, answered with `written` tokens.

    Attributes:
        seconds: of asking
    """

    task: Task
    written: int
    seconds: float

    def of_folder(self, formatted: Artifact) -> float:
        """Of a validation question, asked of the model folder in torch."""
        runtime, task = Torch(formatted), self.task
        try:
            if task.kind == "text":
                return self.of_text(runtime)
            examples = task.split("validation" if task.validation else "train", ASKED)
            prompts = [runtime.render(turns_of(e)) for e in examples]
            if task.kind == "choose":
                runtime.answer(prompts[:4], task.answers)
                return seconds_of(lambda: runtime.answer(prompts, task.answers)) / len(prompts)
            ids = fitting(runtime, prompts, self.written)
            runtime.write_exactly(ids[:4], 1)
            one, few = (seconds_of(lambda n=n: runtime.write_exactly(ids, n)) for n in (1, 4))  # type: ignore[misc]
            return (one + (few - one) / 3 * max(0.0, LONGER * self.written - 1)) / len(prompts)
        finally:
            runtime.close()

    def of_file(self, gguf: Path, threads: int, runtime: str) -> float:
        """Of a test question, asked of a GGUF as `evaluate` asks."""
        task, slots = self.task, SLOTS if self.task.kind != "text" else 1
        examples = task.split("test", ASKED)
        opened = open_gguf(gguf, runtime, threads=threads, slots=slots, context=longest_exchange(task, examples))
        try:
            if task.kind == "text":
                return self.of_text(opened)
            prompts = [opened.render(turns_of(e)) for e in examples]
            written = min(self.written, opened.context_length // 2)
            ids = fitting(opened, prompts, written)

            def ask(chunk: slice) -> None:
                if task.kind == "choose":
                    opened.answer(prompts[chunk], task.answers)
                else:
                    opened.write_exactly(ids[chunk], written)

            ask(slice(0, slots))
            done, begin = 0, time.perf_counter()
            while done < len(prompts) and time.perf_counter() - begin < self.seconds:
                ask(slice(done, done + 2 * slots))
                done = min(len(prompts), done + 2 * slots)
            return (time.perf_counter() - begin) / done
        finally:
            opened.close()

    def of_text(self, runtime: Runtime) -> float:
        """Of a test document, from the beginnings of some: they cost by the byte."""
        documents = [e.completion for e in self.task.split("test", ASKED)]
        mean_bytes = sum(len(d.encode()) for d in documents) / len(documents)
        read, begin = 0, time.perf_counter()
        for document in documents:
            runtime.score_texts([document[:300]])
            read += len(document[:300].encode())
            if time.perf_counter() - begin > self.seconds:
                break
        return (time.perf_counter() - begin) / max(1, read) * mean_bytes


def fitting(runtime: Runtime, prompts: Sequence[str], written: int) -> list[list[int]]:
    """Token ids of prompts that leave room for an answer: longer ones lose their beginning, as in training."""
    room = max(1, runtime.context_length - written - 1)
    return [shortened(runtime.tokenize(prompt), room, None) for prompt in prompts]


def synchronize(model: PreTrainedModel) -> None:
    if device_of(model).type == "cuda":
        torch.cuda.synchronize()


def seconds_of(stats: Callable[[], object]) -> float:
    begin = time.perf_counter()
    stats()
    return time.perf_counter() - begin


def mean_seconds(stats: Callable[[], object], seconds: float) -> float:
    """The mean over so many seconds of repetitions: other work on the machine is part of what is asked."""
    count, begin = 0, time.perf_counter()
    while not count or time.perf_counter() - begin < seconds:
        stats()
        count += 1
    return (time.perf_counter() - begin) / count
