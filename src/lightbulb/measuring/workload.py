"""What models are asked to do when they are measured, and how each kind of model is opened for it."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightbulb.core.artifact import RECORD, Artifact
from lightbulb.core.errors import GoalError, ModelError, UserError
from lightbulb.core.figures import Figure
from lightbulb.energy.meter import Meter
from lightbulb.formats.gguf.header import read_header
from lightbulb.measuring.protocol import Subject
from lightbulb.measuring.roofline import Roofline, measure_roofline
from lightbulb.models.resolve import ModelSource, local_folder, resolve
from lightbulb.runtimes import check_installed, open_gguf, runtime_class, runtime_of
from lightbulb.runtimes.endpoint import Endpoint, Streamed, is_url

if TYPE_CHECKING:
    from lightbulb.runtimes.base import Runtime
    from lightbulb.runtimes.exchange import Answers
    from lightbulb.tasks.task import Example, Task

PROMPTS = 16  # distinct batches; a task has up to EXAMPLES prompts
EXAMPLES = 64
MOST_IN_A_CALL, CALL_SECONDS = 512, 0.05  # of a runtime that is measured in bulk
TRIED = 16  # prompts whose time tells how many a call takes
SEES_NO_CPU = "an endpoint: the client does not see the processor behind it"
SEES_NO_JOULES = "an endpoint: no sensor that is read here covers its machine"


@dataclass(frozen=True)
class Workload:
    """What every model is asked to do.

    Attributes:
        task: whose test prompts are answered; None: prompts of `context` tokens
        batch: prompts side by side
        context: tokens of a prompt, without a task
        output_tokens: tokens of an answer, without a task
        threads: of the processor
        seed: decides the prompts
    """

    task: Task | None
    batch: int
    context: int
    output_tokens: int
    threads: int
    seed: int

    def examples(self) -> list[Example]:
        """A seeded sample of the task's test split, the same for every model."""
        assert self.task is not None
        return random.Random(self.seed).sample(self.task.test, min(EXAMPLES, len(self.task.test)))

    def batches(self, prompts: Sequence[Any]) -> list[list[Any]]:
        """`prompts` in batches that are all full; the first ones come again where the last would not be."""
        return batches_of(prompts, self.batch)


def batches_of(prompts: Sequence[Any], size: int) -> list[list[Any]]:
    """`prompts` in batches of `size` that are all full; the first ones come again where the last would not be."""
    count = -(-len(prompts) // size)
    endless = itertools.cycle(prompts)
    return [list(itertools.islice(endless, size)) for _ in range(count)]


def bulk_subject(name: str, runtime: Runtime, task: Task) -> Subject:
    """All test items of a task, many in a call: at most MOST_IN_A_CALL, and no more than take about
    CALL_SECONDS, so that a window holds many calls. Calls are alike in size.

    Args:
        name: for the samples
        runtime: with the model opened
        task: whose test split is answered
    """
    from lightbulb.models.form import turns_of
    from lightbulb.runtimes.answering import answer_prompts, longest_answer

    prompts, longest = [runtime.render(turns_of(example)) for example in task.test], longest_answer(task)

    def answer(batch: Sequence[str]) -> tuple[int, int]:
        answers = answer_prompts(runtime, task, batch, longest)
        return answers.prompt_tokens, answers.output_tokens

    answer(few := prompts[:TRIED])  # the first call draws what later ones do not
    begin = time.perf_counter()
    answer(few)
    fitting = CALL_SECONDS * len(few) / (time.perf_counter() - begin)
    most = max(1, min(MOST_IN_A_CALL, int(fitting)))
    size = math.ceil(len(prompts) / math.ceil(len(prompts) / most))
    return Subject(name, batches_of(prompts, size), answer, size)


@dataclass(frozen=True)
class MeasuredModel:
    """Something to measure.

    Attributes:
        model: as it was typed
        runtime: by name
        bytes: of its file
        opened: opens it anew and yields its subjects, named "read" and "write"
        unseen: why a cost cannot be seen, by cost
        notes: what a reader must know
        roofline: from the seconds of an output token, where the runtime counts what it does
    """

    model: str
    runtime: str
    bytes: int | None
    opened: Callable[[], AbstractContextManager[list[Subject]]]
    unseen: dict[str, str]
    notes: list[str]
    roofline: Callable[[Figure], Roofline] | None = None


def on_cpu(name: str, runtime: str | None) -> bool:
    """Whether `name` will be measured in a runtime that computes on the CPU alone."""
    if is_url(name):
        return False
    return runtime_class(_runtime(resolve(name), runtime)).capabilities.cpu_only


def usual_runtime(source: ModelSource) -> str:
    """By name, for a model that is here."""
    return "torch" if source.gguf is None else runtime_of(source.gguf)


def _runtime(source: ModelSource, asked: str | None) -> str:
    """The one asked for, unless only another runs that file."""
    if asked is None or source.gguf is None or runtime_class(asked).opens != "gguf":
        return asked or usual_runtime(source)
    return runtime_of(source.gguf, asked)


def measured_model(
    name: str, runtime: str | None, model_name: str | None, workload: Workload, meter: Meter, folder: Path
) -> MeasuredModel:
    """A model as something to measure.

    Args:
        name: as a user names it
        runtime: by name; None: the usual one
        model_name: which of an endpoint's models
        workload: what it is asked
        meter: that will read the windows, for what it can see of an endpoint
        folder: for the files of a model that must be converted first

    Raises:
        UserError: the runtime does not take it, or lacks what the work takes
        ModelError: the model cannot be read
    """
    if is_url(name):
        return _endpoint(name, model_name, workload, meter)
    source = resolve(name)
    opener = check_installed(_runtime(source, runtime))
    if opener.opens == "url":
        raise UserError(f"{opener.title} has an address", where=name, hint="http://localhost:8000/v1, for example")
    check_capable(opener, workload.task)
    if opener.opens == "folder":
        return _folder(name, source, opener, workload, folder)
    if source.gguf is None:
        raise UserError(
            f"{opener.title} runs GGUF files, and this is a model folder",
            where=name,
            hint="name the .gguf file of a run, or `runtime=torch`",
        )
    return _gguf(name, source.gguf, opener, runtime or usual_runtime(source), workload)


def check_capable(opener: type[Runtime], task: Task | None) -> None:
    """Refuses a runtime that lacks what the work takes.

    Raises:
        UserError: it does
    """
    bulk = opener.capabilities.bulk and task is not None and task.kind == "generate"
    if not bulk and (task is None or task.kind != "choose"):
        opener.require("sees_tokens", "writes_exactly")


def _gguf(name: str, gguf: Path, opener: type[Runtime], asked: str, workload: Workload) -> MeasuredModel:
    from lightbulb.runtimes.answering import longest_exchange

    room = workload.context + workload.output_tokens + 8
    if workload.task is not None:
        room = longest_exchange(workload.task, workload.examples())
    make = partial(open_gguf, gguf, asked, threads=workload.threads, slots=workload.batch, context=room)
    counted = None
    if opener.name == "filament" and workload.task is None:
        counted = partial(
            measure_roofline, gguf, workload.threads, workload.batch, workload.context + workload.output_tokens // 2
        )
    size = read_header(gguf).bytes
    return MeasuredModel(name, opener.name, size, partial(_open, make, workload), {}, opener.notes(), counted)


def _folder(name: str, source: ModelSource, opener: type[Runtime], workload: Workload, folder: Path) -> MeasuredModel:
    """A model folder, or a GGUF that is converted into one."""
    import torch

    if source.gguf is not None:
        from lightbulb.models.importing import import_model

        import_model(source, folder)
    else:
        folder = local_folder(source)
    torch.set_num_threads(workload.threads)
    if (folder / RECORD).exists():
        artifact = Artifact.read(folder)
    else:
        artifact = Artifact(path=folder, kind="model", key="", made_by="")
    make = partial(opener.open, artifact, threads=workload.threads, slots=workload.batch)
    return MeasuredModel(name, opener.name, artifact.bytes, partial(_open, make, workload), {}, opener.notes())


@contextmanager
def _open(make: Callable[[], Runtime], workload: Workload) -> Iterator[list[Subject]]:
    runtime = make()
    try:
        yield subjects(runtime, workload)
    finally:
        runtime.close()


def subjects(runtime: Runtime, workload: Workload) -> list[Subject]:
    """Gives "read", in which every answer has one token, and "write", in which the same prompts get their whole
    answers; only "read" where one token is a whole answer, and for documents, which are read. In bulk where the runtime
    is so cheap, unless the workload says how many prompts are answered side by side.

    Args:
        runtime: with the model opened
        workload: what it is asked

    Raises:
        GoalError: prompts and answers do not fit the model's context
    """
    from lightbulb.models.form import turns_of
    from lightbulb.runtimes.answering import longest_answer

    def subject(name: str, prompts: Sequence[Any], answer: Callable[[Any], Answers]) -> Subject:
        def counted(batch: Any) -> tuple[int, int]:
            answers = answer(batch)
            return answers.prompt_tokens, answers.output_tokens

        return Subject(name, workload.batches(prompts), counted, workload.batch)

    def exactly(tokens: int) -> Callable[[Any], Answers]:
        return lambda batch: runtime.write_exactly(batch, tokens)

    task = workload.task
    if task is None:
        if workload.context + workload.output_tokens > runtime.context_length:
            raise GoalError(
                f"this model was made for {runtime.context_length} tokens, fewer than {workload.context} read and "
                f"{workload.output_tokens} written",
                where="`context`",
                hint=f"`context={max(1, runtime.context_length - workload.output_tokens)}`",
            )
        ids = [tokens_of_context(runtime.tokenize, workload, n) for n in range(PROMPTS * workload.batch)]
        return [subject("read", ids, exactly(1)), subject("write", ids, exactly(workload.output_tokens))]
    if task.kind == "text":
        ids = [runtime.tokenize(e.completion)[: runtime.context_length - 1] for e in workload.examples()]
        return [subject("read", ids, exactly(1))]
    if runtime.capabilities.bulk and workload.batch == 1:
        return [bulk_subject("read", runtime, task)]
    texts = [runtime.render(turns_of(e)) for e in workload.examples()]
    if task.kind == "choose":
        return [subject("read", texts, lambda batch: runtime.answer(batch, task.answers))]
    longest = longest_answer(task)
    if not runtime.capabilities.sees_tokens:
        return [subject("read", texts, lambda batch: runtime.generate(batch, longest))]
    ids = [runtime.tokenize(text) for text in texts]
    return [subject("read", ids, exactly(1)), subject("write", texts, lambda batch: runtime.generate(batch, longest))]


def sample_text(workload: Workload, number: int, sentences: int) -> str:
    """Text that ships with the package: commands of the built-in task in an order of prompt `number`'s own."""
    from lightbulb.tasks.demo import spoken_calls

    draws = spoken_calls(random.Random(f"{workload.seed} {number}").randrange(2**32))
    return ". ".join(words for words, _ in itertools.islice(draws, sentences))


def tokens_of_context(tokenize: Callable[[str], list[int]], workload: Workload, number: int) -> list[int]:
    """Exactly `context` tokens of text."""
    sentences = workload.context // 8 + 4
    while len(ids := tokenize(sample_text(workload, number, sentences))) < workload.context:
        sentences *= 2
    return ids[: workload.context]


def _endpoint(url: str, model_name: str | None, workload: Workload, meter: Meter) -> MeasuredModel:
    from lightbulb.models.form import turns_of
    from lightbulb.runtimes.answering import longest_answer

    if model_name is None:
        raise ModelError("which of the endpoint's models?", where=url, hint="`model_name=NAME`")
    endpoint = Endpoint(url, model_name)
    turns: list[list[dict[str, str]]]
    if workload.task is not None:
        turns, longest = [turns_of(e) for e in workload.examples()], longest_answer(workload.task)
        if workload.task.kind == "text":
            raise UserError("an endpoint does not score documents", where=url, hint="leave `task` out")
    else:
        turns, longest = _turns_of_length(endpoint, workload), workload.output_tokens

    @contextmanager
    def opened() -> Iterator[list[Subject]]:
        yield [
            endpoint_subject(n, endpoint, workload.batches(turns), workload, t)
            for n, t in (("read", 1), ("write", longest))
        ]

    named = any(s.scope == "wall" for s in meter.sensors)  # the user's: it may stand anywhere
    covered = named or (endpoint.is_here and meter.sensors)
    unseen = {"cpu_seconds": SEES_NO_CPU} | ({} if covered else {c: SEES_NO_JOULES for c in ("joules", "net_joules")})
    notes = [
        "as the client sees it: wall time of whole requests, and the tokens that the server counts",
        "every prompt begins with words of its own, so that no cache of prompts is met",
        "answers may end before the length that was asked for; costs are per token that came",
    ]
    if named:
        notes.append("joules are those of the meter that you named: they count if the endpoint's machine is behind it")
    return MeasuredModel(f"{url} {model_name}", "endpoint", None, opened, unseen, notes)


def endpoint_subject(
    name: str,
    endpoint: Endpoint,
    batches: Sequence[Sequence[list[dict[str, str]]]],
    workload: Workload,
    max_tokens: int,
) -> Subject:
    """A batch is as many requests at once. Each prompt gets fresh first words, because servers keep what they read."""
    from concurrent.futures import ThreadPoolExecutor
    from secrets import token_hex

    def one(turns: list[dict[str, str]]) -> Streamed:
        first = {**turns[0], "content": f"{token_hex(4)}: {turns[0]['content']}"}
        return endpoint.ask([first, *turns[1:]], max_tokens)

    first_tokens: list[float] = []

    def answer(batch: Sequence[list[dict[str, str]]]) -> tuple[int, int]:
        with ThreadPoolExecutor(workload.batch) as pool:
            came = list(pool.map(one, batch))
        first_tokens.extend(c.seconds_to_first_token for c in came)
        return sum(c.prompt_tokens for c in came), sum(c.output_tokens for c in came)

    return Subject(name, batches, answer, workload.batch, first_tokens)


def _turns_of_length(endpoint: Endpoint, workload: Workload) -> list[list[dict[str, str]]]:
    """Prompts of about `work.context` tokens: one request tells how many tokens the server makes of a word."""
    words = sample_text(workload, 0, 32).split()
    tokens = endpoint.ask([{"role": "user", "content": " ".join(words)}], 1).prompt_tokens
    length = max(1, round(workload.context * len(words) / tokens))
    texts = (sample_text(workload, n, length // 4 + 4).split()[:length] for n in range(PROMPTS * workload.batch))
    return [[{"role": "user", "content": " ".join(text)}] for text in texts]
