"""replace-mixer: recurrent layers in the place of attention."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import RecipeError
from lightbulb.core.facts import MixerFacts
from lightbulb.models.gguf_shape import architecture_of
from lightbulb.models.loading import load_tokenizer
from lightbulb.models.narrowing import spec_of_model
from lightbulb.models.spec import ModelSpec
from lightbulb.passes.base import Context, Pass
from lightbulb.passes.model_pass import write_changed
from lightbulb.train.data import encode_split, within
from lightbulb.train.forward import deterministic, to_best_device
from lightbulb.train.linearize import linearized

CALIBRATION_EXAMPLES, CALIBRATION_TOKENS = 256, 8192


class ReplaceMixer(Pass):
    """Puts an MLGRU (Zhu et al. 2024) in the place of a layer's attention; all else stays. It begins as much like it as
    a closed form allows on the task's own examples; `distill` or `adapt` must follow.

    Attributes:
        layers: whose attention goes, counted from 0; None: of all
    """

    name: ClassVar[str] = "replace-mixer"
    facts_type: ClassVar = MixerFacts

    layers: tuple[Annotated[int, Field(ge=0)], ...] | None = None

    def apply(self, source: Artifact, out: Path, context: Context) -> dict[str, Any]:
        model = to_best_device(context.live.take(source))
        spec = spec_of_model(model)
        chosen = self._chosen(spec)
        positions = model.config.max_position_embeddings
        tokenizer = load_tokenizer(source.path)
        data = encode_split(context.task, "train", tokenizer, source.answer_ids, positions, CALIBRATION_EXAMPLES)
        with deterministic(context.seed, context.threads), context.progress.bar("replace-mixer", 1) as advance:
            made, explained = linearized(model, chosen, within(data, CALIBRATION_TOKENS))
            advance(1, "")
        return write_changed(made, source, out, context) | {
            "replaced_layers": chosen,
            "explained": [round(share, 6) for share in explained],
        }

    def _chosen(self, spec: ModelSpec) -> list[int]:
        depth = len(spec.layers)
        chosen = sorted(set(range(depth) if self.layers is None else self.layers))
        attending = [index for index, layer in enumerate(spec.layers) if layer.mixer == "attention"]
        if not chosen or not set(chosen) <= set(attending):
            raise RecipeError(
                f"replace-mixer cannot replace the attention of layers {chosen}: those with attention are {attending}",
                where="`layers`",
                hint="name some of these" if attending else "leave the pass out",
            )
        layers = [layer.recurrent() if index in chosen else layer for index, layer in enumerate(spec.layers)]
        if spec.arch.ternary:
            raise RecipeError(
                f"replace-mixer makes plain weights, and those of a {spec.family} are ternary",
                hint="train one with `lightbulb train --architecture matmulfree`",
            )
        architecture_of(spec.model_copy(update={"layers": tuple(layers)}))  # or a refusal, before anything is computed
        return chosen
