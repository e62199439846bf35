"""The passes, by the name a recipe gives them. Each is imported only when it is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from lightbulb.core.errors import RecipeError

if TYPE_CHECKING:
    from lightbulb.passes.base import Pass

PASSES = {
    "format-task": "format_task:FormatTask",
    "check-import": "check_import:CheckImport",
    "adapt": "adapt:Adapt",
    "trim-vocab": "trim_vocab:TrimVocab",
    "teacher-logits": "teacher_logits:CacheLogits",
    "prune-depth": "prune_depth:PruneDepth",
    "distill": "distill:Distill",
    "quantize": "quantize:Quantize",
    "export": "export:Export",
    "verify": "verify:Verify",
    "evaluate": "evaluate:Evaluate",
    "measure": "measure:Measure",
}


def pass_class(name: str) -> type[Pass]:
    if name not in PASSES:
        raise RecipeError(f"there is no pass {name!r}", hint=f"use one of {', '.join(PASSES)}")
    module, cls = PASSES[name].split(":")
    return getattr(importlib.import_module(f"lightbulb.passes.{module}"), cls)
