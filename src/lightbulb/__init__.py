"""lightbulb: the model that does your work for the fewest joules, with a measured proof."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lightbulb.core.version import __version__

if TYPE_CHECKING:
    from lightbulb.api import (
        ask,
        calibrate_device,
        dry_run,
        examine,
        export,
        forecast,
        measure,
        predict,
        render_report,
        run_recipe,
        search,
        serve,
        shrink,
    )
    from lightbulb.core.errors import LightbulbError
    from lightbulb.core.figures import Figure
    from lightbulb.energy.callback import EnergyCallback
    from lightbulb.energy.meter import Meter
    from lightbulb.energy.standalone import meter
    from lightbulb.pipeline.recipe import Recipe
    from lightbulb.searching.goal import SearchGoal
    from lightbulb.searching.record import SearchRecord
    from lightbulb.shrinking.goal import Goal
    from lightbulb.shrinking.record import Result
    from lightbulb.tasks.load import load_task
    from lightbulb.tasks.task import Example, Task

# Imported when they are used: `import lightbulb` must not take the seconds that torch takes.
_PLACES = {
    **dict.fromkeys(
        (
            "ask",
            "calibrate_device",
            "dry_run",
            "examine",
            "export",
            "forecast",
            "measure",
            "predict",
            "render_report",
            "run_recipe",
            "search",
            "serve",
            "shrink",
        ),
        "api",
    ),
    "EnergyCallback": "energy.callback",
    "Example": "tasks.task",
    "Figure": "core.figures",
    "Goal": "shrinking.goal",
    "LightbulbError": "core.errors",
    "Meter": "energy.meter",
    "Recipe": "pipeline.recipe",
    "Result": "shrinking.record",
    "SearchGoal": "searching.goal",
    "SearchRecord": "searching.record",
    "Task": "tasks.task",
    "load_task": "tasks.load",
    "meter": "energy.standalone",
}

__all__ = [
    "EnergyCallback",
    "Example",
    "Figure",
    "Goal",
    "LightbulbError",
    "Meter",
    "Recipe",
    "Result",
    "SearchGoal",
    "SearchRecord",
    "Task",
    "__version__",
    "ask",
    "calibrate_device",
    "dry_run",
    "examine",
    "export",
    "forecast",
    "load_task",
    "measure",
    "meter",
    "predict",
    "render_report",
    "run_recipe",
    "search",
    "serve",
    "shrink",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'lightbulb' has no attribute {name!r}")
    return getattr(importlib.import_module(f"lightbulb.{_PLACES[name]}"), name)
