"""One question to a model, and what the answer cost."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from lightbulb.core.errors import RunFailure, UserError
from lightbulb.core.figures import Figure
from lightbulb.runtimes import check_opens, check_threads
from lightbulb.runtimes.exchange import Options
from lightbulb.runtimes.grammar import parses, read_schema
from lightbulb.serving.finding import model_file, references_of
from lightbulb.serving.service import Question, Service
from lightbulb.shrinking.record import Reference

TEMPLATE_TOKENS = 256  # that a chat template may add to a question


@dataclass(frozen=True)
class Completion:
    """An answer and what it cost.

    Attributes:
        text: the answer
        unread: tokens of the question's beginning that the model had no room for
        prompt_tokens: read
        output_tokens: written
        cpu_seconds: of reading and writing
        joules: likewise
        file: which one answered
        references: what an answer of other files costs, where a run's folder was asked
        probability: of the answer, calibrated on validation, where the runtime tells it; None elsewhere
        likeliest: what that is the probability of, where it was too low and `text` says that no answer is given
    """

    text: str
    unread: int
    prompt_tokens: int
    output_tokens: int
    cpu_seconds: Figure
    joules: Figure
    file: Path
    references: list[Reference]
    probability: float | None = None
    likeliest: str | None = None


def ask(
    model: Path,
    prompt: str,
    *,
    max_tokens: int = 256,
    threads: int | None = None,
    runtime: str = "llamacpp",
    schema: Path | None = None,
    stop: Sequence[str] = (),
    system: str | None = None,
) -> Completion:
    """Asks the GGUF of a run folder (or any GGUF file) one question, by its own chat template.

    Args:
        model: a run folder or a .gguf file
        prompt: the question
        max_tokens: of the answer; a model that chooses among answers writes one
        threads: of the processor; all where it is None
        runtime: the name of one that opens GGUF files
        schema: a file with the JSON Schema that the answer follows
        stop: strings before which the answer ends
        system: the system message

    Raises:
        UserError: what is asked for cannot be done as asked
        RunFailure: the answer was cut before it followed the schema
    """
    file = model_file(model)
    if not prompt.strip():
        raise UserError("the question is empty", hint=f'lightbulb ask {shlex.quote(str(model))} "your question"')
    threads = (os.cpu_count() or 1) if threads is None else threads
    check_threads(threads)
    options = Options(stop=tuple(stop), schema=_schema(schema))
    check_opens(runtime, "gguf").require(*options.needs)
    turns = [{"role": "user", "content": prompt.strip()}]  # as prompts are learned
    if system is not None:
        turns.insert(0, {"role": "system", "content": system})
    context = sum(len(turn["content"].encode()) for turn in turns) + max_tokens + TEMPLATE_TOKENS
    with closing(Service(file, runtime=runtime, threads=threads, context=context)) as service:
        question = Question(tuple(turns), max_tokens=max_tokens, options=options)
        (made,) = service.answer([service.prepare(question)])
    if options.schema is not None and not stop and not parses(made.text):
        raise RunFailure(
            f"the answer was cut after {made.output_tokens:,} tokens, so it does not follow the schema",
            where="`max_tokens`",
            hint=f"`max_tokens={2 * max_tokens}`",
        )
    return Completion(
        without_blanks(made.text),
        made.unread,
        made.prompt_tokens,
        made.output_tokens,
        made.cpu_seconds,
        made.joules,
        file,
        references_of(model),
        made.probability,
        made.likeliest,
    )


def _schema(file: Path | None) -> str | None:
    try:
        return None if file is None else read_schema(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as e:
        raise UserError(f"the schema cannot be read: {e}", where=str(file)) from e


def without_blanks(answer: str) -> str:
    """An answer as it is shown: of several lines the first keeps its indentation."""
    lines = answer.strip("\r\n").rstrip()
    return lines if "\n" in lines else lines.strip()
