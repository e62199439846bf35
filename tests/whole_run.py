"""The main job through the command line, on tiny models, as several tests run it."""

from __future__ import annotations

import json
from pathlib import Path

from lightbulb.cli import main


def shrink(place: Path, out: str, *more: str, model: str = "model", task: str = "task.jsonl") -> tuple[int, Path]:
    """`lightbulb shrink` of what lies in `place`: the exit code, and the run's folder, `out` in there."""
    command = ["shrink", str(place / model), "--task", str(place / task), "--out", str(place / out)]
    return main([*command, "--max-time", "15m", "--threads", "1", *more]), place / out


def record(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())
