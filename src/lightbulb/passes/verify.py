"""verify: does the exported file, in the runtime that ships, say what the trained model says?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.errors import RunFailure
from lightbulb.core.facts import AgreementFacts
from lightbulb.models.form import render, turns_of
from lightbulb.models.loading import load_tokenizer
from lightbulb.models.phrases import phrases_of
from lightbulb.passes.base import Context, Pass
from lightbulb.runtimes import open_gguf
from lightbulb.runtimes.answering import longest_exchange
from lightbulb.tasks.task import Example, Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from lightbulb.runtimes.base import Runtime

# Beyond these the export is broken, not merely rounded: int8 activations move few answers, and by little
LEAST_AGREEMENT = 0.9
MOST_DIFFERENCE = 0.25  # nats, on average


class Verify(Pass):
    """Compares a GGUF with the model folder it was made from (input "model"), on prompts of the validation split.

    Facts: the share of prompts with the same rendered text and with the same token ids, the share of positions whose
    likeliest token is the same, and the mean and largest difference of that token's log-probability (nats).

    Attributes:
        prompts: how many are compared
        runtime: that the file runs in
    """

    name: ClassVar[str] = "verify"
    version: ClassVar[int] = 3
    facts_type: ClassVar = AgreementFacts
    reads: ClassVar[tuple[ArtifactKind, ...]] = ("gguf",)
    makes: ClassVar[ArtifactKind] = "figures"
    uses: ClassVar[tuple[ArtifactKind, ...]] = ("model",)
    needs: ClassVar[tuple[str, ...]] = ("sees_tokens", "scores_next")

    prompts: int = Field(default=64, ge=1)
    runtime: str = "llamacpp"

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        """As `Pass.apply`.

        Raises:
            RunFailure: the file does not say what the model says
        """
        task = context.task
        examples = task.split("validation" if task.validation else "train", self.prompts)
        model = context.inputs["model"]
        trained = Trained(model, context.live.read(model), task)
        room = longest_exchange(task, examples)
        shipped = open_gguf(source.gguf, self.runtime, threads=context.threads, context=room)
        rows = []
        with context.progress.bar("verify", len(examples)) as advance:
            for done, example in enumerate(examples, 1):
                rows.append(compare_outputs(trained, shipped, task, example, done))
                advance(done, "")
        shipped.close()
        facts = summary(rows)
        if facts["same_tokens"] < LEAST_AGREEMENT or moved(facts):
            raise RunFailure(
                f"the exported file does not agree with the trained model: {facts}",
                where=str(source.gguf),
                hint="a defect of the export: report it with the model's family and its tokenizer",
            )
        return facts


class Trained:
    """The model folder in float32, and what it finds likeliest after a prompt."""

    def __init__(self, artifact: Artifact, model: PreTrainedModel, task: Task):
        self.model, self.tokenizer = model, load_tokenizer(artifact.path)
        self.phrases = phrases_of(self.tokenizer)
        self.positions = self.model.config.max_position_embeddings - 1  # room for the token that is asked for
        self.candidates = artifact.answer_ids if task.kind == "choose" else None

    def written(self, example: Example) -> list[int]:
        """The tokens of its completion as the model writes them."""
        return self.phrases.shorten(self.tokenizer(example.completion, add_special_tokens=False).input_ids)

    @torch.no_grad()
    def likeliest(self, ids: list[int]) -> tuple[int, float]:
        """(token id, its log-probability), among the answers for a closed set."""
        log_probs = self.model(torch.tensor([ids]), use_cache=False).logits[0, -1].float().log_softmax(-1)
        best = max(self.candidates, key=lambda i: log_probs[i].item()) if self.candidates else int(log_probs.argmax())
        return best, log_probs[best].item()


@dataclass(frozen=True, slots=True)
class Read:
    """A prompt as text and as tokens, here and in the runtime that ships.

    Attributes:
        text: rendered by the model folder's template
        shipped_text: by the runtime's
        ids: of the folder's tokenizer
        shipped_ids: of the runtime's
    """

    text: str
    shipped_text: str
    ids: list[int]
    shipped_ids: list[int]


def read_alike(tokenizer: PreTrainedTokenizerFast, shipped: Runtime, task: Task, example: Example) -> Read:
    """One prompt (of a document, its beginning) in both."""
    if task.kind == "text":
        ours = theirs = example.completion[:200]
    else:
        ours, theirs = render(tokenizer, turns_of(example)), shipped.render(turns_of(example))
    return Read(ours, theirs, tokenizer(ours).input_ids, shipped.tokenize(theirs))


def compare_outputs(trained: Trained, shipped: Runtime, task: Task, example: Example, turn: int) -> dict[str, float]:
    """Compares what both say next.

    Args:
        trained: the model folder
        shipped: the file, opened
        task: whose answers they choose from
        example: the prompt
        turn: in a generated answer the likeliest token is asked for after so many of the reference's tokens (modulo
            their number), so that all places of an answer are seen, not only its start

    Returns:
        What `summary` adds up: whether texts, tokens and likeliest token agree (0 or 1), and the difference of the
            log-probabilities (nats).
    """
    read = read_alike(trained.tokenizer, shipped, task, example)
    answer = trained.written(example) if task.kind == "generate" else []
    room = min(trained.positions, shipped.context_length - 1)
    place = (read.ids + answer[: turn % (len(answer) + 1)])[-room:]
    best, log_prob = trained.likeliest(place)
    shipped_best, shipped_log_prob = shipped.score_next(place, trained.candidates, best)
    return {
        "same_text": read.text == read.shipped_text,
        "same_tokens": read.ids == read.shipped_ids,
        "same_choice": best == shipped_best,
        "difference": abs(log_prob - shipped_log_prob),
    }


def moved(facts: Mapping[str, float]) -> bool:
    """Whether another token is likeliest too often, and by too much for rounding."""
    return facts["same_choice"] < LEAST_AGREEMENT and facts["mean_log_prob_difference"] > MOST_DIFFERENCE


def summary(rows: list[dict[str, float]]) -> dict[str, float]:
    """Means over the prompts, and the largest difference."""
    shares = {name: sum(r[name] for r in rows) / len(rows) for name in ("same_text", "same_tokens", "same_choice")}
    differences = [r["difference"] for r in rows]
    return shares | {
        "prompts": len(rows),
        "mean_log_prob_difference": sum(differences) / len(differences),
        "max_log_prob_difference": max(differences),
    }
