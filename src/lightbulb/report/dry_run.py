"""What `shrink --dry-run` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightbulb.core import units

if TYPE_CHECKING:
    from lightbulb.shrinking.dry_run import DryRun

FIGURES = {
    "seconds": "time",
    "joules": "making",
    "bytes": "size",
    "cpu_seconds_ratio": "CPU s per answer, before / after",
}


def dry_run_text(planned: DryRun) -> str:
    lines = [f"asked for: {planned.goal}"] if planned.goal else []
    lines += planned.plan
    lines += [f"{label}: {units.text(getattr(planned, name))} (estimated)" for name, label in FIGURES.items()]
    return planned.recipe + "\n" + "\n".join(f"# {line}" for line in lines)


def dry_run_dict(planned: DryRun) -> dict[str, Any]:
    return {
        "recipe": planned.recipe,
        "goal": planned.goal,
        "depths": list(planned.depths),
        "findings": list(planned.findings),
        **{name: getattr(planned, name).model_dump() for name in FIGURES},
    }
