"""evaluate: what a model scores on a split, answered in a runtime."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.facts import ScoreFacts
from lightbulb.core.figures import Figure
from lightbulb.core.files import read_json, write_json
from lightbulb.models.form import turns_of
from lightbulb.passes.abstaining import abstention_facts, sureness_of
from lightbulb.passes.base import Budget, Context, Pass
from lightbulb.runtimes import needed_for, open_gguf
from lightbulb.runtimes.answering import answer_prompts, longest_answer, longest_exchange
from lightbulb.runtimes.base import Runtime
from lightbulb.runtimes.exchange import TextScore
from lightbulb.tasks import metrics
from lightbulb.tasks.task import Example, SplitName, Task

SLOTS = 8
TOGETHER = {"model": 256, "gguf": 32}  # questions between two reports of progress: torch sorts these by length


class Evaluate(Pass):
    """Answers a split and scores it. With a budget, it stops where the time for the next questions is not there:
    `limit` is then what was answered.

    Of a file that leaves out answers all are scored, as if it gave them, and beside that what leaving out does, on
    these items and on questions that no answer fits.

    Writes predictions.json: the answers in order (for kind "text": [nats, tokens, bytes] of each document).

    Attributes:
        split: that is answered
        limit: how many of its examples; None: all
        runtime: for a GGUF; a model folder runs in torch
    """

    name: ClassVar[str] = "evaluate"
    version: ClassVar[int] = 7
    facts_type: ClassVar = ScoreFacts
    reads: ClassVar[tuple[ArtifactKind, ...]] = ("model", "gguf")
    makes: ClassVar[ArtifactKind] = "figures"

    split: SplitName = "test"
    limit: int | None = Field(default=None, ge=1)
    runtime: str = "llamacpp"

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        task = context.task
        places = task.spread(self.split)[: self.limit]
        every = task.split(self.split)
        chosen = [every[i] for i in places]
        slots = SLOTS if self.split == "test" and task.kind != "text" else 1  # one slot decides alike in every run
        outside = task.outside.split(self.split)[0] if task.outside else ()
        room = longest_exchange(task, [*chosen, *outside])
        runtime = self._opened(source, slots, room, context)
        try:
            with context.progress.bar(f"evaluate on {self.split}", len(chosen)) as advance:
                ask = partial(answer, runtime, task, together=TOGETHER[source.kind], budget=context.budget)
                replies = ask(chosen, advance)
                abstention = self._abstention(ask, runtime, task, chosen, replies)
        finally:
            runtime.close()
        answered = replies.predictions
        if context.budget and len(answered) < len(chosen):
            context.budget.shorten(limit=len(answered))
        in_order = sorted(range(len(answered)), key=places.__getitem__)
        predictions, examples = [answered[n] for n in in_order], [chosen[n] for n in in_order]
        write_json(out / "predictions.json", predictions)
        score = score_of(task, examples, predictions).model_dump()
        return {"score": score, "items": len(examples), **replies.tokens, **abstention}

    def _abstention(
        self, ask: Callable[..., Replies], runtime: Runtime, task: Task, chosen: Sequence[Example], replies: Replies
    ) -> dict[str, Any]:
        """The fact of that name, where the file leaves out answers."""
        threshold = runtime.info.abstention.threshold
        if threshold is None or replies.probabilities is None:
            return {}
        examples, share = task.outside.split(self.split) if task.outside else ((), 0.0)
        beside = ask(examples, lambda *_: None).probabilities or ()
        answered = chosen[: len(replies.predictions)]
        sure = sureness_of(answered, replies.predictions, replies.probabilities, beside, share)
        return {"abstention": abstention_facts(sure, threshold).model_dump(mode="json")}

    def _opened(self, source: Artifact, slots: int, room: int, context: Context) -> Runtime:
        if source.kind == "model":
            from lightbulb.runtimes.torch import Torch

            return Torch(source, context.live.read(source))
        return open_gguf(source.gguf, self.runtime, threads=context.threads, slots=slots, context=room)


def answer(
    runtime: Runtime,
    task: Task,
    examples: Sequence[Example],
    advance: Callable[[float, str], None],
    together: int,
    budget: Budget | None = None,
) -> Replies:
    """Answers examples of a task. A question that comes again is not asked again.

    Args:
        runtime: with the model opened
        task: whose kind decides how it is asked
        examples: what is asked
        advance: told how far it is: a share, and a line
        together: how many are asked at once
        budget: the time for it; the first `together` are answered in any case

    Returns:
        What it said, in order.

    Raises:
        UserError: the runtime cannot score documents and the task is of them
    """
    if task.kind == "text":
        runtime.require(*needed_for(task.kind))
    predictions: list[Any] = []
    known: dict[str, str] = {}
    sure: dict[str, float] = {}
    asked: list[str] = []
    tokens = {"num_prompts": 0, "prompt_tokens": 0, "output_tokens": 0}
    longest, begin = longest_answer(task), time.monotonic()
    trim = str.rstrip if any(e.completion[:1].isspace() for e in task.train) else str.strip  # indentation is an answer
    for start in range(0, len(examples), together):
        chunk = examples[start : start + together]
        if budget and start and budget.left() < (time.monotonic() - begin) / start * len(chunk):
            break
        if task.kind == "text":
            scores = runtime.score_texts([e.completion for e in chunk])
            predictions += [[s.nats, s.tokens, s.bytes] for s in scores]
            tokens["num_prompts"] += len(scores)
            tokens["prompt_tokens"] += sum(s.tokens for s in scores)
        else:
            prompts = [runtime.render(turns_of(e)) for e in chunk]
            if new := [p for p in dict.fromkeys(prompts) if p not in known]:
                answers = answer_prompts(runtime, task, new, longest)
                known.update(zip(new, (trim(text) for text in answers.texts), strict=True))
                sure.update(zip(new, answers.probabilities or (), strict=False))
                tokens["num_prompts"] += len(new)
                tokens["prompt_tokens"] += answers.prompt_tokens
                tokens["output_tokens"] += answers.output_tokens
            predictions += [known[p] for p in prompts]
            asked += prompts
        advance(start + len(chunk), "")
    return Replies(predictions, [sure[p] for p in asked] if known and len(sure) == len(known) else None, tokens)


class Replies(NamedTuple):
    """What a runtime says to examples of a task.

    Attributes:
        predictions: in the order of the examples
        probabilities: of each, where the runtime tells them
        tokens: how many questions were asked, and the tokens they took
    """

    predictions: list[Any]
    probabilities: list[float] | None
    tokens: dict[str, int]


def score_of(task: Task, examples: Sequence[Example], predictions: Sequence[Any]) -> Figure:
    """The task's metric with its interval."""
    return metrics.score(task.metric, scored(task, predictions), [e.completion for e in examples])


def scored(task: Task, predictions: Sequence[Any]) -> Sequence[Any]:
    """Predictions as the metrics take them."""
    return [TextScore(*p) for p in predictions] if task.kind == "text" else predictions


def predictions_of(artifact: Artifact) -> list[Any]:
    """What an `Evaluate` wrote: the answers in order."""
    return read_json(artifact.path / "predictions.json")


@dataclass(frozen=True)
class Answered:
    """What a file answered on some items of the test split.

    Attributes:
        examples: the items, in their order
        predictions: the answers to them
        score: the task's metric on them
    """

    examples: tuple[Example, ...]
    predictions: list[Any]
    score: Figure

    @property
    def references(self) -> list[str]:
        return [e.completion for e in self.examples]


def on_same_items(task: Task, evaluations: Mapping[str, Artifact]) -> dict[str, Answered]:
    """The answers to the test items that all of the evaluations have: where the time ended before some were done, the
    items of the shortest, which are among those of all others.

    Args:
        task: that they were asked
        evaluations: what `Evaluate` made of each file, by the file's role

    Returns:
        The answers by role.
    """
    items = {label: artifact.facts_as(ScoreFacts).items for label, artifact in evaluations.items()}
    fewest = min(items.values())
    spread = task.spread("test")
    wanted = set(spread[:fewest])
    examples = task.split("test", fewest)
    found = {}
    for label, artifact in evaluations.items():
        places = sorted(spread[: items[label]])
        predictions = [p for place, p in zip(places, predictions_of(artifact), strict=True) if place in wanted]
        found[label] = Answered(examples, predictions, score_of(task, examples, predictions))
    return found


def retention_of(task: Task, student: Answered, teacher: Answered) -> Figure:
    """Student score / teacher score on the same items, with a paired interval."""
    ours, theirs = (scored(task, a.predictions) for a in (student, teacher))
    return metrics.retention(task.metric, ours, theirs, student.references)


def right_of(task: Task, answered: Answered) -> list[bool]:
    """Whether each item was answered rightly: fully, for metrics between 0 and 1."""
    metric = "accuracy" if task.kind == "choose" or task.metric == metrics.MACRO_F1 else task.metric
    return [score >= 1 for score in metrics.item_scores(metric, answered.predictions, answered.references)]
