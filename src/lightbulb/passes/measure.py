"""measure: what an answer costs, for several exported files side by side in the runtime that ships."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.facts import CostFacts
from lightbulb.core.figures import Figure
from lightbulb.core.files import read_json, write_json
from lightbulb.energy.meter import Meter
from lightbulb.measuring.costs import Costs
from lightbulb.measuring.protocol import FEWEST_TRIALS, LONGEST_WINDOW, MOST_TRIALS, Sample, Subject, measure_blocks
from lightbulb.measuring.statistics import median_figure
from lightbulb.measuring.workload import bulk_subject
from lightbulb.models.form import turns_of
from lightbulb.passes.base import Context, Pass
from lightbulb.runtimes import open_gguf, runtime_class
from lightbulb.runtimes.answering import answer_prompts, longest_answer, longest_exchange
from lightbulb.runtimes.base import Runtime
from lightbulb.tasks.task import Task

PROMPTS = 64
FEWEST_PROMPTS = 2  # of a window: a long answer must not make it much longer, and each block has others
SOURCE = "student"  # role of the source
SERIES = "trials.json"


class Measure(Pass):
    """Measures what answers cost. The source and every input are GGUF files; the facts hold a table of figures for each
    role ("student" is the source). One prompt at a time: how a single user meets the model; all test items in bulk in a
    runtime that is so cheap.

    Measured as `lightbulb measure --against` does, in blocks of two trials that open all files anew. Writes
    trials.json: the series of each role, which ratios are made of.

    Attributes:
        trials: windows of each file
        window_seconds: at least so long is each
        threads: of the runtime
        runtime: that the files run in
    """

    name: ClassVar[str] = "measure"
    version: ClassVar[int] = 3
    facts_type: ClassVar = CostFacts
    reads: ClassVar[tuple[ArtifactKind, ...]] = ("gguf",)
    makes: ClassVar[ArtifactKind] = "figures"

    trials: int = Field(default=MOST_TRIALS, ge=FEWEST_TRIALS, multiple_of=2)
    window_seconds: float = Field(default=LONGEST_WINDOW, gt=0)
    threads: int = Field(default=1, ge=1)
    runtime: str = "llamacpp"

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        files = {SOURCE: source, **context.inputs}
        examples = random.Random(context.seed).sample(context.task.test, min(PROMPTS, len(context.task.test)))
        room, longest = longest_exchange(context.task, examples), _longest(context.task)

        together: dict[str, int] = {}  # prompts of a call, by role

        @contextmanager
        def opened() -> Iterator[list[Subject]]:
            with ExitStack() as stack:
                subjects = []
                for role, file in files.items():
                    runtime = open_gguf(file.gguf, self.runtime, threads=self.threads, context=room)
                    stack.callback(runtime.close)
                    subjects.append(subject(role, runtime, context.task, examples, longest))
                    together[role] = subjects[-1].batch
                yield subjects

        meter = Meter(gpus=not runtime_class(self.runtime).capabilities.cpu_only)
        try:
            with context.progress.bar("measure", self.trials) as advance:
                tables = measure_blocks(
                    opened,
                    meter,
                    trials=self.trials,
                    seed=context.seed,
                    fewest_prompts=FEWEST_PROMPTS,
                    window_seconds=self.window_seconds,
                    advance=advance,
                )
        finally:
            meter.close()
        samples = {role: [table[role] for table in tables] for role in files}
        costs = {role: Costs.of_answers(rows) for role, rows in samples.items()}
        write_json(out / SERIES, {role: c.as_dict() for role, c in costs.items()})
        windows = f"{self.trials} interleaved windows of at least {self.window_seconds:g} s"
        return {role: figures(costs[role], rows, windows, together[role]) for role, rows in samples.items()}


def costs_of(measured: Artifact) -> dict[str, Costs]:
    """The series that a Measure wrote, by role."""
    record: Mapping[str, Any] = read_json(measured.path / SERIES)
    return {role: Costs.from_dict(costs) for role, costs in record.items()}


def figures(costs: Costs, samples: Sequence[Sample], windows: str, together: int = 1) -> dict[str, Any]:
    """cpu_seconds_per_answer, seconds_per_answer, joules_per_answer and tokens_per_second (tokens read and written).

    Args:
        costs: of the file
        samples: of its windows
        windows: how they were measured, in words
        together: prompts of a call

    Returns:
        Figures, as a record.
    """
    windows += ", one prompt at a time" if together == 1 else f", {together} prompts in a call"
    found = costs.figures(windows)
    speeds = [(s.prompt_tokens + s.output_tokens) / s.reading.wall_seconds for s in samples]
    how = f"median of {windows}; tokens read and written"
    chosen: dict[str, Figure] = {
        **{name: found[name] for name in ("cpu_seconds_per_answer", "seconds_per_answer", "joules_per_answer")},
        "tokens_per_second": median_figure(speeds, "tokens/s", how, scope="process"),
    }
    return {name: figure.model_dump() for name, figure in chosen.items()}


def _longest(task: Task) -> int:
    return 0 if task.kind == "text" else longest_answer(task)


def subject(role: str, runtime: Runtime, task: Task, examples: Sequence[Any], longest: int) -> Subject:
    """Answers the prompts of `examples`, or in bulk all of the test split; for kind "text", reads the beginnings of
    documents."""
    if runtime.capabilities.bulk:
        return bulk_subject(role, runtime, task)
    if task.kind == "text":

        def read(text: str) -> tuple[int, int]:
            return sum(s.tokens for s in runtime.score_texts([text])), 0

        return Subject(role, [e.completion[:500] for e in examples], read)

    def answer(prompt: str) -> tuple[int, int]:
        answers = answer_prompts(runtime, task, [prompt], longest)
        return answers.prompt_tokens, answers.output_tokens

    return Subject(role, [runtime.render(turns_of(e)) for e in examples], answer)
