"""measure: what an answer costs, for several exported files side by side in the runtime that ships."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from lightbulb.artifact import Artifact, ArtifactKind
from lightbulb.energy.meter import Meter
from lightbulb.energy.protocol import Subject, Trials, measure_answers, summarise
from lightbulb.models.form import turns_of
from lightbulb.passes.base import Context, Pass
from lightbulb.passes.evaluate import ask, longest_answer, longest_exchange
from lightbulb.runtimes import GgufRuntime, open_gguf
from lightbulb.runtimes.base import Runtime
from lightbulb.store import write_json
from lightbulb.tasks.task import Task

PROMPTS = 64


class Measure(Pass):
    """The source and every input are GGUF files; the facts hold a table of figures for each role ("student" is the
    source). One prompt at a time, `threads` threads each: how a single user meets the model."""

    name: ClassVar[str] = "measure"
    version: ClassVar[int] = 2
    reads: ClassVar[tuple[ArtifactKind, ...]] = ("gguf",)
    makes: ClassVar[ArtifactKind] = "figures"

    trials: int = Field(default=5, ge=2)
    threads: int = Field(default=1, ge=1)
    runtime: GgufRuntime = "llamacpp"

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        files = {"student": source, **context.inputs}
        longest = longest_exchange(context.task, context.task.test)
        runtimes = {
            role: open_gguf(a.gguf, self.runtime, threads=self.threads, context=longest) for role, a in files.items()
        }
        subjects = [subject(role, runtime, context.task, context.seed) for role, runtime in runtimes.items()]
        with context.progress.bar("measure", self.trials * len(subjects)) as advance:
            meter = Meter(gpus=False)  # both runtimes compute on the CPU
            trials = measure_answers(subjects, meter, trials=self.trials, seed=context.seed, advance=advance)
            meter.close()
        for runtime in runtimes.values():
            runtime.close()
        write_json(out / "trials.json", {role: per_trial(t) for role, t in trials.items()})
        return {role: {name: f.model_dump() for name, f in summarise(t).items()} for role, t in trials.items()}


def per_trial(trials: Trials) -> dict[str, list[float] | None]:
    """What ratios are made of, trial by trial; None where joules were not measured."""
    joules = [f.value for f in trials.joules if f.value is not None]
    return {"cpu_seconds": trials.cpu_seconds, "joules": joules if len(joules) == len(trials.joules) else None}


def subject(role: str, runtime: Runtime, task: Task, seed: int) -> Subject:
    """The same seeded sample of test prompts for every file; for kind "text", documents to read."""
    examples = random.Random(seed).sample(task.test, min(PROMPTS, len(task.test)))
    if task.kind == "text":

        def read(text: str) -> tuple[int, int]:
            return sum(s.tokens for s in runtime.score_texts([text])), 0

        return Subject(role, [e.completion[:500] for e in examples], read)

    longest = longest_answer(task)

    def answer(prompt: str) -> tuple[int, int]:
        answers = ask(runtime, task, [prompt], longest)
        return answers.prompt_tokens, answers.output_tokens

    return Subject(role, [runtime.render(turns_of(e)) for e in examples], answer)
