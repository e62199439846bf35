"""What a training begins with: a tokenizer and random weights, in a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightbulb.core.errors import UserError
from lightbulb.core.facts import ImportFacts
from lightbulb.core.progress import Progress
from lightbulb.models.resolve import ModelSource, header_of, local_folder, resolve
from lightbulb.pretraining.goal import TrainingGoal
from lightbulb.pretraining.shape import spec_for
from lightbulb.tasks.task import Task

START_VERSION = 1
ROWS = 8  # the embedding has a multiple of so many


def tokenizer_source(goal: TrainingGoal) -> ModelSource | None:
    """Where the tokenizer comes from; None: from the text.

    Raises:
        ModelError: there is no such model
    """
    return None if goal.tokenizer is None else resolve(goal.tokenizer)


def write_start(task: Task, goal: TrainingGoal, source: ModelSource | None, out: Path, progress: Progress) -> Any:
    """Writes the folder `out`; the same task and goal give the same bytes.

    Args:
        task: with the text
        goal: what is asked for
        source: of the tokenizer; None: it is learned from the train split
        out: the folder
        progress: where it reports

    Returns:
        Facts of the model: an `ImportFacts` as a record.

    Raises:
        UserError: the tokenizer cannot be used
    """
    from lightbulb.models.loading import load_tokenizer, parameter_count, save_model

    out.mkdir(parents=True, exist_ok=True)
    with progress.bar("tokenizer and first weights", 2) as step:
        _write_tokenizer(task, goal, source, out)
        step(1, "tokenizer")
        tokenizer = load_tokenizer(out)
        if tokenizer.eos_token_id is None:
            raise UserError("this tokenizer names no token that ends a text", where="`tokenizer`", hint="use another")
        model = _random_model(goal, len(tokenizer), tokenizer)
        save_model(model, out)
        step(2, "written")
    spec = model.config
    return ImportFacts(
        name=goal.architecture,
        family=spec.model_type,
        parameters=parameter_count(model),
        layers=spec.num_hidden_layers,
        width=spec.hidden_size,
        vocabulary=spec.vocab_size,
        tied=True,
    ).record()


def _write_tokenizer(task: Task, goal: TrainingGoal, source: ModelSource | None, out: Path) -> None:
    from lightbulb.models.bpe import train_tokenizer
    from lightbulb.models.importing import write_gguf_tokenizer
    from lightbulb.models.loading import copy_tokenizer

    if source is None:
        train_tokenizer((e.completion for e in task.train), goal.vocabulary, out)
    elif source.gguf is not None:
        write_gguf_tokenizer(source.gguf, header_of(source), out)
    else:
        copy_tokenizer(local_folder(source), out)


def _random_model(goal: TrainingGoal, entries: int, tokenizer: Any) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from lightbulb.models.loading import full_config

    rows = -(-entries // ROWS) * ROWS
    spec = spec_for(goal.architecture, goal.shape(rows), rows, goal.context)
    values = full_config(spec)
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    for role in ("bos", "eos", "pad"):
        setattr(config, f"{role}_token_id", getattr(tokenizer, f"{role}_token_id"))
    torch.manual_seed(goal.seed)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)
