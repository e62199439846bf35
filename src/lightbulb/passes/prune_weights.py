"""prune-weights: sets weights to zero, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.errors import RecipeError
from lightbulb.core.facts import SparsityFacts
from lightbulb.models.families import architecture_spec, layers_of
from lightbulb.models.loading import load_tokenizer
from lightbulb.ops.sparsity import lowest, lowest_two_of_four, sparsegpt, wanda
from lightbulb.passes.base import Context
from lightbulb.passes.fit import fit, plain_loss, teacher_loss
from lightbulb.passes.model_pass import ModelPass
from lightbulb.train.data import encode_split, within
from lightbulb.train.forward import deterministic
from lightbulb.train.layerwise import LayerWalk
from lightbulb.train.loop import Schedule

CALIBRATION_EXAMPLES, CALIBRATION_TOKENS = 128, 16_384
NO_SAVING = (
    "zeros save nothing by themselves: files store them as any other weight, and no runtime here skips them; "
    "prune-depth and prune-width make models that cost less"
)


class PruneWeights(ModelPass):
    """Sets weights of the layers' matrices to zero, and with `recover` trains those that are left. It saves nothing: no
    runtime here turns zeros into fewer joules.

    Attributes:
        share: of each matrix; a "2:4" pattern has half
        pattern: "unstructured", or two of every four side by side ("2:4", Mishra et al. 2021)
        method: the smallest go ("magnitude", Han et al. 2015), those of smallest weight times input ("wanda", Sun et
            al. 2023), or those that cost least by second order, the others making up for them ("sparsegpt", Frantar and
            Alistarh 2023)
        recover: schedule of a training of the others; None: without one. With "logits" among the inputs it listens to
            the teacher, too
        weight: of the teacher against the data's own answers
        temperature: divides the logits of both
    """

    name: ClassVar[str] = "prune-weights"
    facts_type: ClassVar = SparsityFacts
    may_use: ClassVar[tuple[ArtifactKind, ...]] = ("logits",)

    share: float = Field(default=0.5, gt=0, lt=1)
    pattern: Literal["unstructured", "2:4"] = "unstructured"
    method: Literal["magnitude", "wanda", "sparsegpt"] = "wanda"
    recover: Schedule | None = None
    weight: float = Field(default=0.8, gt=0, le=1)
    temperature: float = Field(default=2.0, gt=0)

    def change(self, model: PreTrainedModel, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        self._check(model)
        with deterministic(context.seed, context.threads), context.progress.working(self.name), torch.no_grad():
            self._magnitude(model) if self.method == "magnitude" else self._calibrated(model, source, context)
        facts: dict[str, Any] = {}
        if self.recover:
            logits = context.inputs.get("logits")
            loss = teacher_loss(logits.path, self.weight, self.temperature) if logits else plain_loss
            with zeros_kept(model):
                facts = fit(model, source, self.recover, loss, context, self.name, parameter="recover")
        weights = [linear.weight for linear in matrices(model)]
        zeros, size = (sum(map(count, weights)) for count in (lambda w: int((w == 0).sum()), torch.numel))
        return facts | {"zeros": zeros, "share": round(zeros / size, 6), "saving": None, "findings": [NO_SAVING]}

    def _check(self, model: PreTrainedModel) -> None:
        for linear in matrices(model) if self.pattern == "2:4" else ():
            if linear.in_features % 4:
                raise RecipeError(
                    f"rows of {linear.in_features} weights are no whole number of fours",
                    where="pattern",
                    hint='pattern = "unstructured"',
                )

    def _magnitude(self, model: PreTrainedModel) -> None:
        for linear in matrices(model):
            sizes = linear.weight.abs()
            compared = sizes if self.pattern == "2:4" else sizes.reshape(1, -1)  # with all of the matrix
            linear.weight[self._lowest(compared).view_as(sizes)] = 0.0

    def _calibrated(self, model: PreTrainedModel, source: Artifact, context: Context) -> None:
        """Layer by layer, each seeing what those before it, already pruned, give."""
        positions, tokenizer = model.config.max_position_embeddings, load_tokenizer(source.path)
        data = encode_split(context.task, "train", tokenizer, source.answer_ids, positions, CALIBRATION_EXAMPLES)
        walk = LayerWalk(model, within(data, CALIBRATION_TOKENS))
        for index in range(len(layers_of(model))):
            grams = walk.grams(index)
            for first, linears in walk.linears_of(index).items():
                for linear in linears:
                    self._prune(linear.weight, grams[first])
            walk.go_through(index)

    def _prune(self, weight: torch.Tensor, gram_CC: torch.Tensor) -> None:
        if self.method == "wanda":
            weight[self._lowest(wanda(weight, gram_CC.diagonal().sqrt()))] = 0.0
        else:
            weight.copy_(sparsegpt(weight, gram_CC, self.share if self.pattern == "unstructured" else None))

    def _lowest(self, scores_RC: torch.Tensor) -> torch.Tensor:
        return lowest_two_of_four(scores_RC) if self.pattern == "2:4" else lowest(scores_RC, self.share)


def matrices(model: PreTrainedModel) -> list[nn.Linear]:
    """Of all layers; neither embedding nor head."""
    paths = architecture_spec(model.config).linears.values()
    return [m for layer in layers_of(model) for path, m in layer.named_modules() if path in paths]  # type: ignore[misc]


@contextmanager
def zeros_kept(model: PreTrainedModel) -> Iterator[None]:
    """Weights of the layers' matrices that are zero take no gradient, so that AdamW leaves them at zero."""
    with ExitStack() as stack:
        for linear in matrices(model):
            mask = linear.weight.detach() != 0
            hook = linear.weight.register_hook(lambda gradient, mask=mask: gradient * mask)
            stack.callback(hook.remove)
        yield
