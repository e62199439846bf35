"""lightbulb: the model that does your work for the fewest joules, with a measured proof."""

from __future__ import annotations

import importlib
from typing import Any

_PLACES = {
    "shrink": "api",
    "dry_run": "api",
    "run_recipe": "api",
    "ask": "api",
    "render_report": "api",
    "load_task": "tasks.load",
    "Goal": "goal",
    "Recipe": "recipe",
    "Result": "report.record",
    "Figure": "figures",
    "Task": "tasks.task",
    "Example": "tasks.task",
    "Meter": "energy.meter",
    "meter": "energy.standalone",
    "EnergyCallback": "energy.callback",
    "measure": "measuring",
    "predict": "predicting",
    "examine": "doctor",
    "LightbulbError": "errors",
}

__all__ = sorted(_PLACES)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'lightbulb' has no attribute {name!r}")
    return getattr(importlib.import_module(f"lightbulb.{_PLACES[name]}"), name)
