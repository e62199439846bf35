"""quantize: rounds the weights to what the file that ships can hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from transformers import PreTrainedModel

from lightbulb.core.artifact import Artifact, ArtifactKind
from lightbulb.core.errors import RecipeError
from lightbulb.core.facts import ImportanceFacts, QuantizingFacts
from lightbulb.formats.gguf.quant_types import QUANT_TYPES, QuantTypeName
from lightbulb.formats.gguf.type_map import TypeMap
from lightbulb.models.loading import load_tokenizer
from lightbulb.models.packed import write_packed
from lightbulb.passes.base import Context
from lightbulb.passes.fit import fit, plain_loss, teacher_loss
from lightbulb.passes.model_pass import ModelPass
from lightbulb.train.calibration import read_mean_squares
from lightbulb.train.forward import deterministic
from lightbulb.train.gptq import gptq_
from lightbulb.train.loop import Schedule
from lightbulb.train.mixture import choose_types
from lightbulb.train.quantized import Packed, matrices_of, round_
from lightbulb.train.tracing import batches_of, calibration_text


class Quantize(ModelPass):
    """Rounds linears and embedding to GGUF blocks, after a recovery on rounded weights when `recover` is given. With
    "logits" among the inputs the recovery listens to the teacher, else to the data. What is rounded is kept packed, and
    `export` writes it so.

    Attributes:
        quant_type: of the linears
        embedding: the type of the token embedding and the head
        roles: types of matrices by their role, such as "attention" or "feed_forward", instead of `quant_type`
        method: "rtn" rounds to nearest, as llama.cpp does; "imatrix" fits scales to what channels matter, which the
            input "calibration" says; "gptq" does so layer by layer, and the weights that are still to be rounded make
            up for those that were (Frantar et al. 2023)
        tokens: of the train split that "gptq" reads
        bits_per_weight: the mean over all matrices; each has then a type of `among`, chosen by its measured
            sensitivity, which the input "calibration" says. None: `quant_type` and `embedding`
        among: names of types, tried where they fit
        recover: schedule of the recovery; None: without one
        weight: of the teacher against the data's own answers
        temperature: divides the logits of both
    """

    name: ClassVar[str] = "quantize"
    version: ClassVar[int] = 4
    facts_type: ClassVar = QuantizingFacts
    may_use: ClassVar[tuple[ArtifactKind, ...]] = ("logits", "calibration")

    quant_type: QuantTypeName = "q4_0"
    embedding: QuantTypeName = "q8_0"
    roles: dict[Literal["attention", "feed_forward"], QuantTypeName] = {}
    method: Literal["rtn", "imatrix", "gptq"] = "rtn"
    tokens: int = Field(default=16384, ge=1)
    bits_per_weight: float | None = Field(default=None, gt=0)
    among: tuple[QuantTypeName, ...] = ("q8_0", "q6_k", "q5_0", "q4_k", "iq4_nl", "q4_0", "q3_k", "q2_k")
    recover: Schedule | None = None
    weight: float = Field(default=0.8, gt=0, le=1)
    temperature: float = Field(default=2.0, gt=0)

    @model_validator(mode="after")
    def _recovery_rounds_to_nearest(self) -> Quantize:
        if self.recover and self.method != "rtn":
            raise ValueError("`recover` trains on weights rounded to nearest: leave out `method`")
        return self

    def change(self, model: PreTrainedModel, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        types = self._types(model, context)
        for matrix in matrices_of(model):
            known = types.asked_for(matrix.tensor)
            if not known.fits(matrix.weight.shape[-1]):
                raise RecipeError(
                    f"a weight of width {matrix.weight.shape[-1]} does not fit {known.name}'s blocks of {known.block}",
                    hint="leave out `quantize` and export as f16",
                )
        facts: dict[str, Any] = {"types": dict(types.tensors)} if types.tensors else {}
        if self.recover:
            logits = context.inputs.get("logits")
            loss = teacher_loss(logits.path, self.weight, self.temperature) if logits else plain_loss
            facts |= fit(model, source, self.recover, loss, context, self.name, types, parameter="recover")
        with deterministic(context.seed, context.threads):
            packed = self._rounded(model, types, source, context)
        write_packed(out, types, packed)
        matrices = matrices_of(model)
        bits = sum(m.weights * types.asked_for(m.tensor).bits_per_weight for m in matrices)
        return facts | {"bits_per_weight": bits / sum(m.weights for m in matrices)}

    def _types(self, model: PreTrainedModel, context: Context) -> TypeMap:
        if self.bits_per_weight is None:
            roles: dict[str, str] = {str(role): name for role, name in self.roles.items()}
            return TypeMap(self.quant_type, {"embedding": self.embedding, "head": self.embedding, **roles})
        calibration = self._calibration(context, "bits_per_weight")
        sensitivities = calibration.facts_as(ImportanceFacts).sensitivities
        if not sensitivities:
            raise RecipeError(
                "`bits_per_weight` needs measured sensitivities",
                where=f"step {calibration.path.name}",
                hint="let `importance-matrix` measure them: give it `probe_tokens`",
            )
        mean_squares = read_mean_squares(calibration.path)
        types = choose_types(model, sensitivities, mean_squares, self.among, self.bits_per_weight, self.embedding)
        if types is None:
            least = min(QUANT_TYPES[name].bits_per_weight for name in self.among)
            raise RecipeError(
                f"no types of {', '.join(self.among)} that fit the widths of this model come down to"
                f" {self.bits_per_weight:g} bits a weight (blocks of the smallest have {least:g})",
                hint="raise `bits_per_weight`",
            )
        return types

    def _rounded(self, model: PreTrainedModel, types: TypeMap, source: Artifact, context: Context) -> Packed:
        if self.method == "gptq":
            positions = model.config.max_position_embeddings
            tokenizer, answer_ids = load_tokenizer(source.path), source.answer_ids
            text = calibration_text(context.task, tokenizer, answer_ids, positions, self.tokens)
            return gptq_(model, types, batches_of(text), context.scratch, context.progress)
        importance: dict[str, torch.Tensor] = {}
        if self.method == "imatrix":
            importance = read_mean_squares(self._calibration(context, "method imatrix").path)
        return {m.name: round_(m, types.asked_for(m.tensor).name, importance.get(m.name)) for m in matrices_of(model)}

    def _calibration(self, context: Context, what: str) -> Artifact:
        if "calibration" not in context.inputs:
            raise RecipeError(
                f"`{what}` needs to know what matters",
                where="quantize",
                hint="add a step `importance-matrix`, and give its label among the inputs as calibration",
            )
        return context.inputs["calibration"]
