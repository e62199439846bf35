"""The verb train: from text to a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro import conf

from lightbulb.cli.options import Omittable, typed_command
from lightbulb.cli.output import show
from lightbulb.energy.processor import threads_held


@dataclass(frozen=True)
class Shape:
    """What is trained.

    Attributes:
        architecture: matmulfree (ternary weights, recurrent), hybrid (one layer of four with attention), or transformer
        size: about so many parameters, like 5m or 370m; of several, each is trained with each learning rate
        layers: how many, instead of what fits the size
        width: of what goes from layer to layer, likewise; a multiple of 256
        feed_forward: inner width, likewise
        context: tokens that are read at once
        vocabulary: entries of a tokenizer learned from the text
        tokenizer: a model whose tokenizer is used instead
    """

    architecture: Literal["matmulfree", "hybrid", "transformer"] = "matmulfree"
    size: tuple[str, ...] = ("5m",)
    layers: Omittable[int] = None
    width: Omittable[int] = None
    feed_forward: Omittable[int] = None
    context: int = 512
    vocabulary: int = 4096
    tokenizer: Omittable[str] = None


@dataclass(frozen=True)
class Budget:
    """How it is trained.

    Attributes:
        tokens: to read, like 2e6; the same ones again where there are fewer (default: 20 for each parameter)
        max_time: for the whole job, like 45m or 1h30m; of several trainings, for each
        max_joules: for the training
        learning_rate: at its highest (default: 4e-3, 1e-3 for a transformer); of several, each with each size
        batch_tokens: tokens of a step
        decay: of the learning rate
        drop: what the learning rate is multiplied with from halfway on (default: 0.5, 1 for a transformer)
        embedding: the type in the file of the embedding, which is the head as well, and of a transformer's layers
    """

    tokens: Omittable[float] = None
    max_time: str = "1h"
    max_joules: Omittable[float] = None
    learning_rate: Omittable[tuple[float, ...]] = None
    batch_tokens: int = 8192
    decay: Literal["cosine", "linear"] = "cosine"
    drop: Omittable[float] = None
    embedding: Literal["q8_0", "q6_k", "q4_k", "q4_0"] = "q8_0"


def train(
    text: conf.Positional[str],
    out: Omittable[Path] = None,
    test: Omittable[str] = None,
    completion: Omittable[str] = None,
    seed: int = 0,
    threads: Omittable[int] = None,
    json: bool = False,
    *,
    model: conf.OmitArgPrefixes[Shape],
    training: conf.OmitArgPrefixes[Budget],
) -> None:
    """Train a language model from text, from its first weights on. The same command again resumes.

    Args:
        text: a text file, a folder of text, a JSONL, CSV or Parquet file, or a datasets id
        out: the run folder (default: runs/TEXT-ARCHITECTURE)
        test: held-out text, when it is a file of its own
        completion: column with the text
        seed: decides everything that is random
        threads: processor threads (default: all that this process may use)
        json: one JSON object on stdout
        model: what is trained
        training: how, and for how long
    """
    from lightbulb import api
    from lightbulb.core.progress import waiting
    from lightbulb.pretraining.goal import TrainingGoal
    from lightbulb.pretraining.shape import parameters_of
    from lightbulb.pretraining.sweep import goals_of
    from lightbulb.report.sweep import render_sweep
    from lightbulb.report.trained import render_trained
    from lightbulb.shrinking.goal import seconds
    from lightbulb.train.together import processes, rank, threads_each

    shape, budget = dict(vars(model)), dict(vars(training))
    sizes, rates = [parameters_of(each) for each in shape.pop("size")], budget.pop("learning_rate") or ()
    goal = TrainingGoal(
        size=sizes[0],
        learning_rate=rates[0] if rates else None,
        max_seconds=seconds(budget.pop("max_time")),
        seed=seed,
        threads=threads_each(threads_held()) if threads is None else threads,
        **shape,
        **budget,
    )
    goal.check(processes())
    quiet = rank() > 0  # another process tells
    goals = goals_of(goal, sizes, rates)
    with waiting("reading the text", quiet):
        loaded = api.load_task(text, test=test, kind="text", completion=completion, seed=seed)
    folder = out or Path("runs") / f"{loaded.name}-{goal.architecture}"
    command = typed_command()
    if len(goals) > 1:
        records = api.sweep(loaded, goals, folder, command=command, quiet=quiet)
        if quiet:
            return
        rows = [each.model_dump(mode="json") for each in records]
        show({"trainings": rows}, json, lambda console: console.print(render_sweep(records)))
        return
    record = api.train(loaded, goal, folder, command=command, quiet=quiet)
    if quiet:
        return
    show(record.model_dump(mode="json"), json, lambda console: console.print(render_trained(record, folder)))
