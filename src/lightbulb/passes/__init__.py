"""The passes, by the name a recipe gives them: lightbulb's own, and those of plugins. Each is imported only when it is
used."""

from __future__ import annotations

import importlib

from lightbulb.core import plugins
from lightbulb.core.errors import RecipeError
from lightbulb.passes.base import Pass

PASSES = {
    "format-task": "format_task:FormatTask",
    "check-import": "check_import:CheckImport",
    "pretrain": "pretrain:Pretrain",
    "adapt": "adapt:Adapt",
    "adapt-elastic": "adapt_elastic:AdaptElastic",
    "trim-vocab": "trim_vocab:TrimVocab",
    "teacher-logits": "teacher_logits:CacheLogits",
    "prune-depth": "prune_depth:PruneDepth",
    "prune-width": "prune_width:PruneWidth",
    "replace-mixer": "replace_mixer:ReplaceMixer",
    "score-blocks": "score_blocks:ScoreBlocks",
    "prune-layers": "prune_layers:PruneLayers",
    "prune-weights": "prune_weights:PruneWeights",
    "distill": "distill:Distill",
    "importance-matrix": "importance_matrix:ImportanceMatrix",
    "quantize": "quantize:Quantize",
    "ternarize": "ternarize:Ternarize",
    "export": "export:Export",
    "import-encoder": "import_encoder:ImportEncoder",
    "fit-head": "fit_head:FitHead",
    "refit-head": "refit_head:RefitHead",
    "adapt-encoder": "adapt_encoder:AdaptEncoder",
    "trim-encoder": "trim_encoder:TrimEncoder",
    "export-encoder": "export_encoder:ExportEncoder",
    "verify": "verify:Verify",
    "cascade": "cascade:Cascade",
    "fall-back": "fall_back:FallBack",
    "calibrate": "calibrate:Calibrate",
    "evaluate": "evaluate:Evaluate",
    "measure": "measure:Measure",
    "fit-ngrams": "fit_ngrams:FitNgrams",
    "refit-ngrams": "refit_ngrams:RefitNgrams",
    "export-ngrams": "export_ngrams:ExportNgrams",
    "fit-slots": "fit_slots:FitSlots",
    "refit-slots": "refit_slots:RefitSlots",
    "verify-slots": "verify_slots:VerifySlots",
    "verify-classifier": "verify_classifier:VerifyClassifier",
}


def pass_names() -> list[str]:
    """Lightbulb's own first, then those of plugins."""
    return [*PASSES, *(name for name in plugins.names(plugins.PASSES) if name not in PASSES)]


def pass_class(name: str) -> type[Pass]:
    """The pass of that name.

    Raises:
        RecipeError: there is none; lists those known
        PluginError: a plugin that cannot be used
    """
    plugin = plugins.load_class(plugins.PASSES, name, Pass, PASSES)
    if plugin is not None:
        return plugin
    if name not in PASSES:
        raise RecipeError(f"there is no pass {name!r}", hint=f"use one of {', '.join(pass_names())}")
    module, cls = PASSES[name].split(":")
    return getattr(importlib.import_module(f"lightbulb.passes.{module}"), cls)
