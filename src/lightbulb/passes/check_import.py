"""check-import: does the untrained model, exported, read and say in the runtime that ships what its folder does?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.errors import ModelError
from lightbulb.core.facts import ImportCheckFacts
from lightbulb.passes.base import Context, Pass
from lightbulb.passes.export import task_metadata
from lightbulb.passes.verify import MOST_DIFFERENCE, Trained, compare_outputs, moved, read_alike, summary
from lightbulb.runtimes import open_gguf, title_of
from lightbulb.runtimes.answering import longest_exchange

if TYPE_CHECKING:
    from lightbulb.runtimes.base import Runtime
    from lightbulb.tasks.task import Example, Task

LEAST_ALIKE = 0.97  # of the prompts: a rare odd one is said, more would make the runtime another model
SHOWN = 8  # tokens of each list that an error shows


class CheckImport(Pass):
    """Compares the formatted model with its file (input "gguf"; else it is exported as f16 for the time of the check),
    before anything is trained. Facts: those of `verify`, and findings.

    Attributes:
        prompts: of the train split, whose rendered text and tokens are compared
        answered: of these, how many are also read by the model, to compare its likeliest next token
        runtime: that the file must work in
    """

    name: ClassVar[str] = "check-import"
    facts_type: ClassVar = ImportCheckFacts
    makes: ClassVar[ArtifactKind] = "figures"
    may_use: ClassVar[tuple[ArtifactKind, ...]] = ("gguf",)
    needs: ClassVar[tuple[str, ...]] = ("sees_tokens", "scores_next")

    prompts: int = Field(default=256, ge=1)
    answered: int = Field(default=8, ge=1)
    runtime: str = "llamacpp"

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        """As `Pass.apply`.

        Raises:
            ModelError: the two do not agree: an hour of training would end in the same place
        """
        from lightbulb.models.gguf import write_gguf

        task = context.task
        examples = task.split("train", self.prompts)
        given, made = context.inputs.get("gguf"), out / "untrained.gguf"
        with context.progress.bar("check of the import", 3) as advance:
            try:
                if given is None:
                    write_gguf(source.path, made, "f16", metadata=task_metadata(task, source))
                advance(1, "exported")
                room = longest_exchange(task, examples)
                shipped = open_gguf(given.gguf if given else made, self.runtime, threads=context.threads, context=room)
                try:
                    trained = Trained(source, context.live.read(source), task)
                    different = self._reads_alike(trained, shipped, task, examples, source)
                    advance(2, "read")
                    rows = [
                        compare_outputs(trained, shipped, task, e, n)
                        for n, e in enumerate(examples[: self.answered], 1)
                    ]
                finally:
                    shipped.close()
            finally:
                made.unlink(missing_ok=True)
            advance(3, "answered")
        facts: dict[str, Any] = summary(rows)
        if moved(facts):
            raise ModelError(
                f"{title_of(self.runtime)} does not compute what transformers computes from this model: over "
                f"{len(rows)} prompts the same token is likeliest in {facts['same_choice']:.0%}, and its "
                f"log-probability is {facts['mean_log_prob_difference']:.2g} off (at most {MOST_DIFFERENCE:g})",
                where=str(source.path),
                hint="start from another model of the family, and report this one: the export does not know it",
            )
        share = 1 - different / len(examples)
        findings = [f"{different} of {len(examples)} prompts are cut into other tokens there"] if different else []
        return facts | {"same_tokens": share, "read": len(examples), "findings": findings}

    def _reads_alike(
        self, trained: Trained, shipped: Runtime, task: Task, examples: Sequence[Example], source: Artifact
    ) -> int:
        """How many of the prompts become other tokens in the runtime. Raises ModelError where these are many."""
        pairs = [read_alike(trained.tokenizer, shipped, task, example) for example in examples]
        different = [pair for pair in pairs if pair.ids != pair.shipped_ids]
        if len(different) <= (1 - LEAST_ALIKE) * len(pairs):
            return len(different)
        pair, title = different[0], title_of(self.runtime)
        if pair.text != pair.shipped_text:
            at = max(0, _first_difference(pair.text, pair.shipped_text) - 10)
            raise ModelError(
                f"{title} renders {len(different)} of {len(pairs)} prompts into another text than transformers does: "
                f"{pair.shipped_text[at : at + 60]!r} there, {pair.text[at : at + 60]!r} here",
                where=f"{source.path}, chat template",
                hint="give the task as columns prompt and completion, or the model a chat_template that hangs on the "
                "conversation alone",
            )
        at = _first_difference(pair.ids, pair.shipped_ids)

        def shown(ids: list[int]) -> str:
            more = [] if len(ids) <= at + SHOWN else ["..."]
            return str([trained.tokenizer.decode([i]) for i in ids[at : at + SHOWN]] + more)

        raise ModelError(
            f"{title} cuts {len(different)} of {len(pairs)} prompts into other tokens than transformers does: in "
            f"{pair.text[:60]!r}, from token {at} on, {shown(pair.shipped_ids)} there, {shown(pair.ids)} here",
            where=f"{source.path}/tokenizer.json",
            hint="take the tokens that make the difference out of added_tokens in tokenizer.json, or use another model",
        )


def _first_difference(one: Sequence[Any], other: Sequence[Any]) -> int:
    """The first place where two differ; the length of the shorter, which the longer then begins with."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
