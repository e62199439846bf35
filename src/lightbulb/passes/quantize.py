"""quantize: rounds the weights to what the file that ships can hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from transformers import PreTrainedModel

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.errors import RecipeError
from lightbulb.core.facts import QuantizingFacts
from lightbulb.formats.gguf.quant_types import QUANT_TYPES, QuantTypeName
from lightbulb.formats.gguf.type_map import TypeMap
from lightbulb.passes.base import Context
from lightbulb.passes.fit import fit, plain_loss, teacher_loss
from lightbulb.passes.model_pass import ModelPass
from lightbulb.train.loop import Schedule
from lightbulb.train.quantized import block_weights, quantize_dequantize_


class Quantize(ModelPass):
    """Rounds linears and embedding to GGUF blocks, after a recovery on rounded weights when `recover` is given. With
    "logits" among the inputs the recovery listens to the teacher, else to the data.

    Attributes:
        quant_type: of the linears
        embedding: the type of the token embedding and the head
        recover: schedule of the recovery; None: without one
        weight: of the teacher against the data's own answers
        temperature: divides the logits of both
    """

    name: ClassVar[str] = "quantize"
    version: ClassVar[int] = 3
    facts_type: ClassVar = QuantizingFacts
    may_use: ClassVar[tuple[ArtifactKind, ...]] = ("logits",)

    quant_type: QuantTypeName = "q4_0"
    embedding: QuantTypeName = "q8_0"
    recover: Schedule | None = None
    weight: float = Field(default=0.8, gt=0, le=1)
    temperature: float = Field(default=2.0, gt=0)

    def change(self, model: PreTrainedModel, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        types = TypeMap.of(self.quant_type, self.embedding)
        for weight, name in block_weights(model, types):
            if not QUANT_TYPES[name].fits(weight.shape[-1]):
                raise RecipeError(
                    f"a weight of width {weight.shape[-1]} does not fit {name}'s blocks of {QUANT_TYPES[name].block}",
                    hint="leave out `quantize` and export as f16",
                )
        facts: dict[str, Any] = {}
        if self.recover:
            logits = context.inputs.get("logits")
            loss = teacher_loss(logits.path, self.weight, self.temperature) if logits else plain_loss
            facts = fit(model, source, self.recover, loss, context, self.name, types, parameter="recover")
        quantize_dequantize_(model, types)
        return facts
