"""How long this machine takes for the work of a run: real steps and real answers, some seconds of each, with whatever
else runs on it meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel

from lightbulb.artifact import Artifact
from lightbulb.models.anatomy import keep_layers, layers_of
from lightbulb.models.form import Encoded, shortened, turns_of
from lightbulb.models.loading import load_model, load_tokenizer
from lightbulb.passes.adapt import freeze
from lightbulb.passes.evaluate import SLOTS, longest_exchange
from lightbulb.runtimes import GgufRuntime, open_gguf
from lightbulb.runtimes.base import Measurable
from lightbulb.runtimes.torch import Torch
from lightbulb.search.times import STUDENT_ROWS, Times
from lightbulb.tasks.task import Task
from lightbulb.train.data import encode_split, epoch_order, in_order, micro_batches
from lightbulb.train.engine import Epochs, forward_of
from lightbulb.train.fit import plain_loss
from lightbulb.train.forward import deterministic, device_of, kept_memory, placed
from lightbulb.train.frozen import MOST_BYTES
from lightbulb.train.loop import Schedule, optimizer_of, take_step

SECONDS = 2.5  # of each kind of work, beside warming up
SAMPLE = 1024  # examples among which typical batches are found
ASKED = 64  # questions at most
STUDENT_DEPTHS = (1, 6)
FROZEN_SHARE = 0.5
LONGER = 1.3  # answers written side by side end one after the other: rounds / mean tokens of an answer


def time_work(
    framed: Artifact,
    gguf: Path,
    task: Task,
    *,
    batch_size: int,
    threads: int,
    runtime: GgufRuntime,
    output_tokens: float,
    pass_seconds: float,
) -> Times:
    """framed: the model in the task's form; gguf: its float16 file. output_tokens: of a typical answer."""
    data = encode_sample(framed, task)
    batch = typical_batch(data, batch_size)
    answer_ids = framed.facts.get("answer_ids")
    with deterministic(0, threads), kept_memory():
        model = placed(load_model(framed.path))
        layers = len(layers_of(model))
        full = step_seconds(model, data, batch, answer_ids)
        frozen_layers = round(FROZEN_SHARE * layers)
        read = reading_seconds(model, data) / len(data)
        freeze(model, frozen_layers, keep_head=task.kind == "choose")
        frozen = step_seconds(model, data, batch, answer_ids)
        kept = min(1.0, kept_share(model, data, len(task.train)))
        again = step_seconds(model, data, batch, answer_ids, Epochs(data, batch_size, 0)) if kept else frozen
        del model
        students = []
        for depth in sorted({min(depth, layers) for depth in STUDENT_DEPTHS}):
            students.append((depth, student_seconds(framed, data, batch, answer_ids, depth)))
        written = round(max(1.0, output_tokens))
        folder = folder_answer_seconds(framed, task, written)
    return Times(
        layers=layers,
        full_step=full,
        frozen_step=min(frozen, full),
        frozen_again=min(kept * again + (1 - kept) * frozen, frozen, full),
        frozen_layers=frozen_layers,
        student_steps=tuple(students),
        read_example=read,
        answer_folder=folder,
        answer_file=file_answer_seconds(gguf, task, written, threads, runtime),
        pass_seconds=pass_seconds,
    )


def encode_sample(framed: Artifact, task: Task) -> list[Encoded]:
    positions = load_model_positions(framed)
    return encode_split(task, "train", load_tokenizer(framed.path), framed.facts.get("answer_ids"), positions, SAMPLE)


def load_model_positions(framed: Artifact) -> int:
    from transformers import AutoConfig

    return int(AutoConfig.from_pretrained(framed.path, local_files_only=True).max_position_embeddings)


def typical_batch(data: Sequence[Encoded], batch_size: int) -> list[int]:
    """The batch whose tokens are nearest to the mean of all batches of an epoch."""
    batches = [b for b in epoch_order(data, batch_size, 0, 0) if len(b) == min(batch_size, len(data))]
    tokens = [sum(len(data[i].ids) for i in batch) for batch in batches]
    mean = sum(tokens) / len(tokens)
    return min(zip(batches, tokens, strict=True), key=lambda bt: abs(bt[1] - mean))[0]


def kept_share(model: PreTrainedModel, data: Sequence[Encoded], examples: int) -> float:
    """Of the states of frozen layers, the share that is kept from epoch to epoch."""
    tokens = sum(len(item.ids) - 1 for item in data) / len(data) * examples
    return MOST_BYTES / (tokens * model.config.hidden_size * 2)


def step_seconds(
    model: PreTrainedModel,
    data: Sequence[Encoded],
    batch: Sequence[int],
    answer_ids: list[int] | None,
    epochs: Epochs | None = None,
) -> float:
    """Of an optimizer step at learning rate 0. Where a whole batch takes long, a quarter of it and the optimizer.
    epochs: as a step of a later epoch, in which frozen layers are not computed again."""
    schedule = Schedule(epochs=1, learning_rate=1e-9, weight_decay=0)
    parameters, optimizer = optimizer_of(model, schedule)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    forward = forward_of(model, answer_ids, None, epochs)

    def step(examples: Sequence[int]) -> None:
        take_step(model, micro_batches(data, list(examples)), forward, plain_loss, optimizer, list(parameters.values()))
        synchronize(model)

    model.train()
    part = batch[:: min(4, len(batch))]
    quarter = seconds_of(lambda: step(part))  # allocates what all later ones use, too
    if quarter > SECONDS:
        quarter = seconds_of(lambda: step(part))
        alone = seconds_of(optimizer.step)
        seconds = alone + max(quarter - alone, 0.0) * len(batch) / len(part)
    else:
        seconds = mean_seconds(lambda: step(batch))
    model.eval()
    return seconds


def student_seconds(
    framed: Artifact, data: Sequence[Encoded], batch: Sequence[int], answer_ids: list[int] | None, layers: int
) -> float:
    """Of a step of the first `layers` layers on a vocabulary of STUDENT_ROWS: tokens above take others' places."""
    model = load_model(framed.path)
    keep_layers(model, list(range(layers)))
    rows = min(STUDENT_ROWS, model.config.vocab_size)
    model.resize_token_embeddings(rows)
    folded = [Encoded([i % rows for i in item.ids], item.first_target) for item in data]
    ids = None if answer_ids is None else sorted({i % rows for i in answer_ids})
    return step_seconds(placed(model), folded, batch, ids)


@torch.no_grad()
def reading_seconds(model: PreTrainedModel, data: Sequence[Encoded]) -> float:
    """Of reading all of `data`, from some seconds of it."""
    batches = in_order(data, 64)
    places = [len(batches) // 4, len(batches) // 2, 3 * len(batches) // 4]
    examples = [i for place in sorted(set(places)) for i in batches[place]]
    model.eval()
    forward = forward_of(model)
    tokens, begin = 0, time.perf_counter()
    for batch in micro_batches(data, examples):
        forward(model, batch)
        synchronize(model)
        tokens += batch.tokens
        if time.perf_counter() - begin > SECONDS:
            break
    return (time.perf_counter() - begin) * sum(len(item.ids) - 1 for item in data) / max(1, tokens)


def folder_answer_seconds(framed: Artifact, task: Task, written: int) -> float:
    """Seconds a question of the model folder in torch, answered with `written` tokens."""
    runtime = Torch(framed)
    try:
        examples = task.split("validation" if task.validation else "train", ASKED)
        if task.kind == "text":
            return text_seconds(runtime, task)
        prompts = [runtime.render(turns_of(e)) for e in examples]
        if task.kind == "choose":
            runtime.choose(prompts[:4], task.answers)
            return seconds_of(lambda: runtime.choose(prompts, task.answers)) / len(prompts)
        ids = fitting(runtime, prompts, written)
        runtime.write_exactly(ids[:4], 1)
        one, few = (seconds_of(lambda n=n: runtime.write_exactly(ids, n)) for n in (1, 4))  # type: ignore[misc]
        return (one + (few - one) / 3 * max(0.0, LONGER * written - 1)) / len(prompts)
    finally:
        runtime.close()


def file_answer_seconds(gguf: Path, task: Task, written: int, threads: int, runtime: GgufRuntime) -> float:
    """Seconds a test question of a GGUF, asked as `evaluate` asks."""
    slots = SLOTS if task.kind != "text" else 1
    examples = task.split("test", ASKED)
    opened = open_gguf(gguf, runtime, threads=threads, slots=slots, context=longest_exchange(task, examples))
    try:
        if task.kind == "text":
            return text_seconds(opened, task)
        prompts = [opened.render(turns_of(e)) for e in examples]
        written = min(written, opened.context_length // 2)
        ids = fitting(opened, prompts, written)

        def ask(chunk: slice) -> None:
            if task.kind == "choose":
                opened.choose(prompts[chunk], task.answers)
            else:
                opened.write_exactly(ids[chunk], written)

        ask(slice(0, slots))
        done, begin = 0, time.perf_counter()
        while done < len(prompts) and time.perf_counter() - begin < SECONDS:
            ask(slice(done, done + 2 * slots))
            done = min(len(prompts), done + 2 * slots)
        return (time.perf_counter() - begin) / done
    finally:
        opened.close()


def fitting(runtime: Measurable, prompts: Sequence[str], written: int) -> list[list[int]]:
    """Token ids of prompts that leave room for an answer: longer ones lose their beginning, as in training."""
    room = max(1, runtime.context_length - written - 1)
    return [shortened(runtime.tokenize(prompt), room, None) for prompt in prompts]


def text_seconds(runtime: Measurable, task: Task) -> float:
    """Seconds a test document, from the beginnings of some: they cost by the byte."""
    documents = [e.completion for e in task.split("test", ASKED)]
    mean_bytes = sum(len(d.encode()) for d in documents) / len(documents)
    read, begin = 0, time.perf_counter()
    for document in documents:
        beginning = document[:300]
        runtime.score_texts([beginning])
        read += len(beginning.encode())
        if time.perf_counter() - begin > SECONDS:
            break
    return (time.perf_counter() - begin) / max(1, read) * mean_bytes


def synchronize(model: PreTrainedModel) -> None:
    if device_of(model).type == "cuda":
        torch.cuda.synchronize()


def seconds_of(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def mean_seconds(work: Callable[[], object]) -> float:
    """The mean over SECONDS of repetitions: other work on the machine is part of what is asked."""
    count, begin = 0, time.perf_counter()
    while not count or time.perf_counter() - begin < SECONDS:
        work()
        count += 1
    return (time.perf_counter() - begin) / count
