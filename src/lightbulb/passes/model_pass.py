"""What all passes share that make a model of a model: it is at hand or read, changed in memory, written once, and at
hand for the next step."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lightbulb.core.artifact import Artifact
from lightbulb.passes.base import Context, Pass

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ModelPass(Pass):
    """A pass that makes a model of a model. A subclass says in `change` what is its own.

    Attributes:
        computes: whether that is worth the best device; moving rows about stays on the CPU
    """

    computes: ClassVar[bool] = True

    @abstractmethod
    def change(self, model: PreTrainedModel, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        """What a subclass does to the model. The tokenizer of `source` is copied afterwards, unless another was written
        into `out`.

        Args:
            model: in eval mode; changed in place
            source: the artifact it is of
            out: the output's folder
            context: task, seed, threads, other artifacts

        Returns:
            Facts beside its size.
        """

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        from lightbulb.train.forward import to_best_device

        model = context.live.take(source)
        facts = self.change(to_best_device(model) if self.computes else model, source, out, context)
        return write_changed(model, source, out, context) | facts


def write_changed(model: PreTrainedModel, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
    """Writes the model that a pass made of `source`, with its tokenizer unless another was written into `out`, and
    hands it on to the next step.

    Returns:
        Facts of its size.
    """
    from lightbulb.models.loading import TOKENIZER, WEIGHTS, copy_tokenizer, parameter_count, save_model

    if not (out / TOKENIZER).exists():
        copy_tokenizer(source.path, out)
    context.live.keep(save_model(model.cpu(), out))  # type: ignore[arg-type]
    return {"parameters": parameter_count(model), "bytes": (out / WEIGHTS).stat().st_size}
